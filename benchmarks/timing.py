"""Interleaved medians, peak memory in a process of its own, tables and JSON."""

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


def arguments(description: str, repetitions: int) -> argparse.ArgumentParser:
    """The flags all benchmarks share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--repetitions", type=int, default=repetitions, help="measured rounds (after one unmeasured)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch and of our kernels")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--keep-memory", action="store_true", help="glibc keeps freed memory, as in our Trainer")
    parser.add_argument("--json", metavar="FILE", help="write every figure there")
    return parser


def prepare(options: argparse.Namespace) -> None:
    """Threads and memory as the flags say."""
    torch.set_num_threads(options.threads)
    if options.keep_memory and not keep_freed_memory():
        raise SystemExit("--keep-memory needs Linux with glibc")


def heading(what: str, options: argparse.Namespace) -> str:
    """What is measured and where."""
    kept = ", freed memory kept" if options.keep_memory else ""
    return f"\n{what}, {options.threads} threads, {options.device}{kept}"


def seconds(contenders: dict[str, Callable[[], None]], repetitions: int, device: str) -> dict[str, list[float]]:
    """Seconds of each call, one contender after the other in every round, so that a busy moment hits all of them."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in tqdm(range(repetitions + 1), leave=False):
        for name, call in contenders.items():
            elapsed = _once(call, device)
            if round_:
                found[name].append(elapsed)
    return found


def _once(call: Callable[[], None], device: str) -> float:
    if device == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def peak_bytes(make: Callable, *args, device: str = "cpu") -> int:
    """What the calls ``make(*args)`` returns add to the memory in use, measured in a fresh process.

    ``make`` is a function of a module; the callable it returns is called twice.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_here, (make, args, device))


def _peak_here(make, args, device) -> int:
    call = make(*args)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from what is in use
        before = measure_peak_process_memory()
    call()
    call()
    return (torch.cuda.max_memory_allocated() if device == "cuda" else measure_peak_process_memory()) - before


def median(values: list[float]) -> float:
    """Of the measured rounds."""
    return statistics.median(values)


def table(header: list[str], rows: list[list]) -> str:
    """Text, first column to the left."""
    drawn = Texttable(max_width=0)
    drawn.set_deco(Texttable.HEADER)
    drawn.set_cols_dtype(["t"] * len(header))
    drawn.set_cols_align(["l"] + ["r"] * (len(header) - 1))
    drawn.add_rows([header, *rows])
    return drawn.draw()


def write(path: str | None, options: argparse.Namespace, figures: list[dict]) -> None:
    """The figures with what they were measured on."""
    if path:
        ran_on = describe_machine(torch.device(options.device))
        text = {"options": vars(options), "machine": ran_on, "versions": list_versions(), "figures": figures}
        write_text(path, json.dumps(text, indent=1, default=str) + "\n")


def draw(path: str, plot: Callable[[str], None]) -> None:
    """Let ``plot(temporary_path)`` draw a picture whose kind follows from the ending; whole or not at all."""
    write_atomically(path, plot, suffix=Path(path).suffix)
