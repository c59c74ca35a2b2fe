"""From bytes to checked rows: malformed ones stop the run with ``file:line: reason``, or are skipped and counted.

Delimited text is read in blocks of whole lines. A block made of nothing but ordinary characters is parsed by Arrow; any
other block, and any Arrow does not accept, is read again line by line, which decides and finds the line to name. Both ways
give the same rows (tested).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv
from tqdm import tqdm

from dataset_prep.archive import DAMAGE, Member
from dataset_prep.atomic import identifier

BLOCK = 16 << 20
LONGEST_LINE = 64 << 20
DIGITS = b"0123456789"


class BadRows:
    """What becomes of malformed rows: the first one raises ValueError, or all are counted and the first is kept to be told."""

    def __init__(self, skip: bool = False):
        self.skip, self.count, self.first = skip, 0, None

    def report(self, member: Member, line: int, reason: object) -> None:
        """Take note of one; ``reason`` is text or the error it raised."""
        message = f"{member.label}:{line}: {reason}"
        if not self.skip:
            raise ValueError(message) from None
        self.count += 1
        self.first = self.first or message


@dataclass(frozen=True)
class Kind:
    """What a field holds: ``parse`` gives its value or raises ValueError; ``plain`` are its ordinary characters."""

    type: pa.DataType
    plain: bytes
    parse: Callable[[str], object]


def whole_number(text: str) -> int:
    """A whole number from 0 to 2**63 - 1."""
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"is {text!r}, not a whole number")
    if int(text) >= 1 << 63:
        raise ValueError(f"is {text}, too large a number")
    return int(text)


def number(text: str) -> str:
    """A finite decimal number, as it is written."""
    try:
        finite = abs(float(text)) < float("inf")
    except ValueError:
        finite = False
    if not finite or not text.isascii() or text != text.strip() or "_" in text:
        raise ValueError(f"is {text!r}, not a number")
    return text


def day(text: str) -> int:
    """A date ``YYYY-MM-DD`` or ``YYYYMMDD`` as seconds since 1970 at midnight in UTC."""
    found = re.fullmatch(r"(\d{4})(-?)(\d{2})\2(\d{2})", text, re.ASCII)
    try:
        date = datetime(int(found[1]), int(found[3]), int(found[4]), tzinfo=timezone.utc)
    except (TypeError, ValueError):
        raise ValueError(f"is {text!r}, not a date") from None
    if date.year < 1970:
        raise ValueError(f"is {text!r}, before 1970")
    return int(date.timestamp())


WHOLE = Kind(pa.int64(), DIGITS, whole_number)
NUMBER = Kind(pa.string(), DIGITS + b".", number)
DAY = Kind(pa.int64(), DIGITS + b"-", day)
ID = Kind(pa.string(), DIGITS + b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-", identifier)
TEXT = Kind(pa.string(), b"", str)


@dataclass(frozen=True)
class Layout:
    """Delimited lines without quoting: the raw name of each field and its kind."""

    fields: dict[str, Kind]
    delimiter: str = ","
    header: bool = False
    encoding: str = "utf-8"

    def tables(self, member: Member, bad: BadRows) -> Iterator[pa.Table]:
        """The member's rows, in order, one table a block. ValueError for a header with other columns."""
        for first, block in self._body(member):
            table = self.parse_block(block)
            yield self.table(row for _, row in self._rows(member, first, block, bad)) if table is None else table

    def records(self, member: Member, bad: BadRows) -> Iterator[tuple[int, list]]:
        """The member's rows, in order, one at a time, each with its line number."""
        for first, block in self._body(member):
            yield from self._rows(member, first, block, bad)

    def _body(self, member: Member) -> Iterator[tuple[int, bytes]]:
        for first, block in blocks(member):
            if first == 1 and self.header:
                header, _, block = block.partition(b"\n")
                self._check_header(member, header)
                first = 2
            yield first, block

    def _check_header(self, member: Member, header: bytes) -> None:
        names = header.decode(self.encoding, "replace").lstrip("\ufeff").rstrip("\r")
        if names != self.delimiter.join(self.fields):
            raise ValueError(f"{member.label}:1: expected {self.delimiter.join(self.fields)}, found {names!r}")

    def _rows(self, member: Member, first: int, block: bytes, bad: BadRows) -> Iterator[tuple[int, list]]:
        for line, text in enumerate(split_lines(block), first):
            try:
                yield line, self.parse_line(text)
            except ValueError as error:
                bad.report(member, line, error)

    def parse_line(self, line: bytes) -> list:
        """The values of one line; ValueError with the reason when it is malformed."""
        try:
            text = line.decode(self.encoding)
        except UnicodeDecodeError:
            raise ValueError(f"is not {self.encoding}: {line!r}") from None
        texts = text.split(self.delimiter)
        if len(texts) != len(self.fields):
            raise ValueError(f"expected {self.delimiter.join(self.fields)}, found {text!r}")
        return self.parse(texts)

    def parse(self, texts: Sequence[str]) -> list:
        """The values of one row's fields; ValueError naming the field that is malformed."""
        values = []
        for (name, kind), value in zip(self.fields.items(), texts, strict=True):
            try:
                values.append(kind.parse(value))
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None
        return values

    def parse_block(self, block: bytes) -> pa.Table | None:
        """The fast way: all lines at once, or None when the block is out of the ordinary."""
        block, delimiter = block.replace(b"\r\n", b"\n"), self.delimiter
        ordinary = b"".join(kind.plain for kind in self.fields.values())
        if block.translate(None, ordinary + delimiter.encode() + b"\n"):
            return None
        if delimiter == "::":  # Arrow knows delimiters of one character
            block, delimiter = block.replace(b"::", b"\t"), "\t"
        types = {n: k.type if k is WHOLE else pa.dictionary(pa.int32(), pa.string()) for n, k in self.fields.items()}
        try:
            table = pa.csv.read_csv(
                io.BytesIO(block),
                read_options=pa.csv.ReadOptions(column_names=list(types), block_size=len(block) + 1),
                parse_options=pa.csv.ParseOptions(delimiter=delimiter, quote_char=False, ignore_empty_lines=False),
                convert_options=pa.csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=False),
            )
            columns = [_values(table[name], kind) for name, kind in self.fields.items()]
        except ValueError:  # Arrow's own errors are ValueErrors too
            return None
        return pa.table(columns, names=list(self.fields))

    def table(self, rows: Iterable[list]) -> pa.Table:
        """Rows of parsed values as a table with the layout's types."""
        columns = list(zip(*rows, strict=True)) or [[] for _ in self.fields]
        arrays = [pa.array(c, kind.type) for c, kind in zip(columns, self.fields.values(), strict=True)]
        return pa.table(arrays, names=list(self.fields))


