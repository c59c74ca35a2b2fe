"""MovieLens-1M: ``ratings.dat``, ``movies.dat`` and ``users.dat`` of ml-1m.zip (GroupLens).

Fields are separated by ``::``, the encoding is latin-1. Row order is kept: RecBole sorts by a float32 timestamp, so the
order of the file decides between ratings of the same minute, and every published RecBole figure depends on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dataset_prep.atomic import write_atomic_files

YEAR = re.compile(r"\s*\((\d{4})\)\s*$")


def prepare(raw: Path, out: Path) -> str:
    """Write ``out/ml-1m/ml-1m.{inter,item,user}`` and return a line of totals.

    Raises FileNotFoundError when a raw file is missing and ValueError, with file and line, for a row that is malformed.
    """
    folder = next((f for f in (raw, raw / "ml-1m") if (f / "ratings.dat").is_file()), None)
    if folder is None:
        raise FileNotFoundError(
            f"{raw} holds no ratings.dat; unpack ml-1m.zip from https://grouplens.org/datasets/movielens/1m/"
        )
    for part in ("movies.dat", "users.dat"):
        if not (folder / part).is_file():
            raise FileNotFoundError(f"{folder / part} is missing; unpack ml-1m.zip whole")
    seen: dict[str, set] = {"users": set(), "items": set()}
    rows = _Counted(_ratings(folder / "ratings.dat", seen))
    write_atomic_files(
        out / "ml-1m",
        "ml-1m",
        {
            "inter": (("user_id:token", "item_id:token", "rating:float", "timestamp:float"), rows),
            "item": (
                ("item_id:token", "movie_title:token_seq", "release_year:token", "genre:token_seq"),
                _movies(folder / "movies.dat"),
            ),
            "user": (
                ("user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token"),
                _users(folder / "users.dat"),
            ),
        },
    )
    return f"ml-1m: {len(seen['users'])} users, {len(seen['items'])} items, {rows.count} interactions"


class _Counted:
    """Iterates once, counting."""

    def __init__(self, rows: Iterator):
        self.rows, self.count = rows, 0

    def __iter__(self):
        for row in self.rows:
            self.count += 1
            yield row


def _ratings(file: Path, seen: dict[str, set]) -> Iterator[list[str]]:
    for line, row in _rows(file, ("UserID", "MovieID", "Rating", "Timestamp")):
        for name, value in zip(("UserID", "MovieID", "Rating", "Timestamp"), row, strict=True):
            if not value.isascii() or not value.isdigit():
                raise ValueError(f"{file}:{line}: {name} is {value!r}, not a whole number")
        seen["users"].add(row[0])
        seen["items"].add(row[1])
        yield row


def _movies(file: Path) -> Iterator[list[str]]:
    for line, (movie, title, genres) in _rows(file, ("MovieID", "Title", "Genres")):
        year = YEAR.search(
            title
        )  # the last parenthesis: titles hold others, "Shawshank Redemption, The (1994)" has one
        if year is None:
            raise ValueError(f"{file}:{line}: the title {title!r} does not end with its (year)")
        yield [movie, title[: year.start()], year[1], genres.replace("|", " ")]


def _users(file: Path) -> Iterator[list[str]]:
    for _, (user, gender, age, occupation, zip_code) in _rows(
        file, ("UserID", "Gender", "Age", "Occupation", "Zip-code")
    ):
        yield [user, age, gender, occupation, zip_code]


def _rows(file: Path, fields: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    with open(file, encoding="latin-1", newline="\n") as lines:
        for number, text in enumerate(lines, 1):
            row = text.rstrip("\r\n").split("::")
            if len(row) != len(fields) or "" in row or "\t" in text:
                raise ValueError(f"{file}:{number}: expected {'::'.join(fields)}, found {text.rstrip()!r}")
            yield number, row
