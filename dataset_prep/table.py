"""Your own log: CSV, TSV, JSON lines or Parquet, one event a row, with the columns that the options name.

The log may be several files, such as one for each day. They are read in the order in which they are given, those of a folder
sorted by path, and their rows are put one after another. A file of tab-separated fields has no quoting unless ``--quote`` is
given.

Ids are text or whole numbers. Times are numbers since any origin, in any unit (RecBole uses only their order), or ISO 8601,
which becomes seconds since 1970, in UTC where no zone is given. Both keep nine decimals exactly.
"""

from __future__ import annotations

import difflib
import io
import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from decimal import Decimal
from operator import itemgetter
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from dataset_prep.atomic_file import check_identifier
from dataset_prep.errors import PreparationError, RowError
from dataset_prep.fields import FieldType, check_number
from dataset_prep.item_columns import ItemColumns
from dataset_prep.lines import is_blank, read_csv, read_lines, skip_blank
from dataset_prep.malformed import MalformedRows
from dataset_prep.raw_files import DAMAGE_ERRORS, RawFile, RawFiles
from dataset_prep.row_filter import RowFilter
from dataset_prep.rows import ROWS_PER_TABLE, Layout, parse_rows
from dataset_prep.source import Source
from dataset_prep.times import make_time_type
from dataset_prep.words import count

NAMES = ["table"]
ACCEPTED_FILES = "point --raw at .csv, .tsv, .jsonl or .parquet files, which may be gzipped or in a zip"
DELIMITERS = {".csv": ",", ".tsv": "\t"}
OTHER_ENCODING = "name the encoding of the file, such as --encoding=cp1252"

JSON_LINES = (".jsonl", ".ndjson", ".json")
PARQUET = ".parquet"
MOST_LISTED = 3
"""How many files that are left out a message names."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options that name the columns."""
    parser.add_argument("--user-col", required=True, metavar="COLUMN", help="the column of the user")
    parser.add_argument("--item-col", required=True, metavar="COLUMN", help="the column of the item")
    parser.add_argument("--time-col", required=True, metavar="COLUMN", help="the column of the time")
    parser.add_argument("--rating-col", metavar="COLUMN", help="the column of the rating")
    parser.add_argument("--title-col", metavar="COLUMN", help="the column of the items' titles, for the .item file")
    parser.add_argument(
        "--item-cols",
        nargs="+",
        default=[],
        metavar="COLUMN[:KIND]",
        help="other columns of the items; KIND is token (default), token_seq or float",
    )
    parser.add_argument(
        "--where",
        metavar="EXPRESSION",
        help="keep the rows for which this is true, such as \"event = 'purchase'\" (DuckDB's SQL)",
    )
    parser.add_argument("--time-format", metavar="FORMAT", help="how times are written, such as '%%d.%%m.%%Y %%H:%%M'")
    parser.add_argument(
        "--encoding", default="utf-8", metavar="NAME", help="of text files, such as latin-1 (default: utf-8)"
    )
    parser.add_argument("--delimiter", help="between the fields of CSV (default: a comma, in .tsv a tab)")
    quoting = parser.add_mutually_exclusive_group()
    quoting.add_argument(
        "--quote",
        action="store_true",
        default=None,
        help='fields may be enclosed in "quotes" (default, except between tabs)',
    )
    quoting.add_argument(
        "--no-quote", dest="quote", action="store_false", default=None, help="quotes are part of the text"
    )


def open_source(raw_files: RawFiles, options: Namespace, malformed: MalformedRows) -> Source:
    """Open the log.

    Raises:
        PreparationError: there is no file, a file has an unknown format or is given twice, or a column is missing or chosen
            twice.
    """
    files = _list_files(raw_files)
    chosen = {"user_id": options.user_col, "item_id": options.item_col}
    if options.rating_col:
        chosen["rating"] = options.rating_col
    chosen["timestamp"] = options.time_col
    if len(set(chosen.values())) < len(chosen):
        raise PreparationError(f"a column is chosen twice: {', '.join(chosen.values())}; choose another for each")
    if options.delimiter is not None and len(options.delimiter) != 1:
        raise PreparationError(f"--delimiter must be one character, not {options.delimiter!r}")
    _check_encoding(options.encoding)
    items = ItemColumns(options.title_col, options.item_cols)
    row_filter = RowFilter(options.where) if options.where else None
    # messages name the columns as the log does
    types = {**FIELD_TYPES, "timestamp": make_time_type(options.time_format)}
    layout = Layout({column: types[name] for name, column in chosen.items()})

    def parse(values: Sequence) -> list:
        try:
            fields = layout.parse_fields(values[: len(chosen)])
            items.add(fields[1], values[len(chosen) :])
        except RowError as error:
            raise _name_encoding(error) from None
        return fields

    def read_tables(file: RawFile) -> Iterator[pa.Table]:
        columns = [*chosen.values(), *items.columns, *(row_filter.columns if row_filter else [])]
        rows = _read_rows(file, columns, options, malformed)
        rows = row_filter.keep(file, rows, malformed) if row_filter else rows
        tables = layout.to_tables(parse_rows(file, rows, parse, malformed))
        return (table.rename_columns(list(chosen)) for table in tables)

    events = [(file, read_tables(file)) for file in files]
    notes = []
    if raw_files.ignored:
        listed = ", ".join(file.label for file in raw_files.ignored[:MOST_LISTED])
        more = f" and {len(raw_files.ignored) - MOST_LISTED} more" if len(raw_files.ignored) > MOST_LISTED else ""
        notes.append(f"left out files with names that begin with . or _: {listed}{more}")
    return Source(files, events, {name: RECBOLE_TYPES[name] for name in chosen}, items.as_features(), notes=notes)


