"""Read, filter and number the columns of atomic files as RecBole does, without Python objects.

RecBole keeps every id as a Python string, 0.3 GiB for a million rows. Here a token column is a pandas Categorical, 32-bit codes
into the list of its distinct texts, until :func:`number_tokens` turns it into RecBole's ids.

This reads the token and float columns of ``.inter`` files. RecBole itself reads ``.item`` and ``.user`` files and lists
(``token_seq``, ``float_seq``). Atomic files are written by ``dataset_prep/atomic_file.py``.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.csv
from pandas._libs.parsers import STR_NA_VALUES
from recbole.utils import FeatureType

from recbole_echomamba.system.errors import UserError

KINDS = tuple(kind.value for kind in FeatureType)
BYTE_ORDER_MARK = "\ufeff"
BLOCK_BYTES = 2**24
"""How much of a file is parsed at a time."""


def read_header(file: Path, separator: str, encoding: str | None) -> dict[str, str]:
    """Read the first line of an atomic file, such as ``user_id:token<TAB>item_id:token<TAB>timestamp:float``.

    Args:
        file: an existing atomic file.
        separator: what separates its columns.
        encoding: a name that Python knows, or None for UTF-8.

    Returns:
        Column name to kind (``token``, ``float``, ``token_seq`` or ``float_seq``), in the order of the file.

    Raises:
        UserError: the file is empty, cannot be decoded or starts with a byte order mark, or a column is listed twice or has an
            unknown kind.
    """
    try:
        with open(file, encoding=encoding or "utf-8") as lines:
            header = lines.readline().rstrip("\r\n")
    except (UnicodeDecodeError, LookupError) as error:
        raise UserError(f"{file} cannot be decoded ({error}); name its --encoding, or write it as utf-8") from None
    if not header:
        raise UserError(f"{file}, line 1: the file is empty or has no header")
    if header.startswith(BYTE_ORDER_MARK):
        raise UserError(f"{file}, line 1: the file starts with a byte order mark; write it as utf-8 without one")
    columns: dict[str, str] = {}
    for entry in header.split(separator):
        name, _, kind = entry.partition(":")
        if kind not in KINDS:
            known = f"{', '.join(KINDS[:-1])} or {KINDS[-1]}"
            raise UserError(
                f"{file}, line 1: column {name!r} has kind {kind!r}; write {name}:KIND, KIND one of {known}"
            )
        if name in columns:
            raise UserError(f"{file}, line 1: column {name!r} is listed twice")
        columns[name] = kind
    return columns


def read_atomic_file(file: Path, separator: str, encoding: str | None, kinds: dict[str, str]) -> pd.DataFrame:
    """Read some columns of an atomic file, with the quoting and the missing values of ``pandas.read_csv``.

    Args:
        file: an existing atomic file.
        separator: what separates its columns.
        encoding: a name that Python knows, or None for UTF-8.
        kinds: the columns to read, each with its kind ``token`` or ``float``, in the order of the file.

    Returns:
        One column for each entry of ``kinds``: Categorical for tokens, float64 for floats.

    Raises:
        UserError: a row has another number of fields, or a float cannot be parsed or is infinite; the
            message names the file and the row.
    """
    try:
        table = _read_table(file, separator, encoding, kinds, threads=True)
    except pyarrow.ArrowInvalid:
        try:
            # with a single thread the message names the row
            table = _read_table(file, separator, encoding, kinds, threads=False)
        except pyarrow.ArrowInvalid as error:
            raise UserError(f"{file} cannot be read: {error}") from None
    columns = {}
    for name, kind in kinds.items():
        column = table.column(f"{name}:{kind}")
        # convert and drop one column after the other, so that only one exists twice at a time
        table = table.drop_columns([f"{name}:{kind}"])
        columns[name] = _to_pandas(column)
        if kind == "float" and (row := _find_infinite(columns[name])) is not None:
            # the header is row 1, as in Arrow's messages
            raise UserError(
                f"{file} cannot be read: Row #{row + 2}: {name} is infinite; give a finite number or leave the field empty"
            )
    del table, column
    # Arrow would keep what it has used, more than all that follows needs
    pyarrow.default_memory_pool().release_unused()
    return pd.DataFrame(columns, copy=False)


def _read_table(
    file: Path, separator: str, encoding: str | None, kinds: dict[str, str], threads: bool
) -> pyarrow.Table:
    arrow_types = {"token": pyarrow.dictionary(pyarrow.int32(), pyarrow.string()), "float": pyarrow.float64()}
    column_types = {f"{name}:{kind}": arrow_types[kind] for name, kind in kinds.items()}
    return pyarrow.csv.read_csv(
        file,
        pyarrow.csv.ReadOptions(encoding=encoding or "utf-8", block_size=BLOCK_BYTES, use_threads=threads),
        pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=_has_quotes(file)),
        pyarrow.csv.ConvertOptions(
            column_types=column_types,
            include_columns=list(column_types),
            null_values=sorted(STR_NA_VALUES),
            strings_can_be_null=True,
        ),
    )


def check_no_nul(file: Path, encoding: str | None) -> None:
    """Check that a file holds no NUL byte, which damaged files do: parsers end a text there, so that ids change or merge.

    Raises:
        UserError: it does; the message names the line.
    """
    if encoding and encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32")):
        return
    with _mapped(file) as content:
        place = content.find(b"\0")
        if place >= 0:
            line = content[:place].count(b"\n") + 1
            raise UserError(
                f"{file}, line {line}: there is a NUL byte, the file is damaged or not text; write it again"
            )


def _has_quotes(file: Path) -> bool:
    """Check whether a file has quoted fields: they may hold line ends, and the file cannot be split between threads."""
    with _mapped(file) as content:
        return content.find(b'"') >= 0


@contextlib.contextmanager
def _mapped(file: Path) -> Iterator[mmap.mmap | bytes]:
    """Map a file into memory for reading; an empty file cannot be mapped."""
    if not file.stat().st_size:
        yield b""
        return
    with open(file, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content


def _to_pandas(column: pyarrow.ChunkedArray) -> pd.Categorical | np.ndarray:
    if not pyarrow.types.is_dictionary(column.type):
        return column.to_numpy()
    unified = column.unify_dictionaries()
    texts = unified.chunk(0).dictionary.to_pylist() if unified.num_chunks else []
    codes = pyarrow.chunked_array([chunk.indices for chunk in unified.chunks], pyarrow.int32()).fill_null(-1).to_numpy()
    return pd.Categorical.from_codes(codes, pd.Index(texts, dtype=object))


def _find_infinite(values: np.ndarray) -> int | None:
    infinite = np.isinf(values)
    return int(infinite.argmax()) if infinite.any() else None


def keep_by_count(
    frame: pd.DataFrame, columns: tuple[str, str], tests: list[Callable[[np.ndarray], np.ndarray]]
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Find the rows that remain when users and items with too few or too many rows are removed repeatedly (k-core).

    Args:
        frame: the interactions, ``n`` rows.
        columns: the Categorical columns of users and items.
        tests: for each column, a function from counts ``[categories]`` to booleans: which counts are allowed.

    Returns:
        A boolean array ``[n]`` of the rows to keep; for each column the counts of its categories in these rows; and for each
        column which of its categories were removed.
    """
    codes = [frame[column].cat.codes.to_numpy() for column in columns]
    sizes = [len(frame[column].cat.categories) for column in columns]
    kept = np.ones(len(frame), bool)
    removed = [np.zeros(size, bool) for size in sizes]
    while True:
        counts = [np.bincount(code[kept], minlength=size) for code, size in zip(codes, sizes, strict=True)]
        refused = [(count > 0) & ~test(count) for count, test in zip(counts, tests, strict=True)]
        if not any(each.any() for each in refused):
            return kept, counts, removed
        for code, each, so_far in zip(codes, refused, removed, strict=True):
            kept &= ~each[code]
            so_far |= each


