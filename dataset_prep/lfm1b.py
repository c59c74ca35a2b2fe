"""LFM-1b (Schedl 2016): 1.09 billion listening events of Last.fm.

``LFM-1b_LEs.txt``: user, artist, album, track, unix time, tab-separated, no header. ``LFM-1b_users.txt`` has one header line
and ``?`` for what is missing. ``LFM-1b_artists.txt`` (id, name), ``LFM-1b_albums.txt`` and ``LFM-1b_tracks.txt`` (id, name,
artist id) have no header. Format and totals: http://www.cp.jku.at/datasets/LFM-1b/.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

import pyarrow as pa

from dataset_prep.archive import Member, Raw
from dataset_prep.origins import ORIGINS
from dataset_prep.rows import TEXT, WHOLE, BadRows, Kind, Layout, lines, number
from dataset_prep.source import Feature, Source

NAMES = ["lfm-1b"]
LEVELS = {"artists": 3_123_496, "albums": 15_641_432, "tracks": 31_634_450}

EVENTS = Layout({"user": WHOLE, "artist": WHOLE, "album": WHOLE, "track": WHOLE, "time": WHOLE}, "\t")
ARTISTS = Layout({"id": WHOLE, "name": TEXT}, "\t")
WORKS = Layout({"id": WHOLE, "name": TEXT, "artist": WHOLE}, "\t")


def _known(text: str) -> str:
    return "" if text == "?" else text


KNOWN = Kind(pa.string(), b"", _known)
KNOWN_NUMBER = Kind(pa.string(), b"", lambda text: number(text) if _known(text) else "")
USERS = Layout(
    {
        "user_id": WHOLE,
        "country": KNOWN,
        "age": KNOWN_NUMBER,
        "gender": KNOWN,
        "playcount": KNOWN_NUMBER,
        "registered_unixtime": KNOWN_NUMBER,
    },
    "\t",
)

COLUMNS = {"user_id": "token", "item_id": "token", "timestamp": "float"}
USER = ("user_id:token", "country:token", "age:float", "gender:token", "playcount:float", "registered:float")


def getting(name: str) -> str:
    """Where the raw data are."""
    file, page = ORIGINS[name]
    return f"see {page} for {file} (LFM-1b_LEs.txt and its companions)"


def add_arguments(parser: ArgumentParser) -> None:
    """What counts as an item."""
    parser.add_argument("--level", choices=list(LEVELS), default="artists", help="what an item is (default: artists)")


def open_source(raw: Raw, options: Namespace, bad: BadRows) -> Source:
    """Raises FileNotFoundError when the events are missing."""
    events = raw.find("LFM-1b_LEs.txt")
    if events is None:
        raise FileNotFoundError(f"{raw.path} holds no LFM-1b_LEs.txt; {getting('lfm-1b')}")
    items, users = raw.find(f"LFM-1b_{options.level}.txt"), raw.find("LFM-1b_users.txt")
    features = {}
    if items:
        header = ("item_id:token", "name:token_seq", *(() if options.level == "artists" else ("artist_id:token",)))
        features["item"] = Feature(header, _items(items, ARTISTS if options.level == "artists" else WORKS, bad))
    if users:
        features["user"] = Feature(USER, _users(users, bad))
    totals = {"users": 120_322, "items": LEVELS[options.level], "interactions": 1_088_161_692}
    chosen = ["user", options.level.removesuffix("s"), "time"]
    tables = (table.select(chosen).rename_columns(list(COLUMNS)) for table in EVENTS.tables(events, bad))
    return Source([m for m in (events, items, users) if m], tables, COLUMNS, features, totals)


def _items(member: Member, layout: Layout, bad: BadRows) -> Iterator[list[str]]:
    for _, row in layout.records(member, bad):
        yield [str(value) for value in row]


def _users(member: Member, bad: BadRows) -> Iterator[list[str]]:
    for line, text in lines(member):
        if line == 1:
            continue
        try:
            yield [str(value) for value in USERS.parse_line(text)]
        except ValueError as error:
            bad.report(member, line, error)