def _name_encoding(error: RowError) -> RowError:
    """Return the error, with the option that helps where a text is in another encoding."""
    if not error.kind.endswith("is not UTF-8"):
        return error
    return RowError(str(error), error.kind, OTHER_ENCODING)


def _list_files(raw_files: RawFiles) -> list[RawFile]:
    if not raw_files.files:
        raise PreparationError(f"{raw_files.label} holds no files; {ACCEPTED_FILES}")
    seen: dict[str, RawFile] = {}
    for file in raw_files.files:
        if _suffix(file) not in (*DELIMITERS, *JSON_LINES, PARQUET):
            raise PreparationError(f"{file.label} has an unknown format; {ACCEPTED_FILES}")
        first = seen.setdefault(file.location.removesuffix(".gz"), file)
        if first is not file:
            raise PreparationError(f"{file.label} would be read twice, as {first.label} is given too; give one of them")
    return raw_files.files


def _suffix(file: RawFile) -> str:
    return PurePosixPath(file.name).suffix.lower()


def _read_rows(
    file: RawFile, columns: list[str], options: Namespace, malformed: MalformedRows
) -> Iterator[tuple[int, Sequence]]:
    """Return numbered rows of the values in ``columns``, by the format that the name of the file tells."""
    suffix = _suffix(file)
    if suffix in DELIMITERS:
        delimiter = options.delimiter or DELIMITERS[suffix]
        quoted = delimiter != "\t" if options.quote is None else options.quote
        return _read_csv_columns(file, delimiter, quoted, columns, malformed, options.encoding)
    if suffix in JSON_LINES:
        return _read_json_columns(file, columns, malformed, options.encoding)
    return _read_parquet_columns(file, columns, columns.index(options.time_col))


def _read_csv_columns(
    file: RawFile, delimiter: str, quoted: bool, columns: list[str], malformed: MalformedRows, encoding: str
) -> Iterator[tuple[int, Sequence]]:
    records = read_csv(file, malformed, delimiter, quoted, "; if quotes are part of the text, add --no-quote", encoding)
    header = next((record for _, record in records if not is_blank(record)), [])
    # There are at least three columns, so itemgetter returns a tuple.
    select = itemgetter(*(_position(file, column, header, quoted) for column in columns))
    for line, record in skip_blank(records, malformed):
        if len(record) == len(header):
            yield line, select(record)
        else:
            reason = f"{count(len(record), 'field')} where the header has {len(header)}"
            if not quoted and any(value.startswith('"') for value in record):
                reason += "; if quotes enclose fields, add --quote"
            malformed.report(file, line, reason)


def _read_json_columns(
    file: RawFile, columns: list[str], malformed: MalformedRows, encoding: str
) -> Iterator[tuple[int, Sequence]]:
    for line, text in skip_blank(read_lines(file), malformed):
        try:
            text = text.decode(encoding)
            row = json.loads(text.removeprefix("\ufeff") if line == 1 else text, parse_float=Decimal)
            values = [row[column] for column in columns]
        except UnicodeDecodeError:
            reason = f"is not {encoding}"
            malformed.report(file, line, RowError(reason, reason, OTHER_ENCODING))
        except KeyError as error:
            malformed.report(file, line, f"there is no {error}")
        except (ValueError, TypeError, RecursionError) as error:
            malformed.report(file, line, RowError(f"not a JSON object: {error}", "not a JSON object"))
        else:
            yield line, values


