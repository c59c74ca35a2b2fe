"""LFM-1b (Schedl 2016): 1.09 billion listening events of Last.fm.

``LFM-1b_LEs.txt``: user, artist, album, track, unix time, tab-separated, no header. ``LFM-1b_users.txt``: one header line,
``?`` for a missing value. ``LFM-1b_artists.txt`` (id, name), ``LFM-1b_albums.txt`` and ``LFM-1b_tracks.txt`` (id, name,
artist id): no header. Format and totals: http://www.cp.jku.at/datasets/LFM-1b/.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

import pyarrow as pa

from dataset_prep.errors import MissingFileError
from dataset_prep.fields import TEXT, UNIX_SECONDS, WHOLE_NUMBER, FieldType, check_number
from dataset_prep.lines import read_lines, skip_header
from dataset_prep.malformed import MalformedRows
from dataset_prep.origins import how_to_get
from dataset_prep.raw_files import RawFile, RawFiles
from dataset_prep.rows import Layout, parse_rows
from dataset_prep.source import Feature, Source

NAMES = ["lfm-1b"]
USERS_TOTAL = 120_322
EVENTS_TOTAL = 1_088_161_692
LEVELS = {"artists": 3_123_496, "albums": 15_641_432, "tracks": 31_634_450}
"""What an item can be, with the published number of items."""

EVENTS = Layout(
    {"user": WHOLE_NUMBER, "artist": WHOLE_NUMBER, "album": WHOLE_NUMBER, "track": WHOLE_NUMBER, "time": WHOLE_NUMBER},
    "\t",
    looks={"time": UNIX_SECONDS},
)
ARTISTS = Layout({"id": WHOLE_NUMBER, "name": TEXT}, "\t")
ALBUMS_OR_TRACKS = Layout({"id": WHOLE_NUMBER, "name": TEXT, "artist": WHOLE_NUMBER}, "\t")


def _text_or_empty(text: str) -> str:
    return "" if text == "?" else text


def _number_or_empty(text: str) -> str:
    return "" if text in ("", "?") else check_number(text)


OPTIONAL_TEXT = FieldType(pa.string(), b"", _text_or_empty)
OPTIONAL_NUMBER = FieldType(pa.string(), b"", _number_or_empty)
USERS = Layout(
    {
        "user_id": WHOLE_NUMBER,
        "country": OPTIONAL_TEXT,
        "age": OPTIONAL_NUMBER,
        "gender": OPTIONAL_TEXT,
        "playcount": OPTIONAL_NUMBER,
        "registered_unixtime": OPTIONAL_NUMBER,
    },
    "\t",
)

COLUMNS = {"user_id": "token", "item_id": "token", "timestamp": "float"}
ARTIST_HEADER = ["item_id:token", "name:token_seq"]
ALBUM_OR_TRACK_HEADER = [*ARTIST_HEADER, "artist_id:token"]
USER_HEADER = [
    "user_id:token",
    "country:token",
    "age:float",
    "gender:token",
    "playcount:float",
    "registered:float",
]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the option that says what an item is."""
    parser.add_argument("--level", choices=list(LEVELS), default="artists", help="what an item is (default: artists)")


def open_source(raw_files: RawFiles, options: Namespace, malformed: MalformedRows) -> Source:
    """Open the events, and the names of items and the profiles of users where present.

    Raises:
        MissingFileError: the events are missing.
    """
    log = raw_files.find("LFM-1b_LEs.txt")
    if log is None:
        raise MissingFileError(f"{raw_files.label} holds no LFM-1b_LEs.txt; {how_to_get('lfm-1b')}")
    files = [log]
    features = {}
    items = raw_files.find(f"LFM-1b_{options.level}.txt")
    if items is not None:
        files.append(items)
        features["item"] = _items(items, options.level, malformed)
    users = raw_files.find("LFM-1b_users.txt")
    if users is not None:
        files.append(users)
        rows = parse_rows(users, skip_header(read_lines(users)), USERS.parse_line, malformed)
        features["user"] = Feature(USER_HEADER, _as_text(rows))
    item_column = options.level.removesuffix("s")
    events = (
        table.select(["user", item_column, "time"]).rename_columns(list(COLUMNS))
        for table in EVENTS.read_tables(log, malformed)
    )
    totals = {"users": USERS_TOTAL, "items": LEVELS[options.level], "interactions": EVENTS_TOTAL}
    return Source(files, [(log, events)], COLUMNS, features, totals)


def _items(file: RawFile, level: str, malformed: MalformedRows) -> Feature:
    if level == "artists":
        return Feature(ARTIST_HEADER, _as_text(ARTISTS.read_rows(file, malformed)))
    return Feature(ALBUM_OR_TRACK_HEADER, _as_text(ALBUMS_OR_TRACKS.read_rows(file, malformed)))


def _as_text(rows: Iterator[list]) -> Iterator[list[str]]:
    for row in rows:
        yield [str(value) for value in row]
