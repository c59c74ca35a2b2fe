"""Data preparation at scale: ``python -m benchmarks.preparation lfm-1b --rows 100_000_000 --folder SCRATCH [options]``.

Writes a raw file of random rows in the layout of LFM-1b or the Netflix Prize, prepares it in a process of its own and prints
seconds, peak resident memory and the largest size its folder had, as JSON. Ids are as many as in the real data and skewed.
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
USERS, ARTISTS, ALBUMS, TRACKS = 120_322, 3_123_496, 15_641_432, 31_634_450
CUSTOMERS, MOVIES = 480_189, 17_770


def skewed(rng: np.random.Generator, ids: int, rows: int) -> np.ndarray:
    """``rows`` ids from 1 to ``ids``, few of them in most rows."""
    return (rng.random(rows) ** 3 * ids).astype(np.int64) + 1


def write_lfm(folder: Path, rows: int) -> None:
    """``LFM-1b_LEs.txt``: user, artist, album, track, unix time."""
    rng = np.random.default_rng(0)
    with open(folder / "LFM-1b_LEs.txt", "wb") as file:
        for start in range(0, rows, CHUNK):
            n = min(CHUNK, rows - start)
            columns = [skewed(rng, ids, n) for ids in (USERS, ARTISTS, ALBUMS, TRACKS)]
            columns.append(rng.integers(1_108_000_000, 1_408_000_000, n))
            options = pa.csv.WriteOptions(include_header=False, delimiter="\t")
            pa.csv.write_csv(pa.table(columns, names=list("uaxtc")), file, options)


def write_netflix(folder: Path, rows: int) -> None:
    """``combined_data_1..4.txt``: movies in order, their ratings below each."""
    rng = np.random.default_rng(0)
    lengths = np.diff(np.sort(rng.integers(0, rows, MOVIES - 1)), prepend=0, append=rows)
    days = np.arange("1999-11-11", "2006-01-01", dtype="datetime64[D]").astype(str)
    for part, movies in enumerate(np.array_split(np.arange(MOVIES), 4), 1):
        with open(folder / f"combined_data_{part}.txt", "wb") as file:
            for movie in movies:
                n = int(lengths[movie])
                columns = [skewed(rng, CUSTOMERS, n), rng.integers(1, 6, n), days[rng.integers(0, len(days), n)]]
                file.write(f"{movie + 1}:\n".encode())
                options = pa.csv.WriteOptions(include_header=False, quoting_style="none")
                pa.csv.write_csv(pa.table(columns, names=list("urd")), file, options)


def watch_size(folder: Path, stop: threading.Event, largest: list[int]) -> None:
    """Keep the largest total size of the files in ``folder``."""
    while not stop.wait(1):
        sizes = []
        for file in folder.rglob("*"):
            try:
                sizes.append(file.stat().st_size)
            except FileNotFoundError:
                continue
        largest[0] = max(largest[0], sum(sizes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=["lfm-1b", "netflix"])
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--folder", type=Path, required=True)
    arguments, options = parser.parse_known_args()
    raw, out = arguments.folder / f"raw-{arguments.name}-{arguments.rows}", arguments.folder / "out"
    if not raw.exists():
        raw.mkdir(parents=True)
        {"lfm-1b": write_lfm, "netflix": write_netflix}[arguments.name](raw, arguments.rows)
    out.mkdir(exist_ok=True)
    stop, largest = threading.Event(), [0]
    watcher = threading.Thread(target=watch_size, args=(out, stop, largest))
    watcher.start()
    command = [sys.executable, "-m", "dataset_prep", arguments.name, "--raw", str(raw), "--out", str(out), "--force"]
    start = time.perf_counter()
    try:
        subprocess.run([*command, *options], check=True)
    finally:
        stop.set()
        watcher.join()
    figures = {
        "seconds": round(time.perf_counter() - start, 1),
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6, 2),
        "raw_gb": round(sum(file.stat().st_size for file in raw.iterdir()) / 1e9, 2),
        "largest_out_gb": round(largest[0] / 1e9, 2),
    }
    print(json.dumps({"name": arguments.name, "rows": arguments.rows, "options": options, **figures}))


if __name__ == "__main__":
    main()