def _read_parquet_columns(file: RawFile, columns: list[str], time: int) -> Iterator[tuple[int, Sequence]]:
    """Yield the numbered rows of the values in ``columns``, of which that at the place ``time`` is the time of the event."""
    try:
        stream = file.open()
        if not stream.seekable():
            stream = io.BytesIO(stream.read())
        parquet = pa.parquet.ParquetFile(stream)
        for column in columns:
            _position(file, column, parquet.schema_arrow.names, quoted=True)
        _check_recorded_size(file, parquet.metadata, columns)
        # A text that is stored once and repeated in many rows stays so until the size of the rows is checked.
        texts = [column for column in columns if _is_text(parquet.schema_arrow.field(column).type)]
        parquet = pa.parquet.ParquetFile(stream, read_dictionary=texts, metadata=parquet.metadata)
        row, unpacked = 1, 0
        for batch in parquet.iter_batches(ROWS_PER_TABLE, columns=list(dict.fromkeys(columns))):
            unpacked += sum(_unpacked_bytes(batch[column]) for column in columns)
            file.check_unpacked(unpacked)
            values = [_to_python(batch[column]) for column in columns]
            if pa.types.is_timestamp(batch[columns[time]].type) and batch[columns[time]].type.unit == "ns":
                values[time] = _to_seconds(batch[columns[time]])
            yield from enumerate(zip(*values, strict=True), row)
            row += len(batch)
    except (pa.ArrowException, UnicodeDecodeError, *DAMAGE_ERRORS) as error:
        raise PreparationError(f"{file.label} cannot be read as Parquet: {error}") from None


def _check_recorded_size(file: RawFile, metadata: pa.parquet.FileMetaData, columns: list[str]) -> None:
    """Check the size that a file says it has: before compression, and of the values to read at 8 bytes each."""
    # To ask for the sizes of single columns would end the process where their statistics are damaged.
    encoded = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    file.check_unpacked(max(encoded, 8 * len(columns) * metadata.num_rows))


def _is_text(arrow_type: pa.DataType) -> bool:
    return pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type)


def _unpacked_bytes(column: pa.Array) -> int:
    if not (pa.types.is_dictionary(column.type) and _is_text(column.type.value_type)):
        return column.nbytes
    lengths = pa.compute.binary_length(column.dictionary)
    return pa.compute.sum(lengths.take(column.indices).cast(pa.int64())).as_py() or 0


def _to_seconds(column: pa.Array) -> list[Decimal | None]:
    """Return times in nanoseconds as exact seconds since 1970: Python's datetime has no nanoseconds."""
    return [None if each is None else Decimal(each).scaleb(-9) for each in column.cast(pa.int64()).to_pylist()]


def _to_python(column: pa.Array) -> list:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type):
        # Python's datetime has no nanoseconds.
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        # As in a CSV, what is not UTF-8 becomes lone surrogates, which the parser of the field refuses.
        stored = column.cast(pa.large_binary()).to_pylist()
        return [None if text is None else text.decode("utf-8", "surrogateescape") for text in stored]


def _position(file: RawFile, column: str, header: list[str], quoted: bool) -> int:
    if not header:
        raise PreparationError(f"{file.label} is empty")
    found = header.count(column)
    if found == 1:
        return header.index(column)
    by_lower = {name.lower(): name for name in header}
    close = difflib.get_close_matches(column.lower(), by_lower, n=1)
    hint = f"; did you mean {by_lower[close[0]]!r}?" if close and not found else ""
    if len(header) == 1:
        delimiter = next((mark for mark in ";|\t" if mark in header[0]), None)
        hint = f"; use --delimiter={delimiter!r}?" if delimiter else ""
    elif not quoted and f'"{column}"' in header:
        hint = "; if quotes enclose fields, add --quote"
    problem = f"{found} columns are named {column!r}" if found else f"there is no column {column!r}"
    raise PreparationError(f"{file.label}:1: {problem} among {', '.join(header)}{hint}")


def _parse_identifier(value: object) -> str:
    if isinstance(value, str):
        return check_identifier(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise RowError(f"is {value!r}, neither text nor a whole number", "is neither text nor a whole number")
    return str(value)


def _parse_rating(value: object) -> str:
    return check_number(str(value))


def _check_encoding(name: str) -> None:
    """Check that Python knows an encoding, and that lines of text end with the same byte as in UTF-8."""
    try:
        line_end = "\n".encode(name)
    except LookupError:
        raise PreparationError(
            f"--encoding={name} is unknown; name it as Python does, such as latin-1 or cp1252"
        ) from None
    if line_end != b"\n":
        raise PreparationError(f"--encoding={name} cannot be read line by line; convert the file to UTF-8 first")


# These values come from typed formats too and are never parsed by Arrow, so no byte is ordinary.
FIELD_TYPES = {
    "user_id": FieldType(pa.string(), b"", _parse_identifier),
    "item_id": FieldType(pa.string(), b"", _parse_identifier),
    "rating": FieldType(pa.string(), b"", _parse_rating),
}
RECBOLE_TYPES = {"user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float"}
