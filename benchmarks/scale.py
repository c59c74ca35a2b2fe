"""Load datasets that RecBole cannot hold, from the ``.inter`` file to batches: ``python -m benchmarks.scale --keep DIR``.

The files are generated with the sizes of real datasets and heavy-tailed users and items. Every figure is measured in a fresh
process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
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
"""Interactions, users and items of each generated dataset."""

LENGTH = 200
BATCH = 2048
BATCHES = 50
TABLE_COLUMNS = {
    "shape": "shape",
    "way": "way",
    "start": "to the first batch, s",
    "peak": "peak, GiB",
    "batches": f"{BATCHES} batches, s",
    "step": "step, s",
    "step_peak": "peak with step, GiB",
}
"""Figure to its heading in the table."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=["like-1m", "like-ml-32m"], choices=SHAPES)
    parser.add_argument(
        "--stock", nargs="*", default=["like-1m"], choices=SHAPES, help="shapes that RecBole itself loads too"
    )
    parser.add_argument("--step", nargs="*", default=[], choices=SHAPES, help="shapes that a training step is run on")
    parser.add_argument("--keep", type=Path, default=Path("dataset"), help="folder of the generated files")
    parser.add_argument("--json", metavar="FILE", help="write every figure to this file")
    options = parser.parse_args()
    options.device = "cpu"
    options.threads = torch.get_num_threads()
    figures = []
    for shape in options.shapes:
        generate(options.keep, shape)
        ways = ["first start", "second start"]
        if shape in options.stock:
            ways.insert(0, "stock")
        for way in ways:
            measured = call_in_fresh_process(measure, options.keep, shape, way, shape in options.step)
            figures.append({"shape": shape, "way": way, **measured})
            print(json.dumps(figures[-1]), flush=True)
    rows = [[str(figure.get(key, "")) for key in TABLE_COLUMNS] for figure in figures]
    print(timing.format_table(list(TABLE_COLUMNS.values()), rows))
    timing.write_figures(options.json, options, figures)


def generate(folder: Path, shape: str) -> None:
    """Write ``folder/shape/shape.inter`` unless it exists: at least five rows a user, items by a power law."""
    import pyarrow
    import pyarrow.csv

    from recbole_echomamba.system.files import write_atomically

    path = folder / shape / f"{shape}.inter"
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    interactions, users, items = SHAPES[shape]
    rng = np.random.default_rng(0)
    weight = rng.lognormal(0, 1.2, users)
    counts = 5 + np.floor((interactions - 5 * users) * weight / weight.sum()).astype(np.int64)
    counts[0] += interactions - counts.sum()
    user = np.repeat(np.arange(1, users + 1, dtype=np.int32), counts)
    # Draw items by a power law, then make each item occur at least five times.
    item = (items * rng.random(interactions) ** 2.5).astype(np.int32) + 1
    item[rng.permutation(interactions)[: 5 * items]] = np.tile(np.arange(1, items + 1, dtype=np.int32), 5)
    start = np.repeat(rng.integers(1_000_000_000, 1_600_000_000, users), counts)
    step = np.arange(interactions) - np.repeat(np.cumsum(counts) - counts, counts)
    table = pyarrow.table({"user_id": user, "item_id": item, "timestamp": start + 3600 * step})

    def write(temporary: str) -> None:
        with open(temporary, "wb") as file:
            file.write(b"user_id:token\titem_id:token\ttimestamp:float\n")
            pyarrow.csv.write_csv(table, file, pyarrow.csv.WriteOptions(include_header=False, delimiter="\t"))

    write_atomically(path, write)


def call_in_fresh_process(function, *arguments):
    """Return ``function(*arguments)``, computed in a process of its own."""
    # unlike multiprocessing.Pool, it raises when the process is killed
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measure(folder: Path, shape: str, way: str, with_step: bool) -> dict:
    """Measure one start.

    Args:
        folder: folder of the generated files.
        shape: one of :data:`SHAPES`.
        way: ``stock`` for RecBole's own dataset, ``first start`` without the cache, ``second start`` with it.
        with_step: whether to run a training step as well.

    Returns:
        Seconds and GiB by the names in :data:`TABLE_COLUMNS`, and the numbers of samples and items.
    """
    from recbole.data import data_preparation as recbole_data_preparation
    from recbole.data.dataset import SequentialDataset

    from recbole_echomamba import Config, create_dataset, data_preparation
    from recbole_echomamba.data import cache

    settings = {"data_path": str(folder), "MAX_ITEM_LIST_LENGTH": LENGTH, "train_batch_size": BATCH, "use_gpu": False}
    config = Config("EchoMamba4Rec", shape, config_dict=settings)
    if way == "first start":
        shutil.rmtree(folder / shape / cache.FOLDER, ignore_errors=True)
    begin = time.perf_counter()
    if way == "stock":
        train, *_ = recbole_data_preparation(config, SequentialDataset(config))
    else:
        train, *_ = data_preparation(config, create_dataset(config))
    batches = iter(train)
    first_batch = next(batches)
    figures = {
        "samples": len(train.dataset),
        "items": train.dataset.item_num,
        "start": seconds_since(begin),
        "peak": peak_gib(),
    }
    begin = time.perf_counter()
    for _ in itertools.islice(batches, BATCHES):
        pass
    figures["batches"] = seconds_since(begin)
    if with_step:
        figures |= measure_step(config, train, first_batch)
    return figures


def measure_step(config, train, batch) -> dict:
    """Run two training steps and measure the second."""
    from recbole_echomamba import get_model

    model = get_model("EchoMamba4Rec")(config, train.dataset)
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(2):
        begin = time.perf_counter()
        optimizer.zero_grad()
        model.calculate_loss(batch).backward()
        optimizer.step()
    return {"step": seconds_since(begin), "step_peak": peak_gib()}


def seconds_since(begin: float) -> float:
    """Return the seconds since ``begin``, with two decimals."""
    return round(time.perf_counter() - begin, 2)


def peak_gib() -> float:
    """Return the peak memory of this process in GiB, with two decimals."""
    return round(measure_peak_process_memory() / 2**30, 2)


if __name__ == "__main__":
    main()
