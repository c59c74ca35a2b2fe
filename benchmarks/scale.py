"""Data that RecBole cannot hold, from the ``.inter`` file to batches: ``python -m benchmarks.scale --keep DIR``.

The files are generated with the sizes of real ones and heavy-tailed users and items. Every figure is of a fresh process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks import timing
from recbole_echomamba.system.hardware import measure_peak_process_memory

SHAPES = {
    "like-1m": (1_000_000, 6_040, 3_706),
    "like-2m": (2_000_000, 12_000, 5_000),
    "like-ml-32m": (32_000_204, 200_948, 84_432),
    "like-netflix": (100_480_507, 480_189, 17_770),
    "like-tmall": (44_528_127, 963_923, 2_353_207),
}
"""Interactions, users, items."""

LENGTH, BATCH, BATCHES = 200, 2048, 50


def main() -> None:
    """Print a line per shape and way of holding it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=["like-1m", "like-ml-32m"], choices=SHAPES)
    parser.add_argument(
        "--stock", nargs="*", default=["like-1m"], choices=SHAPES, help="shapes RecBole itself is tried on"
    )
    parser.add_argument("--step", nargs="*", default=[], choices=SHAPES, help="shapes a training step is done on")
    parser.add_argument("--keep", type=Path, default=Path("dataset"), help="where the generated files are")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    options.device, options.threads = "cpu", torch.get_num_threads()
    figures = []
    for shape in options.shapes:
        generate(options.keep, shape)
        ways = ["stock"] * (shape in options.stock) + ["first start", "second start"]
        for way in ways:
            figures.append(
                {"shape": shape, "way": way, **fresh(measure, options.keep, shape, way, shape in options.step)}
            )
            print(json.dumps(figures[-1]), flush=True)
    header = [
        "shape",
        "way",
        "to the first batch, s",
        "peak, GiB",
        f"{BATCHES} batches, s",
        "step, s",
        "peak with step, GiB",
    ]
    print(timing.table(header, [[str(figure.get(key, "")) for key in KEYS] for figure in figures]))
    timing.write(options.json, options, figures)


KEYS = ["shape", "way", "start", "peak", "batches", "step", "step_peak"]


def generate(folder: Path, shape: str) -> None:
    """Write ``folder/shape/shape.inter`` unless it is there: every user at least five rows, items by a power law."""
    import pyarrow
    import pyarrow.csv

    from recbole_echomamba.system.files import write_atomically

    file = folder / shape / f"{shape}.inter"
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    interactions, users, items = SHAPES[shape]
    draw = np.random.default_rng(0)
    weight = draw.lognormal(0, 1.2, users)
    counts = 5 + np.floor((interactions - 5 * users) * weight / weight.sum()).astype(np.int64)
    counts[0] += interactions - counts.sum()
    user = np.repeat(np.arange(1, users + 1, dtype=np.int32), counts)
    # a power law over the items, each of which occurs
    item = (items * draw.random(interactions) ** 2.5).astype(np.int32) + 1
    item[draw.permutation(interactions)[: 5 * items]] = np.tile(np.arange(1, items + 1, dtype=np.int32), 5)
    start = np.repeat(draw.integers(1_000_000_000, 1_600_000_000, users), counts)
    step = np.arange(interactions) - np.repeat(np.cumsum(counts) - counts, counts)
    table = pyarrow.table({"user_id": user, "item_id": item, "timestamp": start + 3600 * step})

    def write(temporary):
        with open(temporary, "wb") as sink:
            sink.write(b"user_id:token\titem_id:token\ttimestamp:float\n")
            pyarrow.csv.write_csv(table, sink, pyarrow.csv.WriteOptions(include_header=False, delimiter="\t"))

    write_atomically(file, write)


def fresh(function, *arguments):
    """Call it in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def measure(folder: Path, shape: str, way: str, step: bool) -> dict:
    """Seconds and GiB of one start; ``first start`` drops what earlier ones kept."""
    import shutil

    from recbole.data import data_preparation as stock_preparation
    from recbole.data.dataset import SequentialDataset

    from recbole_echomamba import Config, create_dataset, data_preparation
    from recbole_echomamba.data import cache

    settings = {"data_path": str(folder), "MAX_ITEM_LIST_LENGTH": LENGTH, "train_batch_size": BATCH, "use_gpu": False}
    config = Config("EchoMamba4Rec", shape, config_dict=settings)
    if way == "first start":
        shutil.rmtree(folder / shape / cache.FOLDER, ignore_errors=True)
    begin = time.perf_counter()
    if way == "stock":
        train, *_ = stock_preparation(config, SequentialDataset(config))
    else:
        train, *_ = data_preparation(config, create_dataset(config))
    batches = iter(train)
    batch = next(batches)
    found = {
        "samples": len(train.dataset),
        "items": train.dataset.item_num,
        "start": seconds_since(begin),
        "peak": peak(),
    }
    begin = time.perf_counter()
    for _ in itertools.islice(batches, BATCHES):
        pass
    found["batches"] = seconds_since(begin)
    if step:
        found |= one_step(config, train, batch)
    return found


def one_step(config, train, batch) -> dict:
    """The second of two training steps."""
    from recbole_echomamba import get_model

    model = get_model("EchoMamba4Rec")(config, train.dataset)
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(2):
        begin = time.perf_counter()
        optimizer.zero_grad()
        model.calculate_loss(batch).backward()
        optimizer.step()
    return {"step": seconds_since(begin), "step_peak": peak()}


def seconds_since(begin: float) -> float:
    """Rounded."""
    return round(time.perf_counter() - begin, 2)


def peak() -> float:
    """GiB this process has held at once."""
    return round(measure_peak_process_memory() / 2**30, 2)


if __name__ == "__main__":
    main()
