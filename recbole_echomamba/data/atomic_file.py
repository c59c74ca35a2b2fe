"""Atomic files as columns without Python objects: reading, filtering and numbering of ids as RecBole does them.

RecBole keeps every id as a Python string, 0.3 GiB for a million rows. Here a token column is a pandas Categorical, 32-bit codes
into the list of its distinct texts, until :func:`number_tokens` turns it into RecBole's ids.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.csv
from pandas._libs.parsers import STR_NA_VALUES

from recbole_echomamba.system.errors import UserError


def read_atomic_file(file: Path, separator: str, encoding: str, kinds: dict[str, str]) -> pd.DataFrame:
    """Read some columns of an atomic file, with the quoting and the missing values of ``pandas.read_csv``.

    Args:
        kinds: header entry (``user_id:token``) to ``token`` or ``float``, for the columns wanted, in the order of the file.

    Returns:
        A frame with one column per entry, named without its type: Categorical for tokens, float64 for floats.

    Raises:
        ValueError: a row with another number of fields, or a float that is none; the message names the file.
    """
    try:
        table = _read(file, separator, encoding, kinds, threads=True)
    except pyarrow.ArrowInvalid:
        try:
            table = _read(file, separator, encoding, kinds, threads=False)  # only then it says which row
        except pyarrow.ArrowInvalid as error:
            raise UserError(f"{file} cannot be read: {error}") from None
    columns = {}
    for name in kinds:
        column = table.column(name)
        # one column after the other, so that only one is held twice
        table = table.drop_columns([name])
        columns[name.partition(":")[0]] = _to_pandas(column)
    return pd.DataFrame(columns, copy=False)


def _read(file: Path, separator: str, encoding: str, kinds: dict[str, str], threads: bool) -> pyarrow.Table:
    token = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    types = {name: token if kind == "token" else pyarrow.float64() for name, kind in kinds.items()}
    return pyarrow.csv.read_csv(
        file,
        pyarrow.csv.ReadOptions(encoding=encoding, block_size=2**24, use_threads=threads),
        pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=_has_quotes(file)),
        pyarrow.csv.ConvertOptions(
            column_types=types, include_columns=list(kinds), null_values=sorted(STR_NA_VALUES), strings_can_be_null=True
        ),
    )


def _has_quotes(file: Path) -> bool:
    """Quoted fields may hold line ends, which keeps the reader from splitting a file between threads."""
    if not file.stat().st_size:
        return False
    with open(file, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b'"') >= 0


def _to_pandas(column: pyarrow.ChunkedArray):
    if not pyarrow.types.is_dictionary(column.type):
        return column.to_numpy()
    unified = column.unify_dictionaries()
    texts = unified.chunk(0).dictionary.to_pylist() if unified.num_chunks else []
    codes = pyarrow.chunked_array([chunk.indices for chunk in unified.chunks], pyarrow.int32()).fill_null(-1).to_numpy()
    return pd.Categorical.from_codes(codes, pd.Index(texts, dtype=object))


def keep_by_count(
    frame: pd.DataFrame, columns: tuple[str, str], allowed: list
) -> tuple[np.ndarray, list[np.ndarray], list]:
    """Drop rows whose user or item has a number of rows that is not allowed, until none is left (k-core filtering).

    Args:
        columns: the Categorical columns of users and items.
        allowed: per column a function from counts to booleans.

    Returns:
        Which rows stay; per column the counts of its categories in those rows, and which of them were refused.
    """
    codes = [frame[column].cat.codes.to_numpy() for column in columns]
    sizes = [len(frame[column].cat.categories) for column in columns]
    kept = np.ones(len(frame), bool)
    refused = [np.zeros(size, bool) for size in sizes]
    while True:
        counts = [np.bincount(code[kept], minlength=size) for code, size in zip(codes, sizes, strict=True)]
        bans = [(count > 0) & ~test(count) for count, test in zip(counts, allowed, strict=True)]
        if not any(ban.any() for ban in bans):
            return kept, counts, refused
        for code, ban, all_bans in zip(codes, bans, refused, strict=True):
            kept &= ~ban[code]
            all_bans |= ban


class LazyTokenIds(dict):
    """Field to ``{text: id}``, made when a field is first asked for: training never does, and two million texts are half a GiB.

    Args:
        texts: field to its texts by id.
    """

    def __init__(self, texts: dict[str, np.ndarray]):
        super().__init__()
        self.texts = texts

    def __missing__(self, field: str) -> dict[str, int]:
        self[field] = dict(zip(self.texts[field].tolist(), range(len(self.texts[field])), strict=True))
        return self[field]


def number_tokens(columns: list) -> tuple[list[np.ndarray], np.ndarray]:
    """Number the texts of columns that share their ids by first appearance, column after column.

    Args:
        columns: Categorical, or arrays of texts.

    Returns:
        Per column its ids (0 for a missing text, 1 for the first), and the texts by id, ``[PAD]`` first.
    """
    reduced, places = [], []
    for column in columns:
        if isinstance(column, pd.Categorical):
            place, texts = pd.factorize(column)
            reduced.append(np.asarray(texts, dtype=object))
            places.append(place)
        else:
            reduced.append(np.asarray(column, dtype=object))
            places.append(None)
    ids, texts = pd.factorize(np.concatenate(reduced))
    numbered = []
    for place, own in zip(places, np.split(ids + 1, np.cumsum([len(part) for part in reduced])[:-1]), strict=True):
        numbered.append(own if place is None else np.append(own, 0).astype(np.int32)[place])
    return numbered, np.array(["[PAD]", *texts])
