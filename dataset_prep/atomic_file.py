"""The format of RecBole's atomic files: tab-separated text with a header of ``name:type`` columns.

Format: https://recbole.io/docs/user_guide/data/atomic_files.html. RecBole reads these files with the quoting rules and the
missing-value words that are pandas' defaults, so text is written such that both leave it unchanged.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from dataset_prep.errors import RowError

MISSING_WORDS = {
    "#N/A",
    "#N/A N/A",
    "#NA",
    "-1.#IND",
    "-1.#QNAN",
    "-NaN",
    "-nan",
    "1.#IND",
    "1.#QNAN",
    "<NA>",
    "N/A",
    "NA",
    "NULL",
    "NaN",
    "None",
    "n/a",
    "nan",
    "null",
}
"""Words that ``pandas.read_csv`` reads as a missing value."""

PADDING = "[PAD]"
"""RecBole's own name for id 0."""

LONGEST_NAME_BYTES = 150
"""Longest name of a dataset; file systems allow 255 bytes, and names of run directories add model, time and seed."""

_SEPARATORS = re.compile("[\t\n\r\0]")


def is_plain_name(text: str) -> bool:
    """Return whether a text can name a dataset: a folder, the files in it, and a line in a table.

    It has no separator of folders, tab, line end or other character that is not printable, does not begin with ``.``, and is
    not longer than :data:`LONGEST_NAME_BYTES`.
    """
    # What is not printable includes the lone surrogates of a name that is not UTF-8, which cannot be encoded.
    is_visible = text.isprintable() and bool(text.strip())
    return is_visible and text[0] != "." and not set(text) & set("/\\") and len(text.encode()) <= LONGEST_NAME_BYTES


def check_identifier(text: str) -> str:
    """Return ``text`` when it can be the id of a user or an item in an atomic file.

    Raises:
        RowError: with the reason, such as "is empty"; the caller adds which field it is.
    """
    if not text:
        raise RowError("is empty", "is empty")
    if text in MISSING_WORDS:
        raise RowError(f"is {text!r}, which RecBole reads as a missing value", "is a missing value")
    if text == PADDING:
        raise RowError(f"is {text!r}, RecBole's padding id", "is RecBole's padding id")
    if _SEPARATORS.search(text):
        message = f"is {text!r}: an atomic file cannot hold tabs, line ends or NUL in an id"
        raise RowError(message, "holds a tab, line end or NUL")
    return check_text(text)


def check_text(text: str) -> str:
    """Return ``text`` unchanged when it can be written as UTF-8: bytes of another encoding are read as lone surrogates.

    Raises:
        RowError: it cannot.
    """
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise RowError(f"is {text!r}, which is not UTF-8", "is not UTF-8") from None
    return text


def escape_field(text: str) -> str:
    """Return any text as one field of an atomic file.

    Tabs, line ends and NUL become spaces. A word that RecBole would read as missing gets a leading space, which separates
    tokens anyway. Text that begins with a quote is quoted; otherwise the quote would swallow the rows after it.
    """
    text = _SEPARATORS.sub(" ", text).encode("utf-8", "replace").decode()
    if text in MISSING_WORDS:
        return " " + text
    if text.startswith('"'):
        return '"' + text.replace('"', '""') + '"'
    return text


def split_row(line: str, separator: str) -> list[str]:
    """Return the fields of one line as they were before :func:`escape_field`.

    A line of which the quotes do not enclose whole fields, as other programs write them, is divided at the separators only.
    """
    try:
        (fields,) = csv.reader([line], delimiter=separator, strict=True)
    except csv.Error:
        fields = line.split(separator)
    return [text[1:] if text[1:] in MISSING_WORDS and text.startswith(" ") else text for text in fields]


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Write one atomic file of text fields.

    Args:
        path: file to write.
        header: ``name:type`` of each column.
        rows: text of each row's fields.

    Returns:
        The number of rows.
    """
    count = 0
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write("\t".join(header) + "\n")
        for row in rows:
            file.write("\t".join(map(escape_field, row)) + "\n")
            count += 1
    return count
