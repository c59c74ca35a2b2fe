"""RecBole's atomic files: tab-separated, a typed header, put in place whole or not at all.

Format: https://recbole.io/docs/user_guide/data/atomic_files.html. RecBole reads them with pandas' default quoting and
missing-value words, so text is written such that both give it back.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

MISSING_WORDS = {
    *(
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
    ),
    *("NaN", "None", "n/a", "nan", "null"),
}
"""What ``pandas.read_csv`` takes for a missing value."""

PADDING = "[PAD]"
"""RecBole's own name for id 0."""


_BREAKS = re.compile("[\t\n\r\0]")


def identifier(text: str) -> str:
    """``text`` when it can be a user's or an item's id in an atomic file; ValueError with the reason when not."""
    if not text:
        raise ValueError("is empty")
    if text in MISSING_WORDS:
        raise ValueError(f"is {text!r}, which RecBole reads as a missing value")
    if text == PADDING:
        raise ValueError(f"is {text!r}, RecBole's padding id")
    if _BREAKS.search(text):
        raise ValueError(f"is {text!r}: an atomic file cannot hold tabs, line ends or NUL in an id")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError(f"is {text!r}, which is not UTF-8") from None
    return text


def field(text: str) -> str:
    """Any text as one field of an atomic file.

    Tabs, line ends and NUL become spaces. A word that would be read as missing gets a leading space, which separates
    tokens anyway; an opening quote would swallow the rows after it and is quoted.
    """
    text = _BREAKS.sub(" ", text).encode("utf-8", "replace").decode()
    if text in MISSING_WORDS:
        return " " + text
    return '"' + text.replace('"', '""') + '"' if text.startswith('"') else text


def write_rows(file: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Write one atomic file of text rows; returns their number."""
    count = 0
    with open(file, "w", encoding="utf-8", newline="\n") as lines:
        lines.write("\t".join(header) + "\n")
        for row in rows:
            lines.write("\t".join(map(field, row)) + "\n")
            count += 1
    return count


@contextmanager
def workshop(folder: Path) -> Iterator[Path]:
    """A scratch folder inside ``folder`` (so that renaming out of it is one step), gone at the end.

    Raises BlockingIOError when another process works in it. What a killed process left is cleared.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    work = folder / ".unfinished"
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(f"another preparation is writing into {folder}") from None
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            yield work
        finally:
            shutil.rmtree(work)
    finally:
        os.close(lock)


def publish(work: Path, folder: Path, names: Sequence[str], last: str) -> None:
    """Move complete files from ``work`` into ``folder``; ``last`` vouches for the others.

    All are on disk before the first is moved. ``last`` is taken away first and put back at the end, so that it never
    stands beside files it does not describe.
    """
    for name in (*names, last):
        with open(work / name, "rb+") as file:
            os.fsync(file.fileno())
    (folder / last).unlink(missing_ok=True)
    for name in (*names, last):
        os.replace(work / name, folder / name)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
