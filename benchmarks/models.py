"""Measure models on the same batch, in milliseconds and relative to RecBole's SASRec."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from benchmarks import timing
from benchmarks.contenders import MODELS, Contender

BASELINE = "SASRec"


def make_parser(description: str, shapes: list[str], repetitions: int) -> argparse.ArgumentParser:
    """Return the parser of a benchmark that compares models.

    Args:
        description: text of the help.
        shapes: default of ``--shapes``.
        repetitions: default of ``--repetitions``.
    """
    parser = timing.make_parser(description, repetitions)
    parser.add_argument("--shapes", nargs="+", default=shapes, metavar="BxL", help="batch times length")
    parser.add_argument("--models", nargs="+", default=MODELS, help="models to compare; ratios are to SASRec")
    parser.add_argument(
        "--memory", action="store_true", help="also measure the memory that a call adds, each in a fresh process"
    )
    return parser


def measure(title: str, method: str, options: argparse.Namespace) -> list[dict]:
    """Print a table for each shape, and write the figures to ``--json``.

    Args:
        title: heading of the tables.
        method: method of :class:`Contender` that is timed.
        options: flags of :func:`make_parser`.

    Returns:
        For each shape and model: seconds of every round, their median, its ratio to SASRec's, bytes.
    """
    timing.apply_options(options)
    figures = []
    for shape in options.shapes:
        batch, length = map(int, shape.split("x"))
        entries = _measure_shape(method, batch, length, options)
        print(timing.format_heading(f"{title}, B={batch}, L={length}", options))
        print(format_entries(entries))
        figures += entries
        timing.write_figures(options.json, options, figures)
    return figures


def _measure_shape(method: str, batch: int, length: int, options: argparse.Namespace) -> list[dict]:
    calls = {name: getattr(Contender(name, batch, length, options.device), method) for name in options.models}
    seconds = timing.measure_seconds(calls, options.repetitions, options.device)
    baseline = timing.median(seconds[BASELINE]) if BASELINE in seconds else None
    entries = []
    for name, values in seconds.items():
        median = timing.median(values)
        entry = {
            "model": name,
            "batch": batch,
            "length": length,
            "median": median,
            "seconds": values,
            "ratio": median / baseline if baseline else None,
        }
        if options.memory:
            entry["bytes"] = timing.measure_added_bytes(
                _make_call, method, name, batch, length, options, device=options.device
            )
        entries.append(entry)
    return entries


def _make_call(method: str, name: str, batch: int, length: int, options: argparse.Namespace) -> Callable[[], None]:
    timing.apply_options(options)
    return getattr(Contender(name, batch, length, options.device), method)


def format_entries(entries: list[dict]) -> str:
    """Return the table of one shape."""
    rows = []
    for entry in entries:
        milliseconds = f"{entry['median'] * 1e3:.1f}"
        ratio = f"{entry['ratio']:.3f}" if entry["ratio"] else ""
        users_per_second = f"{entry['batch'] / entry['median']:.0f}"
        mebibytes = f"{entry['bytes'] / 2**20:.0f}" if "bytes" in entry else ""
        rows.append([entry["model"], milliseconds, ratio, users_per_second, mebibytes])
    return timing.format_table(["model", "ms", "to SASRec", "users/s", "peak MiB"], rows)
