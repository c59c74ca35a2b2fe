"""MovieLens (GroupLens): ml-1m as ``::``-separated latin-1 text, the later datasets as CSV.

ml-1m: ``ratings.dat`` ``UserID::MovieID::Rating::Timestamp``, ``movies.dat`` ``MovieID::Title (Year)::A|B``, ``users.dat``
``UserID::Gender::Age::Occupation::Zip-code``. Others: ``ratings.csv`` ``userId,movieId,rating,timestamp`` and ``movies.csv``
``movieId,title,genres``, quoted where a title holds a comma. Formats and totals: the README of each dataset.

Row order is kept: RecBole sorts by a float32 timestamp, so the order in the file decides between ratings of the same minute,
and every published RecBole figure depends on it.
"""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Iterator

import pyarrow as pa

from dataset_prep import origins
from dataset_prep.errors import MissingFileError, RowError
from dataset_prep.fields import NUMBER, UNIX_SECONDS, WHOLE_NUMBER, FieldType, parse_whole_number
from dataset_prep.lines import read_csv, read_lines, skip_header
from dataset_prep.malformed import MalformedRows
from dataset_prep.raw_files import RawFile, RawFiles
from dataset_prep.rows import Layout, parse_rows
from dataset_prep.source import Feature, Source

NAMES = list(origins.MOVIELENS)
TOTALS = {
    "ml-1m": {"users": 6_040, "items": 3_706, "interactions": 1_000_209},
    "ml-20m": {"users": 138_493, "items listed": 27_278, "interactions": 20_000_263},
    "ml-25m": {"users": 162_541, "items listed": 62_423, "interactions": 25_000_095},
    "ml-32m": {"users": 200_948, "items listed": 87_585, "interactions": 32_000_204},
    # These two change with every release.
    "ml-latest": {},
    "ml-latest-small": {},
}


def _non_empty(text: str) -> str:
    if not text:
        raise RowError("is empty", "is empty")
    return text


NON_EMPTY = FieldType(pa.string(), b"", _non_empty)
RATINGS_DAT = Layout(
    {"UserID": WHOLE_NUMBER, "MovieID": WHOLE_NUMBER, "Rating": NUMBER, "Timestamp": WHOLE_NUMBER},
    "::",
    encoding="latin-1",
    looks={"Rating": re.compile(r"[0-5](\.\d)?"), "Timestamp": UNIX_SECONDS},
)
MOVIES_DAT = Layout({"MovieID": WHOLE_NUMBER, "Title": NON_EMPTY, "Genres": NON_EMPTY}, "::", encoding="latin-1")
USERS_DAT = Layout(
    {
        "UserID": WHOLE_NUMBER,
        "Gender": NON_EMPTY,
        "Age": NON_EMPTY,
        "Occupation": NON_EMPTY,
        "Zip-code": NON_EMPTY,
    },
    "::",
    encoding="latin-1",
)
RATINGS_CSV = Layout(
    {"userId": WHOLE_NUMBER, "movieId": WHOLE_NUMBER, "rating": NUMBER, "timestamp": WHOLE_NUMBER},
    header=True,
    looks={"rating": re.compile(r"[0-5](\.\d)?"), "timestamp": UNIX_SECONDS},
)

COLUMNS = {"user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float"}
MOVIE_HEADER = ["item_id:token", "movie_title:token_seq", "release_year:token", "genre:token_seq"]
USER_HEADER = ["user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token"]

YEAR = re.compile(r"\s*\((\d{4})\)\s*$")
"""The last parenthesis of a title; there may be others, as in "Amélie (Fabuleux destin) (2001)"."""


def open_source(raw_files: RawFiles, options: Namespace, malformed: MalformedRows) -> Source:
    """Open the ratings, with movies and (ml-1m) users; a single file may be the ratings alone.

    Raises:
        MissingFileError: a file of the dataset is missing.
    """
    name = options.source
    if name == "ml-1m":
        files, layout, features = _open_dat(raw_files, malformed)
    else:
        files, layout, features = _open_csv(raw_files, name, malformed)
    events = (table.rename_columns(list(COLUMNS)) for table in layout.read_tables(files[0], malformed))
    return Source(files, [(files[0], events)], COLUMNS, features, TOTALS[name])


def _open_dat(raw_files: RawFiles, malformed: MalformedRows) -> tuple[list[RawFile], Layout, dict[str, Feature]]:
    ratings = _require(raw_files, "ratings.dat", "ml-1m")
    if len(raw_files.files) == 1:
        return [ratings], RATINGS_DAT, {}
    movies = _require(raw_files, "movies.dat", "ml-1m")
    users = _require(raw_files, "users.dat", "ml-1m")
    features = {
        "item": Feature(MOVIE_HEADER, parse_rows(movies, read_lines(movies), _parse_movie, malformed)),
        "user": Feature(USER_HEADER, _user_rows(users, malformed)),
    }
    return [ratings, movies, users], RATINGS_DAT, features


def _open_csv(
    raw_files: RawFiles, name: str, malformed: MalformedRows
) -> tuple[list[RawFile], Layout, dict[str, Feature]]:
    ratings = _require(raw_files, "ratings.csv", name)
    if len(raw_files.files) == 1:
        return [ratings], RATINGS_CSV, {}
    movies = _require(raw_files, "movies.csv", name)
    rows = parse_rows(movies, skip_header(read_csv(movies, malformed)), _parse_movie_record, malformed)
    return [ratings, movies], RATINGS_CSV, {"item": Feature(MOVIE_HEADER, rows)}


def _require(raw_files: RawFiles, file_name: str, dataset: str) -> RawFile:
    file = raw_files.find(file_name)
    if file is None:
        raise MissingFileError(f"{raw_files.label} holds no {file_name}; {origins.how_to_get(dataset)}")
    return file


def _parse_movie(line: bytes) -> list[str]:
    movie, title, genres = MOVIES_DAT.parse_line(line)
    year = YEAR.search(title)
    if year is None:
        raise RowError(f"the title {title!r} does not end with its (year)", "the title does not end with its (year)")
    return [str(movie), title[: year.start()], year[1], genres.replace("|", " ")]


def _user_rows(file: RawFile, malformed: MalformedRows) -> Iterator[list[str]]:
    for user, gender, age, occupation, zip_code in USERS_DAT.read_rows(file, malformed):
        yield [str(user), age, gender, occupation, zip_code]


def _parse_movie_record(record: list[str]) -> list[str]:
    try:
        movie, title, genres = record
        movie = str(parse_whole_number(movie))
    except ValueError as error:
        expected = "expected movieId,title,genres"
        raise RowError(f"{expected}, found {record}: {error}", expected) from None
    genres = "" if genres == "(no genres listed)" else genres.replace("|", " ")
    year = YEAR.search(title)
    if year is None:
        # Some movies, mostly series, have no year.
        return [movie, title, "", genres]
    return [movie, title[: year.start()], year[1], genres]
