"""Read times: numbers in any unit, ISO 8601, or texts in a format that the user names."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from functools import partial

import pyarrow as pa

from dataset_prep.errors import RowError
from dataset_prep.fields import FieldType, check_number

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
FORMAT_CURE = "say how times are written, such as --time-format='%d.%m.%Y %H:%M'"
NANOSECONDS = re.compile(r"(.*:\d\d[.,]\d{6})(\d{1,3})\d*(\D.*)?", re.ASCII)
"""A time with digits after those that Python's datetime keeps."""

DATE_OF_DIGITS = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", re.ASCII)

TIME_LIMIT = Decimal(10) ** 19
"""Python's decimals have 28 digits, of which nine are decimals of the time."""


def make_time_type(time_format: str | None) -> FieldType:
    """Return the type of the times of one log, which become decimals with nine digits after the point.

    Args:
        time_format: how times are written, as :meth:`datetime.datetime.strptime` takes it; ``None`` for numbers and ISO 8601.
    """
    return FieldType(pa.decimal128(38, 9), b"", partial(_parse_time, time_format=time_format, mixture=_Mixture()))


class _Mixture:
    """Notice a column that holds dates such as ``20240131``, which are read as numbers, beside ISO 8601."""

    def __init__(self):
        self._number: str | None = None
        self._has_dates = False

    def add(self, text: str, is_number: bool) -> None:
        """Take one more text into account; RowError if it cannot be told which of both the column holds."""
        if not is_number:
            self._has_dates = True
        elif DATE_OF_DIGITS.fullmatch(text):
            self._number = text
        if self._has_dates and self._number:
            raise RowError(
                f"is {text!r}: the column holds dates and also {self._number!r}, a date without hyphens or a number of seconds",
                "mixes dates with numbers",
                "write all times in one way",
            )


def _parse_time(value: object, time_format: str | None, mixture: _Mixture) -> Decimal:
    if time_format is not None:
        value = _parse_formatted_time(str(value), time_format)
    if isinstance(value, str):
        number = _parse_number(value)
        time = _parse_iso_time(value) if number is None else number
        mixture.add(value, is_number=number is not None)
        value = time
    if isinstance(value, date):
        value = _seconds_since_1970(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise RowError(f"is {value!r}, not a time", "is not a time")
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not exact.is_finite() or not 0 <= exact < TIME_LIMIT:
        raise RowError(f"is {value}, out of range", "is out of range")
    return round(exact, 9)


def _parse_formatted_time(text: str, time_format: str) -> datetime:
    try:
        return datetime.strptime(text, time_format)
    except ValueError:
        raise RowError(
            f"is {text!r}, not a time written as {time_format}", "is not written as --time-format says", FORMAT_CURE
        ) from None


def _parse_number(text: str) -> Decimal | None:
    try:
        return Decimal(check_number(text))
    except (ValueError, InvalidOperation):
        return None


def _parse_iso_time(text: str) -> Decimal:
    if not text:
        raise RowError("is empty", "is empty")
    nanoseconds = 0
    if found := NANOSECONDS.fullmatch(text):
        text, nanoseconds = found[1] + (found[3] or ""), int(found[2].ljust(3, "0"))
    try:
        # Python 3.10 does not know the final Z.
        moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    except ValueError as error:
        kind = "neither a number nor an ISO time"
        raise RowError(f"is {text!r}, {kind}: {error}", f"is {kind}", FORMAT_CURE) from None
    return _seconds_since_1970(moment) + Decimal(nanoseconds).scaleb(-9)


def _seconds_since_1970(moment: date) -> Decimal:
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return Decimal((moment - EPOCH) // timedelta(microseconds=1)) / 1_000_000
