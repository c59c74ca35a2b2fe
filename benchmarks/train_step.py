"""A whole training step (forward, backward, Adam): ``python -m benchmarks.train_step``; ratios are to RecBole's SASRec."""

from __future__ import annotations

import torch

from benchmarks import timing
from benchmarks.contenders import MODELS, Contender

SHAPES = ["1024x50", "256x200", "4x1600"]
BASE = "SASRec"


def main() -> None:
    """Print a table per shape."""
    parser = timing.arguments(__doc__, repetitions=7)
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="BxL", help="batch times length")
    parser.add_argument("--models", nargs="+", default=MODELS, help="SASRec is the base of the ratios")
    parser.add_argument("--memory", action="store_true", help="also the peak memory of a step, in a fresh process each")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures = []
    for shape in options.shapes:
        batch, length = map(int, shape.split("x"))
        measured = measure(options.models, batch, length, options)
        print(f"\ntraining step, B={batch}, L={length}, {options.threads} threads, {options.device}")
        print(as_table(measured))
        figures += measured
        timing.write(options.json, options, figures)


def measure(models: list[str], batch: int, length: int, options) -> list[dict]:
    """One entry per model: seconds of every round, their median, its ratio to SASRec's, bytes."""
    contenders = {name: Contender(name, batch, length, options.device).train_step for name in models}
    found = timing.seconds(contenders, options.repetitions, options.device)
    base = timing.median(found[BASE]) if BASE in found else None
    entries = []
    for name, values in found.items():
        entry = {"model": name, "batch": batch, "length": length, "median": timing.median(values), "seconds": values}
        entry["ratio"] = entry["median"] / base if base else None
        if options.memory:
            entry["bytes"] = timing.peak_bytes(_step, name, batch, length, options, device=options.device)
        entries.append(entry)
    return entries


def _step(name, batch, length, options):
    torch.set_num_threads(options.threads)
    return Contender(name, batch, length, options.device).train_step


def as_table(entries: list[dict]) -> str:
    """Of one shape."""
    rows = [
        [
            entry["model"],
            f"{entry['median'] * 1e3:.1f}",
            f"{entry['ratio']:.3f}" if entry["ratio"] else "",
            f"{entry['bytes'] / 2**20:.0f}" if "bytes" in entry else "",
        ]
        for entry in entries
    ]
    return timing.table(["model", "ms", "to SASRec", "peak MiB"], rows)


if __name__ == "__main__":
    main()
