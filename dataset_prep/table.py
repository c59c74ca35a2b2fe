"""A log of one's own: CSV, TSV, JSON lines or Parquet, one row an event, columns named by the options.

Ids are text or whole numbers. Times are numbers since any origin, in any unit (RecBole uses their order), or ISO 8601, which
become seconds since 1970, UTC where no zone is given. Both are exact to nine decimals.
"""

from __future__ import annotations

import io
import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from itertools import islice
from operator import itemgetter
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet

from dataset_prep.archive import Member, Raw
from dataset_prep.atomic import identifier
from dataset_prep.rows import BadRows, csv_records, lines, number
from dataset_prep.source import Source

NAMES = ["table"]
DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson", ".json")
ROWS = 100_000  # a table
TYPES = {"user_id": pa.string(), "item_id": pa.string(), "rating": pa.string(), "timestamp": pa.decimal128(38, 9)}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
TIME_LIMIT = Decimal(10) ** 19  # what nine decimals leave of the 28 digits Python's decimals have


def getting(name: str) -> str:
    """What ``--raw`` must be."""
    return "point --raw at one .csv, .tsv, .jsonl or .parquet file, gzipped or in a zip if you like"


def add_arguments(parser: ArgumentParser) -> None:
    """Which columns hold what."""
    for role, required in (("user", True), ("item", True), ("time", True), ("rating", False)):
        parser.add_argument(f"--{role}-col", required=required, metavar="COLUMN", help=f"the column of the {role}")
    parser.add_argument("--delimiter", help="between the fields of CSV (default: a comma, in .tsv a tab)")


def open_source(raw: Raw, options: Namespace, bad: BadRows) -> Source:
    """Raises ValueError when ``raw`` is not one file of a known kind, or a column is missing."""
    if len(raw.members) != 1:
        raise ValueError(f"{raw.path} holds {len(raw.members)} files; {getting('table')}")
    member = raw.members[0]
    chosen = {"user_id": options.user_col, "item_id": options.item_col, "rating": options.rating_col}
    chosen = {name: column for name, column in {**chosen, "timestamp": options.time_col}.items() if column}
    suffix = PurePosixPath(member.name).suffix.lower()
    if suffix in DELIMITERS:
        delimiter = options.delimiter or DELIMITERS[suffix]
        if len(delimiter) != 1:
            raise ValueError(f"--delimiter must be one character, it is {delimiter!r}")
        rows = _csv(member, delimiter, list(chosen.values()), bad)
    elif suffix in JSON_LINES:
        rows = _json(member, list(chosen.values()), bad)
    elif suffix == ".parquet":
        rows = _parquet(member, list(chosen.values()))
    else:
        raise ValueError(f"{member.label} is of no known kind; {getting('table')}")
    columns = {name: "token" if name.endswith("_id") else "float" for name in chosen}
    return Source([member], _tables(member, rows, list(chosen), bad), columns)


def _csv(member: Member, delimiter: str, columns: list[str], bad: BadRows) -> Iterator[tuple[int, Sequence]]:
    records = csv_records(member, bad, delimiter)
    _, header = next(records, (1, []))
    pick = itemgetter(*(_place(member, column, header) for column in columns))
    for line, row in records:
        if len(row) == len(header):
            yield line, pick(row)
        else:
            bad.report(member, line, f"{len(row)} fields where the header has {len(header)}")


def _json(member: Member, columns: list[str], bad: BadRows) -> Iterator[tuple[int, Sequence]]:
    for line, text in lines(member):
        try:
            row = json.loads(text, parse_float=Decimal)
            yield line, [row[column] for column in columns]
        except KeyError as error:
            bad.report(member, line, f"there is no {error}")
        except (ValueError, TypeError, RecursionError) as error:
            bad.report(member, line, f"not a JSON object: {error}")


def _parquet(member: Member, columns: list[str]) -> Iterator[tuple[int, Sequence]]:
    stream = member.open()
    try:
        file = pa.parquet.ParquetFile(stream if stream.seekable() else io.BytesIO(stream.read()))
        for column in columns:
            _place(member, column, file.schema_arrow.names)
        line = 1
        for batch in file.iter_batches(ROWS, columns=columns):
            values = [_listed(batch[column]) for column in columns]
            yield from enumerate(map(list, zip(*values, strict=True)), line)
            line += len(batch)
    except pa.ArrowException as error:
        raise ValueError(f"{member.label}: {error}") from None


def _listed(column: pa.Array) -> list:
    if pa.types.is_timestamp(column.type):  # Python's datetime has no nanoseconds
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return column.to_pylist()


def _place(member: Member, column: str, header: list[str]) -> int:
    if not header:
        raise ValueError(f"{member.label} is empty")
    if header.count(column) != 1:
        other = next((mark for mark in ";|\t" if len(header) == 1 and mark in header[0]), None)
        hint = f"; is --delimiter={other!r} meant?" if other else ""
        raise ValueError(
            f"{member.label}:1: {header.count(column)} columns are named {column!r} among {', '.join(header)}{hint}"
        )
    return header.index(column)


def _tables(member: Member, rows: Iterator[tuple[int, Sequence]], names: list[str], bad: BadRows) -> Iterator[pa.Table]:
    parsers = [
        {"user_id": _identifier, "item_id": _identifier, "rating": _rating, "timestamp": _time}[n] for n in names
    ]
    while chunk := list(islice(rows, ROWS)):
        good = []
        for line, row in chunk:
            try:
                good.append([parse(value) for parse, value in zip(parsers, row, strict=True)])
            except ValueError:
                bad.report(member, line, _reason(names, parsers, row))
        columns = list(zip(*good, strict=True)) or [[] for _ in names]
        yield pa.table([pa.array(c, TYPES[name]) for c, name in zip(columns, names, strict=True)], names=names)


def _reason(names: list[str], parsers: list[Callable], row: Sequence) -> str:
    for name, parse, value in zip(names, parsers, row, strict=True):
        try:
            parse(value)
        except ValueError as error:
            return f"{name} {error}"
    raise AssertionError("every value of this row can be parsed")


def _identifier(value: object) -> str:
    if isinstance(value, str):
        return identifier(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"is {value!r}, neither text nor a whole number")
    return str(value)


def _rating(value: object) -> str:
    return number(str(value))


def _time(value: object) -> Decimal:
    if isinstance(value, str):
        value = _time_from_text(value)
    if isinstance(value, date):
        value = _seconds(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError(f"is {value!r}, not a time")
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not exact.is_finite() or not 0 <= exact < TIME_LIMIT:
        raise ValueError(f"is {value}, out of range")
    return round(exact, 9)


def _time_from_text(text: str) -> Decimal | datetime:
    try:
        return Decimal(number(text))
    except (ValueError, InvalidOperation):
        pass
    try:
        return datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)  # before 3.11 there is no Z
    except ValueError as error:
        raise ValueError(f"is {text!r}, neither a number nor an ISO time: {error}") from None


def _seconds(moment: date) -> Decimal:
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return Decimal((moment - EPOCH) // timedelta(microseconds=1)) / 1_000_000
