"""Write random logs in the raw layouts of the five benchmarks, of any size and in bounded memory.

Users and items are heavy-tailed: a group (a user; for Netflix a movie) has a log-normal number of others (items; for Netflix
customers), which follow a power law. Hardly any group has the same one twice, and every id occurs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

BLOCK = 2_000_000
"""Pairs that are drawn at once."""

LEAST = 5
"""The fewest pairs of a group."""


@dataclass(frozen=True)
class Size:
    """Numbers of users, items and pairs of both, and of events, which are more where pairs repeat."""

    users: int
    items: int
    pairs: int
    events: int

    def scaled(self, scale: float) -> Size:
        """Return the size with all numbers multiplied by ``scale``, but that of items by its root: they shall suffice for all."""
        users, pairs, events = (round(scale * number) for number in (self.users, self.pairs, self.events))
        return Size(users, min(round(scale**0.5 * self.items), pairs), pairs, events)


def draw_pairs(groups: int, others: int, pairs: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield groups in ascending order and others, both from 1 and ``[n]``, about :data:`BLOCK` pairs at a time."""
    # imports torch, which the process that prepares shall not hold
    from recbole_echomamba.data.permutation import permute

    rng = np.random.default_rng(0)
    weight = rng.lognormal(0, 1.2, groups)
    counts = LEAST + np.floor((pairs - LEAST * groups) * weight / weight.sum()).astype(np.int64)
    counts[0] += max(0, pairs - counts.sum())
    counts = counts.clip(1, others)
    ends = np.cumsum(counts)
    bounds = np.searchsorted(ends, np.arange(BLOCK, ends[-1], BLOCK))
    for chosen in np.split(np.arange(groups), bounds):
        count = counts[chosen]
        first = ends[chosen[0]] - count[0] if len(chosen) else 0
        group = np.repeat(chosen, count)
        row = first + np.arange(len(group))
        place = row - (ends[group] - counts[group])
        # one other from every part of the power law, which makes those of a group differ but for the most frequent
        quantile = (place + rng.random(len(group))) / counts[group]
        drawn = (others * quantile**2.5).astype(np.int64)
        apart = np.maximum.accumulate(drawn - place + group * 2 * others) - group * 2 * others + place
        drawn = np.minimum(apart, others - 1)
        # some rows, spread over all, hold every other once
        scattered = permute(row, int(ends[-1]), 0)
        yield group + 1, np.where(scattered < others, scattered, drawn) + 1


def write_csv(file, columns: list, delimiter: str = ",") -> None:
    """Append columns ``[n]`` to an open file, without a header and without quotes."""
    options = pa.csv.WriteOptions(include_header=False, delimiter=delimiter, quoting_style="none")
    pa.csv.write_csv(pa.table(columns, names=list(map(str, range(len(columns))))), file, options)


def write_ml_1m(folder: Path, size: Size) -> None:
    """Write ``ratings.dat``: ``UserID::MovieID::Rating::Timestamp``."""
    rng = np.random.default_rng(1)
    with open(folder / "ratings.dat", "wb") as file:
        for user, item in draw_pairs(size.users, size.items, size.pairs):
            empty = np.full(len(user), "")
            times = rng.integers(956_700_000, 1_046_450_000, len(user))
            write_csv(file, [user, empty, item, empty, rng.integers(1, 6, len(user)), empty, times], ":")


def write_ml_32m(folder: Path, size: Size) -> None:
    """Write ``ratings.csv``: ``userId,movieId,rating,timestamp``."""
    rng = np.random.default_rng(1)
    with open(folder / "ratings.csv", "wb") as file:
        file.write(b"userId,movieId,rating,timestamp\n")
        for user, item in draw_pairs(size.users, size.items, size.pairs):
            times = rng.integers(789_652_000, 1_697_200_000, len(user))
            write_csv(file, [user, item, rng.integers(1, 11, len(user)) / 2, times])


def write_netflix(folder: Path, size: Size) -> None:
    """Write ``combined_data_1..4.txt``: movies in order, each with its ratings below it."""
    rng = np.random.default_rng(1)
    days = np.arange("1999-11-11", "2006-01-01", dtype="datetime64[D]").astype(str)
    parts = [open(folder / f"combined_data_{part}.txt", "wb") for part in range(1, 5)]  # noqa: SIM115 (closed below)
    for movie, user in draw_pairs(size.items, size.users, size.pairs):
        starts = np.flatnonzero(np.diff(movie, prepend=0))
        for rows in np.split(np.arange(len(movie)), starts[1:]):
            number = int(movie[rows[0]])
            file = parts[(number - 1) * 4 // size.items]
            file.write(f"{number}:\n".encode())
            write_csv(file, [user[rows], rng.integers(1, 6, len(rows)), days[rng.integers(0, len(days), len(rows))]])
    for file in parts:
        file.close()


def write_tmall(folder: Path, size: Size) -> None:
    """Write ``ijcai2016_taobao.csv``: ``use_ID,sel_ID,ite_ID,cat_ID,act_ID,time``."""
    rng = np.random.default_rng(1)
    days = np.arange("2015-07-01", "2015-12-01", dtype="datetime64[D]")
    compact = np.array([int(str(day).replace("-", "")) for day in days])
    with open(folder / "ijcai2016_taobao.csv", "wb") as file:
        file.write(b"use_ID,sel_ID,ite_ID,cat_ID,act_ID,time\n")
        for user, item in draw_pairs(size.users, size.items, size.pairs):
            action = (rng.random(len(user)) < 0.2).astype(np.int64)
            times = compact[rng.integers(0, len(days), len(user))]
            write_csv(file, [user, item % 9_995 + 1, item, item % 72 + 1, action, times])


def write_lfm_1b(folder: Path, size: Size) -> None:
    """Write ``LFM-1b_LEs.txt``: user, artist, album, track, unix time; an artist is heard a geometric number of times."""
    rng = np.random.default_rng(1)
    with open(folder / "LFM-1b_LEs.txt", "wb") as file:
        for user, artist in draw_pairs(size.users, size.items, size.pairs):
            repeats = rng.geometric(min(1.0, size.pairs / size.events), len(user))
            for part in np.array_split(np.arange(len(user)), repeats.sum() // BLOCK + 1):
                columns = [np.repeat(column[part], repeats[part]) for column in (user, artist)]
                track = columns[1] * 10 + rng.integers(0, 10, len(columns[1]))
                times = rng.integers(1_108_000_000, 1_408_000_000, len(track))
                write_csv(file, [*columns, track // 2, track, times], "\t")


WRITERS: dict[str, Callable[[Path, Size], None]] = {
    "ml-1m": write_ml_1m,
    "ml-32m": write_ml_32m,
    "netflix": write_netflix,
    "tmall": write_tmall,
    "lfm-1b": write_lfm_1b,
}
"""Dataset to the function that writes its raw files into a folder."""

SIZES = {
    "ml-1m": Size(6_040, 3_706, 1_000_209, 1_000_209),
    "ml-32m": Size(200_948, 84_432, 32_000_204, 32_000_204),
    "netflix": Size(480_189, 17_770, 100_480_507, 100_480_507),
    "tmall": Size(963_923, 2_353_207, 44_528_127, 44_528_127),
    "lfm-1b": Size(120_322, 3_123_496, 65_133_026, 300_000_000),
}
"""Dataset to its published size; of LFM-1b the pairs of users and artists, and a part of its 1,088,161,692 events."""
