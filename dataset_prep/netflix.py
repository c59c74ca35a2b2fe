"""The Netflix Prize: ``combined_data_1..4.txt`` (Kaggle), or the ``mv_*.txt`` of training_set.tar, and ``movie_titles.csv``.

A line ``MovieID:`` begins a movie, lines ``CustomerID,Rating,YYYY-MM-DD`` follow. ``movie_titles.csv`` has
``MovieID,year|NULL,title`` in latin-1, with commas in titles. Format and totals: the distribution's README. Dates become
seconds at midnight in UTC.
"""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from dataset_prep.archive import Member, Raw
from dataset_prep.origins import ORIGINS
from dataset_prep.rows import DAY, NUMBER, WHOLE, BadRows, Layout, blocks, lines, split_lines, whole_number
from dataset_prep.source import Feature, Source

NAMES = ["netflix"]
TOTALS = {"users": 480_189, "items": 17_770, "interactions": 100_480_507}

RATING = Layout({"CustomerID": WHOLE, "Rating": NUMBER, "Date": DAY})
MOVIE_LINE = re.compile(rb"^(\d{1,18}):\r?(?:\n|\Z)", re.MULTILINE)

COLUMNS = {"user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float"}
MOVIE = ("item_id:token", "movie_title:token_seq", "release_year:token")


def getting(name: str) -> str:
    """Where the raw data are."""
    file, page = ORIGINS[name]
    return (
        f"register at {page} and get {file} "
        "(combined_data_1.txt to combined_data_4.txt, movie_titles.csv), or point --raw at training_set.tar"
    )


def open_source(raw: Raw, options: Namespace, bad: BadRows) -> Source:
    """Raises FileNotFoundError when there are no ratings."""
    ratings = raw.find_all("combined_data_*.txt") or raw.find_all("mv_*.txt")
    if not ratings:
        raise FileNotFoundError(f"{raw.path} holds neither combined_data_*.txt nor mv_*.txt; {getting('netflix')}")
    titles = raw.find("movie_titles.csv") or raw.find("movie_titles.txt")
    features = {"item": Feature(MOVIE, _titles(titles, bad))} if titles else {}
    events = (table for member in ratings for table in _tables(member, bad))
    return Source([*ratings, *([titles] if titles else [])], events, COLUMNS, features, TOTALS)


def _tables(member: Member, bad: BadRows) -> Iterator[pa.Table]:
    movie = None
    for first, block in blocks(member):
        before, *parts = MOVIE_LINE.split(block)
        numbers = [movie, *map(int, parts[::2])]
        bodies = [before, *parts[1::2]]
        ratings = None if movie is None and before else RATING.parse_block(b"".join(bodies))
        if ratings is None:
            yield _columns(*_line_by_line(member, first, block, movie, bad))
        else:
            lengths = [body.count(b"\n") for body in bodies]
            lengths[-1] += not block.endswith(b"\n") and bool(bodies[-1])
            yield _columns(np.repeat(np.array([n or 0 for n in numbers], np.int64), lengths), ratings)
        movie = numbers[-1]


def _columns(movies, ratings: pa.Table) -> pa.Table:
    columns = [ratings["CustomerID"], pa.array(movies, pa.int64()), ratings["Rating"], ratings["Date"]]
    return pa.table(columns, names=list(COLUMNS))


def _line_by_line(member: Member, first: int, block: bytes, movie: int | None, bad: BadRows) -> tuple[list, pa.Table]:
    movies, rows = [], []
    for line, text in enumerate(split_lines(block), first):
        if found := MOVIE_LINE.fullmatch(text):
            movie = int(found[1])
            continue
        try:
            row = RATING.parse_line(text)
            if movie is None:
                raise ValueError("a rating before the first `MovieID:` line")
        except ValueError as error:
            bad.report(member, line, error)
        else:
            movies.append(movie)
            rows.append(row)
    return movies, RATING.table(rows)


def _titles(member: Member, bad: BadRows) -> Iterator[list[str]]:
    for line, text in lines(member):
        try:
            movie, year, title = text.decode("latin-1").split(",", 2)
            yield [str(whole_number(movie)), title, "" if year == "NULL" else str(whole_number(year))]
        except ValueError as error:
            bad.report(member, line, f"expected MovieID,year,title, found {text!r}: {error}")
