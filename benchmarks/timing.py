"""Measure medians of interleaved calls and peak memory in fresh processes; print tables and write JSON."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from texttable import Texttable
from tqdm import tqdm

from recbole_echomamba.system.allocator import keep_freed_memory
from recbole_echomamba.system.files import write_atomically, write_text
from recbole_echomamba.system.hardware import describe_machine, list_versions, measure_peak_process_memory


def make_parser(description: str, repetitions: int) -> argparse.ArgumentParser:
    """Return a parser with the flags that all benchmarks share.

    Args:
        description: text of the help.
        repetitions: default of ``--repetitions``.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--repetitions", type=int, default=repetitions, help="measured rounds, after one that is not measured"
    )
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="threads of torch and of our kernels"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--keep-memory", action="store_true", help="let glibc keep freed memory, as our Trainer does")
    parser.add_argument("--json", metavar="FILE", help="write every figure to this file")
    return parser


def apply_options(options: argparse.Namespace) -> None:
    """Set the number of threads and the handling of freed memory."""
    torch.set_num_threads(options.threads)
    if options.keep_memory and not keep_freed_memory():
        raise SystemExit("--keep-memory needs Linux with glibc")


def format_heading(title: str, options: argparse.Namespace) -> str:
    """Return the line that says what is measured and on what."""
    kept = ", freed memory kept" if options.keep_memory else ""
    return f"\n{title}, {options.threads} threads, {options.device}{kept}"


def measure_seconds(calls: dict[str, Callable[[], None]], repetitions: int, device: str) -> dict[str, list[float]]:
    """Time each call in every round, one after the other, so that a busy moment affects all of them.

    Args:
        calls: name to call.
        repetitions: measured rounds, after one that is not measured.
        device: ``cpu`` or ``cuda``.

    Returns:
        Name to the seconds of each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for round_number in tqdm(range(repetitions + 1), leave=False):
        for name, call in calls.items():
            elapsed = _time_call(call, device)
            if round_number > 0:
                seconds[name].append(elapsed)
    return seconds


def _time_call(call: Callable[[], None], device: str) -> float:
    if device == "cuda":
        begin = torch.cuda.Event(enable_timing=True)
        end = torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3
    begin_seconds = time.perf_counter()
    call()
    return time.perf_counter() - begin_seconds


def measure_added_bytes(make_call: Callable, *arguments, device: str = "cpu") -> int:
    """Return the memory in bytes that a call adds at its peak, measured in a fresh process.

    Args:
        make_call: function of a module that returns the call; the call is run twice.
        arguments: arguments of ``make_call``.
        device: ``cpu`` or ``cuda``.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure_added_bytes_here, (make_call, arguments, device))


def _measure_added_bytes_here(make_call: Callable, arguments: tuple, device: str) -> int:
    call = make_call(*arguments)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        call()
        return torch.cuda.max_memory_allocated() - before
    # Writing 5 resets the peak of the process to the memory it uses now.
    Path("/proc/self/clear_refs").write_text("5")
    before = measure_peak_process_memory()
    call()
    call()
    return measure_peak_process_memory() - before


def median(values: list[float]) -> float:
    """Return the median of the measured rounds."""
    return statistics.median(values)


def format_table(header: list[str], rows: list[list]) -> str:
    """Return a table as text, with the first column aligned to the left."""
    table = Texttable(max_width=0)
    table.set_deco(Texttable.HEADER)
    table.set_cols_dtype(["t"] * len(header))
    table.set_cols_align(["l"] + ["r"] * (len(header) - 1))
    table.add_rows([header, *rows])
    return table.draw()


def write_figures(path: str | None, options: argparse.Namespace, figures: list[dict]) -> None:
    """Write the figures as JSON, with the flags, the machine and the versions; do nothing without a path."""
    if path is None:
        return
    content = {
        "options": vars(options),
        "machine": describe_machine(torch.device(options.device)),
        "versions": list_versions(),
        "figures": figures,
    }
    write_text(path, json.dumps(content, indent=1, default=str) + "\n")


def write_plot(path: str, plot: Callable[[str], None]) -> None:
    """Write a plot atomically.

    Args:
        path: file to write; its suffix decides the format.
        plot: write the plot to the temporary path it is given.
    """
    write_atomically(path, plot, suffix=Path(path).suffix)
