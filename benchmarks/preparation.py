"""Prepare a large dataset: ``python -m benchmarks.preparation lfm-1b --rows 100_000_000 --folder SCRATCH [options]``.

Writes a raw file of random rows in the layout of LFM-1b or the Netflix Prize, prepares it in a process of its own and prints
seconds, peak resident memory and the largest size of the output folder as JSON. There are as many ids as in the real data, and
their frequencies are skewed. Options that are not listed here go to ``python -m dataset_prep``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

CHUNK = 5_000_000
"""Rows that are generated at once."""

# Ids of the real LFM-1b.
USERS, ARTISTS, ALBUMS, TRACKS = 120_322, 3_123_496, 15_641_432, 31_634_450
# Ids of the real Netflix Prize.
CUSTOMERS, MOVIES = 480_189, 17_770


def draw_skewed(rng: np.random.Generator, ids: int, rows: int) -> np.ndarray:
    """Return ids from 1 to ``ids`` as ``[rows]``; a few of them are in most rows."""
    return (rng.random(rows) ** 3 * ids).astype(np.int64) + 1


def write_lfm(folder: Path, rows: int) -> None:
    """Write ``LFM-1b_LEs.txt``: user, artist, album, track, unix time."""
    rng = np.random.default_rng(0)
    options = pa.csv.WriteOptions(include_header=False, delimiter="\t")
    with open(folder / "LFM-1b_LEs.txt", "wb") as file:
        for start in range(0, rows, CHUNK):
            n = min(CHUNK, rows - start)
            columns = [draw_skewed(rng, ids, n) for ids in (USERS, ARTISTS, ALBUMS, TRACKS)]
            columns.append(rng.integers(1_108_000_000, 1_408_000_000, n))
            names = ["user", "artist", "album", "track", "time"]
            pa.csv.write_csv(pa.table(columns, names=names), file, options)


def write_netflix(folder: Path, rows: int) -> None:
    """Write ``combined_data_1..4.txt``: movies in order, each with its ratings below it."""
    rng = np.random.default_rng(0)
    ratings_of_movies = np.diff(np.sort(rng.integers(0, rows, MOVIES - 1)), prepend=0, append=rows)
    days = np.arange("1999-11-11", "2006-01-01", dtype="datetime64[D]").astype(str)
    options = pa.csv.WriteOptions(include_header=False, quoting_style="none")
    for part, movies in enumerate(np.array_split(np.arange(MOVIES), 4), 1):
        with open(folder / f"combined_data_{part}.txt", "wb") as file:
            for movie in movies:
                n = int(ratings_of_movies[movie])
                columns = [draw_skewed(rng, CUSTOMERS, n), rng.integers(1, 6, n), days[rng.integers(0, len(days), n)]]
                file.write(f"{movie + 1}:\n".encode())
                pa.csv.write_csv(pa.table(columns, names=["user", "rating", "day"]), file, options)


WRITERS = {"lfm-1b": write_lfm, "netflix": write_netflix}


class SizeWatcher:
    """Record the largest total size in bytes of the files in a folder while the block runs."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.largest = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> SizeWatcher:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(1):
            self.largest = max(self.largest, sum(self._sizes()))

    def _sizes(self) -> list[int]:
        sizes = []
        for path in self.folder.rglob("*"):
            try:
                sizes.append(path.stat().st_size)
            except FileNotFoundError:
                # It was deleted in the meantime.
                continue
        return sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(WRITERS), help="dataset whose layout is generated")
    parser.add_argument("--rows", type=int, default=100_000_000, help="rows to generate (default: 100 million)")
    parser.add_argument("--folder", type=Path, required=True, help="scratch folder for raw and prepared files")
    arguments, options = parser.parse_known_args()
    raw = arguments.folder / f"raw-{arguments.name}-{arguments.rows}"
    out = arguments.folder / "out"
    if not raw.exists():
        raw.mkdir(parents=True)
        WRITERS[arguments.name](raw, arguments.rows)
    out.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "dataset_prep", arguments.name, "--raw", str(raw), "--out", str(out), "--force"]
    start = time.perf_counter()
    with SizeWatcher(out) as watcher:
        subprocess.run([*command, *options], check=True)
    figures = {
        "name": arguments.name,
        "rows": arguments.rows,
        "options": options,
        "seconds": round(time.perf_counter() - start, 1),
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6, 2),
        "raw_gb": round(sum(path.stat().st_size for path in raw.iterdir()) / 1e9, 2),
        "largest_out_gb": round(watcher.largest / 1e9, 2),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
