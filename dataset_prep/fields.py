"""Check and convert the text of one raw field.

Every parser raises :class:`dataset_prep.errors.RowError` with the reason, such as "is 'x', not a number"; the caller adds the
field's name, and :class:`dataset_prep.malformed.MalformedRows` the file and the line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal

import pyarrow as pa

from dataset_prep.atomic_file import check_identifier
from dataset_prep.errors import RowError

DIGITS = b"0123456789"
UNIX_SECONDS = re.compile(r"\d{9,10}")
"""What seconds since 1970 look like, from 1973 on; milliseconds have more digits."""

LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class FieldType:
    """How to read one field.

    Attributes:
        arrow_type: type of the values in a table.
        ordinary: bytes that a field may have to be parsed by Arrow; others are parsed one line at a time.
        parse: convert the field; raises RowError with the reason.
    """

    arrow_type: pa.DataType
    ordinary: bytes
    parse: Callable[[str], object]


def parse_whole_number(text: str) -> int:
    """Return a whole number from 0 to 2**63 - 1."""
    if not text.isascii() or not text.isdigit():
        raise RowError(f"is {text!r}, not a whole number", "is not a whole number")
    number = int(text)
    if number >= 1 << 63:
        raise RowError(f"is {text}, too large a number", "is too large a number")
    return number


def check_number(text: str) -> str:
    """Return ``text`` unchanged when it is a finite decimal number."""
    try:
        finite = math.isfinite(float(text))
    except ValueError:
        finite = False
    if not finite or not text.isascii() or text != text.strip() or "_" in text:
        raise RowError(f"is {text!r}, not a number", "is not a number")
    return text


def parse_date(text: str) -> int:
    """Return a date ``YYYY-MM-DD`` or ``YYYYMMDD`` as seconds since 1970, at midnight in UTC."""
    found = re.fullmatch(r"(\d{4})(-?)(\d{2})\2(\d{2})", text, re.ASCII)
    if found is None:
        raise RowError(f"is {text!r}, not a date", "is not a date")
    year, _, month, day = found.groups()
    try:
        date = datetime(int(year), int(month), int(day), tzinfo=timezone.utc)
    except ValueError:
        raise RowError(f"is {text!r}, not a date", "is not a date") from None
    if date.year < 1970:
        raise RowError(f"is {text!r}, before 1970", "is before 1970")
    return int(date.timestamp())


def parse_milliseconds(text: str) -> Decimal:
    """Return a whole number of milliseconds as exact seconds."""
    return Decimal(parse_whole_number(text)) / 1000


WHOLE_NUMBER = FieldType(pa.int64(), DIGITS, parse_whole_number)
NUMBER = FieldType(pa.string(), DIGITS + b".", check_number)
MILLISECONDS = FieldType(pa.decimal128(19, 3), DIGITS, parse_milliseconds)
DATE = FieldType(pa.int64(), DIGITS + b"-", parse_date)
IDENTIFIER = FieldType(pa.string(), DIGITS + LETTERS + b"_-", check_identifier)
TEXT = FieldType(pa.string(), b"", str)
