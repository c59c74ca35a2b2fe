"""A log of your own: CSV, TSV, JSON lines or Parquet, one event a row, with the columns that the options name.

Ids are text or whole numbers. Times are numbers since any origin, in any unit (RecBole uses only their order), or ISO 8601,
which becomes seconds since 1970, in UTC where no zone is given. Both keep nine decimals exactly.
"""

from __future__ import annotations

import io
import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from operator import itemgetter
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet

from dataset_prep.atomic_file import check_identifier
from dataset_prep.errors import PreparationError
from dataset_prep.fields import FieldType, check_number
from dataset_prep.raw_files import DAMAGE_ERRORS, RawFile, RawFiles
from dataset_prep.rows import ROWS_PER_TABLE, Layout, MalformedRows, parse_rows, read_csv, read_lines
from dataset_prep.source import Source

NAMES = ["table"]
ACCEPTED_FILES = "point --raw at one .csv, .tsv, .jsonl or .parquet file, which may be gzipped or in a zip"
DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson", ".json")
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
TIME_LIMIT = Decimal(10) ** 19
"""Python's decimals have 28 digits, of which nine are decimals of the time."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options that name the columns."""
    parser.add_argument("--user-col", required=True, metavar="COLUMN", help="the column of the user")
    parser.add_argument("--item-col", required=True, metavar="COLUMN", help="the column of the item")
    parser.add_argument("--time-col", required=True, metavar="COLUMN", help="the column of the time")
    parser.add_argument("--rating-col", metavar="COLUMN", help="the column of the rating")
    parser.add_argument("--delimiter", help="between the fields of CSV (default: a comma, in .tsv a tab)")


def open_source(raw_files: RawFiles, options: Namespace, malformed: MalformedRows) -> Source:
    """Open the log.

    Raises:
        PreparationError: there is not exactly one file of a known format, or a column is missing.
    """
    if len(raw_files.files) != 1:
        raise PreparationError(f"{raw_files.path} holds {len(raw_files.files)} files; {ACCEPTED_FILES}")
    file = raw_files.files[0]
    chosen = {"user_id": options.user_col, "item_id": options.item_col}
    if options.rating_col:
        chosen["rating"] = options.rating_col
    chosen["timestamp"] = options.time_col
    rows = _read_rows(file, list(chosen.values()), options.delimiter, malformed)
    layout = Layout({name: FIELD_TYPES[name] for name in chosen})
    events = layout.to_tables(parse_rows(file, rows, layout.parse_fields, malformed))
    return Source([file], events, {name: RECBOLE_TYPES[name] for name in chosen})


def _read_rows(
    file: RawFile, columns: list[str], delimiter: str | None, malformed: MalformedRows
) -> Iterator[tuple[int, Sequence]]:
    """Return numbered rows of the values in ``columns``, by the format that the name of the file tells."""
    suffix = PurePosixPath(file.name).suffix.lower()
    if suffix in DELIMITERS:
        delimiter = delimiter or DELIMITERS[suffix]
        if len(delimiter) != 1:
            raise PreparationError(f"--delimiter must be one character, not {delimiter!r}")
        return _read_csv_columns(file, delimiter, columns, malformed)
    if suffix in JSON_LINES:
        return _read_json_columns(file, columns, malformed)
    if suffix == ".parquet":
        return _read_parquet_columns(file, columns)
    raise PreparationError(f"{file.label} has an unknown format; {ACCEPTED_FILES}")


def _read_csv_columns(
    file: RawFile, delimiter: str, columns: list[str], malformed: MalformedRows
) -> Iterator[tuple[int, Sequence]]:
    records = read_csv(file, malformed, delimiter)
    _, header = next(records, (1, []))
    # There are at least three columns, so itemgetter returns a tuple.
    select = itemgetter(*(_position(file, column, header) for column in columns))
    for line, record in records:
        if len(record) == len(header):
            yield line, select(record)
        else:
            malformed.report(file, line, f"{len(record)} fields where the header has {len(header)}")


def _read_json_columns(file: RawFile, columns: list[str], malformed: MalformedRows) -> Iterator[tuple[int, Sequence]]:
    for line, text in read_lines(file):
        try:
            row = json.loads(text, parse_float=Decimal)
            values = [row[column] for column in columns]
        except KeyError as error:
            malformed.report(file, line, f"there is no {error}")
        except (ValueError, TypeError, RecursionError) as error:
            malformed.report(file, line, f"not a JSON object: {error}")
        else:
            yield line, values


def _read_parquet_columns(file: RawFile, columns: list[str]) -> Iterator[tuple[int, Sequence]]:
    try:
        stream = file.open()
        if not stream.seekable():
            stream = io.BytesIO(stream.read())
        parquet = pa.parquet.ParquetFile(stream)
        for column in columns:
            _position(file, column, parquet.schema_arrow.names)
        row = 1
        for batch in parquet.iter_batches(ROWS_PER_TABLE, columns=columns):
            values = [_to_python(batch[column]) for column in columns]
            yield from enumerate(zip(*values, strict=True), row)
            row += len(batch)
    except (pa.ArrowException, *DAMAGE_ERRORS) as error:
        raise PreparationError(f"{file.label} cannot be read as Parquet: {error}") from None


def _to_python(column: pa.Array) -> list:
    if pa.types.is_timestamp(column.type):
        # Python's datetime has no nanoseconds.
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return column.to_pylist()


def _position(file: RawFile, column: str, header: list[str]) -> int:
    if not header:
        raise PreparationError(f"{file.label} is empty")
    count = header.count(column)
    if count == 1:
        return header.index(column)
    hint = ""
    if len(header) == 1:
        delimiter = next((mark for mark in ";|\t" if mark in header[0]), None)
        hint = f"; use --delimiter={delimiter!r}?" if delimiter else ""
    raise PreparationError(f"{file.label}:1: {count} columns are named {column!r} among {', '.join(header)}{hint}")


def _parse_identifier(value: object) -> str:
    if isinstance(value, str):
        return check_identifier(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"is {value!r}, neither text nor a whole number")
    return str(value)


def _parse_rating(value: object) -> str:
    return check_number(str(value))


def _parse_time(value: object) -> Decimal:
    if isinstance(value, str):
        value = _parse_time_text(value)
    if isinstance(value, date):
        value = _seconds_since_1970(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError(f"is {value!r}, not a time")
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not exact.is_finite() or not 0 <= exact < TIME_LIMIT:
        raise ValueError(f"is {value}, out of range")
    return round(exact, 9)


def _parse_time_text(text: str) -> Decimal | datetime:
    try:
        return Decimal(check_number(text))
    except (ValueError, InvalidOperation):
        pass
    try:
        # Python 3.10 does not know the final Z.
        return datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    except ValueError as error:
        raise ValueError(f"is {text!r}, neither a number nor an ISO time: {error}") from None


def _seconds_since_1970(moment: date) -> Decimal:
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return Decimal((moment - EPOCH) // timedelta(microseconds=1)) / 1_000_000


# These values come from typed formats too and are never parsed by Arrow, so no byte is ordinary.
FIELD_TYPES = {
    "user_id": FieldType(pa.string(), b"", _parse_identifier),
    "item_id": FieldType(pa.string(), b"", _parse_identifier),
    "rating": FieldType(pa.string(), b"", _parse_rating),
    "timestamp": FieldType(pa.decimal128(38, 9), b"", _parse_time),
}
RECBOLE_TYPES = {"user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float"}
