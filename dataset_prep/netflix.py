"""The Netflix Prize: ``combined_data_1..4.txt`` (Kaggle) or ``mv_*.txt`` (training_set.tar), and ``movie_titles.csv``.

Ratings: a line ``MovieID:``, then the lines ``CustomerID,Rating,YYYY-MM-DD`` of that movie. ``movie_titles.csv``:
``MovieID,year|NULL,title`` in latin-1, with commas in titles. Format and totals: the README of the dataset. Dates become
seconds at midnight in UTC.
"""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from dataset_prep.errors import MissingFileError, RowError
from dataset_prep.fields import DATE, DIGITS, WHOLE_NUMBER, FieldType, check_number, parse_whole_number
from dataset_prep.lines import read_blocks, read_lines, skip_blank, split_lines
from dataset_prep.malformed import MalformedRows
from dataset_prep.origins import how_to_get
from dataset_prep.raw_files import RawFile, RawFiles
from dataset_prep.rows import Layout, parse_rows
from dataset_prep.source import Feature, Source

NAMES = ["netflix"]
TOTALS = {"users": 480_189, "items": 17_770, "interactions": 100_480_507}


def _parse_rating(text: str) -> str:
    if check_number(text) not in {"1", "2", "3", "4", "5"}:
        raise RowError(f"is {text!r}, not a whole number from 1 to 5", "is not a whole number from 1 to 5")
    return text


RATING = FieldType(pa.string(), DIGITS, _parse_rating)
RATINGS = Layout({"CustomerID": WHOLE_NUMBER, "Rating": RATING, "Date": DATE})
MOVIE_LINE = re.compile(rb"^(\d{1,18}):\r?(?:\n|\Z)", re.MULTILINE)

COLUMNS = {"user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float"}
MOVIE_HEADER = ["item_id:token", "movie_title:token_seq", "release_year:token"]


def open_source(raw_files: RawFiles, options: Namespace, malformed: MalformedRows) -> Source:
    """Open the ratings, and the titles where present.

    Raises:
        MissingFileError: there are no ratings.
    """
    ratings = raw_files.find_all("combined_data_*.txt") or raw_files.find_all("mv_*.txt")
    if not ratings:
        missing = f"{raw_files.label} holds neither combined_data_*.txt nor mv_*.txt"
        raise MissingFileError(f"{missing}; {how_to_get('netflix')}")
    events = [(file, _read_tables(file, malformed)) for file in ratings]
    titles = raw_files.find("movie_titles.csv") or raw_files.find("movie_titles.txt")
    if titles is None:
        return Source(ratings, events, COLUMNS, totals=TOTALS)
    rows = parse_rows(titles, read_lines(titles), _parse_title, malformed)
    return Source([*ratings, titles], events, COLUMNS, {"item": Feature(MOVIE_HEADER, rows)}, TOTALS)


def _read_tables(file: RawFile, malformed: MalformedRows) -> Iterator[pa.Table]:
    movie: int | None = None
    for first_line, block in read_blocks(file):
        # Splitting gives the ratings that still belong to the movie before, then number and ratings of each movie.
        ratings_before, *parts = MOVIE_LINE.split(block)
        movies = [movie, *map(int, parts[::2])]
        ratings = [ratings_before, *parts[1::2]]
        table = _parse_block(movies, ratings)
        if table is None:
            table = _parse_line_by_line(file, first_line, block, movie, malformed)
        yield table
        movie = movies[-1]


def _parse_block(movies: list[int | None], ratings: list[bytes]) -> pa.Table | None:
    """Parse the lines of all movies at once; return None when the block must be parsed line by line."""
    if movies[0] is None and ratings[0]:
        return None
    table = RATINGS.parse_block(b"".join(ratings))
    if table is None:
        return None
    counts = [lines.count(b"\n") for lines in ratings]
    if ratings[-1] and not ratings[-1].endswith(b"\n"):
        # The last line of the file has no line end.
        counts[-1] += 1
    numbers = np.array([movie or 0 for movie in movies], np.int64)
    return _to_table(np.repeat(numbers, counts), table)


def _parse_line_by_line(
    file: RawFile, first_line: int, block: bytes, movie: int | None, malformed: MalformedRows
) -> pa.Table:
    movies = []
    rows = []
    for line, text in skip_blank(enumerate(split_lines(block), first_line), malformed):
        if found := MOVIE_LINE.fullmatch(text):
            movie = int(found[1])
            continue
        try:
            row = RATINGS.parse_line(text)
            if movie is None:
                reason = "a rating before the first `MovieID:` line"
                raise RowError(reason, reason)
        except ValueError as error:
            malformed.report(file, line, error)
        else:
            movies.append(movie)
            rows.append(row)
    return _to_table(movies, RATINGS.to_table(rows))


def _to_table(movies: np.ndarray | list[int], ratings: pa.Table) -> pa.Table:
    columns = [ratings["CustomerID"], pa.array(movies, pa.int64()), ratings["Rating"], ratings["Date"]]
    return pa.table(columns, names=list(COLUMNS))


def _parse_title(line: bytes) -> list[str]:
    try:
        movie, year, title = line.decode("latin-1").split(",", 2)
        year = "" if year == "NULL" else str(parse_whole_number(year))
        return [str(parse_whole_number(movie)), title, year]
    except ValueError as error:
        expected = "expected MovieID,year,title"
        raise RowError(f"{expected}, found {line!r}: {error}", expected) from None