def _values(column: pa.ChunkedArray, kind: Kind) -> pa.Array:
    if column.null_count:
        raise ValueError("empty field")
    if kind is WHOLE:
        return column
    column = column.combine_chunks()
    distinct = pa.array([kind.parse(text) for text in column.dictionary.to_pylist()], kind.type)
    return distinct.take(column.indices)


def split_lines(block: bytes) -> list[bytes]:
    r"""Lines without their ends, which are ``\n`` or ``\r\n``."""
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines]


def blocks(member: Member) -> Iterator[tuple[int, bytes]]:
    """The member in blocks of whole lines, each with the number of its first line; progress goes to a terminal."""
    line, rest = 1, b""
    total = None if member.is_gzip else member.size
    with member.open() as stream, tqdm(total=total, unit="B", unit_scale=True, desc=member.name, disable=None) as bar:
        while chunk := _read(stream, member, line):
            bar.update(len(chunk))
            block, newline, rest = (rest + chunk).rpartition(b"\n")
            if len(rest) > LONGEST_LINE:
                raise ValueError(f"{member.label}:{line}: a line from here on has more than {LONGEST_LINE} bytes")
            if newline:
                yield line, block + newline
                line += block.count(b"\n") + 1
    if rest:
        yield line, rest


def _read(stream: BinaryIO, member: Member, line: int) -> bytes:
    try:
        return stream.read(BLOCK)
    except DAMAGE as error:
        raise ValueError(f"{member.label}:{line}: the data from here on are cut short or damaged: {error}") from None


def lines(member: Member) -> Iterator[tuple[int, bytes]]:
    """The member's lines without their ends, numbered from 1."""
    for first, block in blocks(member):
        yield from enumerate(split_lines(block), first)


def csv_records(member: Member, bad: BadRows, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Rows of a quoted CSV in UTF-8, the header too, each with the number of its first line.

    Bytes that are not UTF-8 become lone surrogates, which no id may hold. A quote that never closes raises ValueError
    even when malformed rows are skipped: nobody knows what it swallowed.
    """
    csv.field_size_limit(LONGEST_LINE)
    reader = csv.reader(_text_lines(member), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise ValueError(f"{member.label}:{line}: a quote opens here and never closes") from None
            bad.report(member, line, error)
        else:
            yield line, row


def _text_lines(member: Member) -> Iterator[str]:
    for number, line in lines(member):
        text = line.decode("utf-8", "surrogateescape") + "\n"
        yield text.removeprefix("\ufeff") if number == 1 else text