class LazyTokenIds(dict):
    """Map each field to its ``{text: id}``, built when the field is first used.

    Training never uses it, and for two million texts it takes half a GiB.

    Args:
        texts: field to its texts by id.
    """

    def __init__(self, texts: dict[str, np.ndarray]):
        super().__init__()
        self.texts = texts

    def __missing__(self, field: str) -> dict[str, int]:
        texts = self.texts[field].tolist()
        self[field] = dict(zip(texts, range(len(texts)), strict=True))
        return self[field]


def number_tokens(columns: list) -> tuple[list[np.ndarray], np.ndarray]:
    """Number the texts of columns that share their ids by first appearance, column after column.

    Args:
        columns: Categorical, or arrays of texts.

    Returns:
        For each column its ids (0 for a missing text, 1 for the first), and the texts by id, ``[PAD]`` first.
    """
    # the distinct texts of a Categorical, with the place of each of its rows among them; every text of another column
    distinct, places = [], []
    for column in columns:
        if isinstance(column, pd.Categorical):
            place, texts = pd.factorize(column)
            distinct.append(np.asarray(texts, dtype=object))
            places.append(place)
        else:
            distinct.append(np.asarray(column, dtype=object))
            places.append(None)
    ids, texts = pd.factorize(np.concatenate(distinct))
    ends = np.cumsum([len(part) for part in distinct])
    numbered = []
    for place, own in zip(places, np.split(ids + 1, ends[:-1]), strict=True):
        if place is None:
            numbered.append(own)
        else:
            # a missing text has place -1, which takes the appended 0
            numbered.append(np.append(own, 0).astype(np.int32)[place])
    return numbered, np.array(["[PAD]", *texts])
