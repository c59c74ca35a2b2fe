"""Find the row of an atomic file that RecBole could not read, to name it; RecBole's own errors name no file and no row."""

from __future__ import annotations

import csv
from pathlib import Path

from recbole_echomamba.data.atomic_file import read_header

MISSING = {"", "nan", "NaN", "NA", "N/A", "n/a", "null", "NULL", "None"}
"""Texts that stand for a missing number."""

MAX_SHOWN = 40
"""How many characters of a value a message shows."""


def find_bad_row(file: Path, separator: str, seq_separator: str, encoding: str | None) -> str | None:
    """Describe the first row of an atomic file that cannot be read.

    Args:
        file: an existing atomic file with a valid header.
        separator: what separates its columns.
        seq_separator: what separates the values of a list.
        encoding: a name that Python knows, or None for UTF-8.

    Returns:
        File, line, value and what to do; None if every row can be read.
    """
    columns = read_header(file, separator, encoding)
    with open(file, encoding=encoding or "utf-8", newline="") as lines:
        reader = csv.reader(lines, delimiter=separator)
        next(reader)
        first_line = reader.line_num + 1
        try:
            for row in reader:
                if problem := _describe_problem(row, columns, seq_separator):
                    if reader.line_num > first_line:
                        problem += f"; a quoted field that starts here ends in line {reader.line_num}"
                    return f"{file}, line {first_line}: {problem}"
                first_line = reader.line_num + 1
        except UnicodeDecodeError as error:
            return f"{file} cannot be decoded ({error}); name its --encoding, or write it as utf-8"
        except csv.Error as error:
            return f"{file}, line {reader.line_num}: {error}"
    return None


def _describe_problem(row: list[str], columns: dict[str, str], seq_separator: str) -> str | None:
    if len(row) > len(columns):
        return f"{len(row)} fields, but the header names {len(columns)} columns; remove the row or quote the field"
    for text, (name, kind) in zip(row, columns.items(), strict=False):
        if not kind.startswith("float"):
            continue
        numbers = text.split(seq_separator) if kind == "float_seq" else [text]
        bad = next((number for number in numbers if number.strip() not in MISSING and not _is_number(number)), None)
        if bad is not None:
            return f"{name} is {_shorten(bad)!r}, which is no number; leave the field empty or declare the column {name}:token"
    return None


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
