"""MovieLens (GroupLens): ml-1m in ``::``-separated latin-1, the later ones in CSV.

ml-1m: ``ratings.dat`` ``UserID::MovieID::Rating::Timestamp``, ``movies.dat`` ``MovieID::Title (Year)::A|B``, ``users.dat``
``UserID::Gender::Age::Occupation::Zip-code``. Others: ``ratings.csv`` ``userId,movieId,rating,timestamp`` and ``movies.csv``
``movieId,title,genres``, quoted where a title holds a comma. Formats and totals: each distribution's README.

Row order is kept: RecBole sorts by a float32 timestamp, so the order of the file decides between ratings of the same minute,
and every published RecBole figure depends on it.
"""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Iterator

import pyarrow as pa

from dataset_prep.archive import Member, Raw
from dataset_prep.origins import ORIGINS
from dataset_prep.rows import NUMBER, WHOLE, BadRows, Kind, Layout, csv_records, whole_number
from dataset_prep.source import Feature, Source

TOTALS = {
    "ml-1m": {"users": 6_040, "items": 3_706, "interactions": 1_000_209},
    "ml-20m": {"users": 138_493, "items listed": 27_278, "interactions": 20_000_263},
    "ml-25m": {"users": 162_541, "items listed": 62_423, "interactions": 25_000_095},
    "ml-32m": {"users": 200_948, "items listed": 87_585, "interactions": 32_000_204},
    "ml-latest": {},  # grows
    "ml-latest-small": {},
}

NAMES = list(TOTALS)


def _present(text: str) -> str:
    if not text:
        raise ValueError("is empty")
    return text


PRESENT = Kind(pa.string(), b"", _present)
RATINGS_DAT = Layout(
    {"UserID": WHOLE, "MovieID": WHOLE, "Rating": NUMBER, "Timestamp": WHOLE}, "::", encoding="latin-1"
)
MOVIES_DAT = Layout({"MovieID": WHOLE, "Title": PRESENT, "Genres": PRESENT}, "::", encoding="latin-1")
USERS_DAT = Layout(
    {"UserID": WHOLE, "Gender": PRESENT, "Age": PRESENT, "Occupation": PRESENT, "Zip-code": PRESENT},
    "::",
    encoding="latin-1",
)
RATINGS_CSV = Layout({"userId": WHOLE, "movieId": WHOLE, "rating": NUMBER, "timestamp": WHOLE}, header=True)

COLUMNS = {"user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float"}
MOVIE = ("item_id:token", "movie_title:token_seq", "release_year:token", "genre:token_seq")
USER = ("user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token")

YEAR = re.compile(r"\s*\((\d{4})\)\s*$")
"""The last parenthesis: titles hold others, as in "Amélie (Fabuleux destin) (2001)"."""


def getting(name: str) -> str:
    """Where the raw data are."""
    file, page = ORIGINS[name]
    return f"get {file} from {page}, or let --download do it"


def open_source(raw: Raw, options: Namespace, bad: BadRows) -> Source:
    """Raises FileNotFoundError when a part of the distribution is missing; a single file may be the ratings alone."""
    name, suffix = options.source, "dat" if options.source == "ml-1m" else "csv"
    members, features = [_part(raw, f"ratings.{suffix}", name)], {}
    if len(raw.members) > 1:
        movies = _part(raw, f"movies.{suffix}", name)
        features["item"] = Feature(MOVIE, (_movies_dat if name == "ml-1m" else _movies_csv)(movies, bad))
        members.append(movies)
        if name == "ml-1m":
            users = _part(raw, "users.dat", name)
            features["user"] = Feature(USER, _users_dat(users, bad))
            members.append(users)
    layout = RATINGS_DAT if name == "ml-1m" else RATINGS_CSV
    events = (table.rename_columns(list(COLUMNS)) for table in layout.tables(members[0], bad))
    return Source(members, events, COLUMNS, features, TOTALS[name])


def _part(raw: Raw, file: str, name: str) -> Member:
    member = raw.find(file)
    if member is None:
        raise FileNotFoundError(f"{raw.path} holds no {file}; {getting(name)}")
    return member


def _movies_dat(member: Member, bad: BadRows) -> Iterator[list[str]]:
    for line, (movie, title, genres) in MOVIES_DAT.records(member, bad):
        year = YEAR.search(title)
        if year is None:
            bad.report(member, line, f"the title {title!r} does not end with its (year)")
            continue
        yield [str(movie), title[: year.start()], year[1], genres.replace("|", " ")]


def _users_dat(member: Member, bad: BadRows) -> Iterator[list[str]]:
    for _, (user, gender, age, occupation, zip_code) in USERS_DAT.records(member, bad):
        yield [str(user), age, gender, occupation, zip_code]


def _movies_csv(member: Member, bad: BadRows) -> Iterator[list[str]]:
    for line, row in csv_records(member, bad):
        if line == 1:
            continue
        try:
            movie, title, genres = row
            movie = whole_number(movie)
        except ValueError as error:
            bad.report(member, line, f"expected movieId,title,genres, found {row}: {error}")
            continue
        year = YEAR.search(title)  # some, series mostly, have none
        genres = "" if genres == "(no genres listed)" else genres.replace("|", " ")
        yield [str(movie), title[: year.start()] if year else title, year[1] if year else "", genres]
