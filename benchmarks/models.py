"""One measurement of whole models: every contender on the same batch, ratios to RecBole's SASRec."""

from __future__ import annotations

import argparse

from benchmarks import timing
from benchmarks.contenders import MODELS, Contender

BASE = "SASRec"


def arguments(description: str, shapes: list[str], repetitions: int) -> argparse.ArgumentParser:
    """The flags of benchmarks that compare models."""
    parser = timing.arguments(description, repetitions)
    parser.add_argument("--shapes", nargs="+", default=shapes, metavar="BxL", help="batch times length")
    parser.add_argument("--models", nargs="+", default=MODELS, help="SASRec is the base of the ratios")
    parser.add_argument(
        "--memory", action="store_true", help="also what a call adds to memory, in a fresh process each"
    )
    return parser


def measure(what: str, method: str, options: argparse.Namespace) -> list[dict]:
    """Print a table per shape and return its figures: seconds of every round, their median, ratio to SASRec's, bytes.

    Args:
        what: the heading. method: of :class:`Contender`, the call that is timed.
    """
    timing.prepare(options)
    figures = []
    for shape in options.shapes:
        batch, length = map(int, shape.split("x"))
        contenders = {name: getattr(Contender(name, batch, length, options.device), method) for name in options.models}
        found = timing.seconds(contenders, options.repetitions, options.device)
        base = timing.median(found[BASE]) if BASE in found else None
        entries = []
        for name, values in found.items():
            entry = {
                "model": name,
                "batch": batch,
                "length": length,
                "median": timing.median(values),
                "seconds": values,
            }
            entry["ratio"] = entry["median"] / base if base else None
            if options.memory:
                arguments = (method, name, batch, length, options)
                entry["bytes"] = timing.peak_bytes(_make, *arguments, device=options.device)
            entries.append(entry)
        print(timing.heading(f"{what}, B={batch}, L={length}", options))
        print(as_table(entries))
        figures += entries
        timing.write(options.json, options, figures)
    return figures


def _make(method, name, batch, length, options):
    timing.prepare(options)
    return getattr(Contender(name, batch, length, options.device), method)


def as_table(entries: list[dict]) -> str:
    """Of one shape."""
    rows = [
        [
            entry["model"],
            f"{entry['median'] * 1e3:.1f}",
            f"{entry['ratio']:.3f}" if entry["ratio"] else "",
            f"{entry['batch'] / entry['median']:.0f}",
            f"{entry['bytes'] / 2**20:.0f}" if "bytes" in entry else "",
        ]
        for entry in entries
    ]
    return timing.table(["model", "ms", "to SASRec", "users/s", "peak MiB"], rows)
