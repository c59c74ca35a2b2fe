"""Call a command in a new process that has everything imported already, and look at what it leaves."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import re
from collections.abc import Iterator
from pathlib import Path

from recbole_echomamba.system.files import LEFTOVER

SECONDS_TO_HANG = 120
TABLE_FILES = ("trials.csv", "summary.csv", "best.yaml")
MEASURED = re.compile(r"second|memory|users_per|time", re.IGNORECASE)


def make_context():
    """Return a context of :mod:`multiprocessing` whose processes begin with the package imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.attack.preload"])
    return context


def call(context, arguments: list[str], folder: Path, output: Path):
    """Start a command in ``folder``; return its process. What it prints goes to ``output``."""
    process = context.Process(target=_execute, args=(arguments, str(folder), str(output)))
    process.start()
    return process


def _execute(arguments: list[str], folder: str, output: str) -> None:
    """In the new process: execute a command of ``echomamba``, or ``dataset_prep`` and its arguments."""
    os.chdir(folder)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    name, *rest = arguments
    if name == "dataset_prep":
        from dataset_prep.__main__ import main

        os._exit(_flushed(main(rest)))
    from recbole_echomamba.comparison import processes

    # The runs of a comparison are forked here: a process that starts from nothing imports for seconds.
    processes.get_context = lambda method: multiprocessing.get_context("fork")
    from recbole_echomamba.cli import main

    os._exit(_flushed(main(arguments)))


def _flushed(code: int) -> int:
    import sys

    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    return code


def describe_outcome(folder: Path) -> dict[str, str]:
    """Return what a command leaves that must not depend on interruptions, by the kind of file.

    These are digests of weights, ranks, tables and prepared files, and the metrics of results.
    """
    found: dict[str, list[str]] = {}
    for file in _files(folder):
        if file.name == "result.json":
            result = json.loads(file.read_text(encoding="utf-8"))
            keys = (
                "test_result",
                "test_result_unseen",
                "best_valid_result",
                "best_epoch",
                "weights_digest",
                "config_hash",
            )
            text = json.dumps([result[key] for key in keys])
        elif file.name in TABLE_FILES:
            text = "\n".join(_without_measured_columns(file))
        elif file.suffix in (".safetensors", ".parquet", ".inter", ".item", ".user"):
            text = hashlib.sha256(file.read_bytes()).hexdigest()
        else:
            continue
        found.setdefault(file.name, []).append(text)
    return {name: repr(sorted(texts)) for name, texts in found.items()}


def find_leftovers(folder: Path) -> list[str]:
    """Return the temporary files and unfinished folders in a folder."""
    return [
        str(file)
        for file in folder.rglob("*")
        if LEFTOVER.fullmatch(file.name) or file.name == ".unfinished" or (file.is_dir() and not any(file.iterdir()))
    ]


def _without_measured_columns(file: Path) -> Iterator[str]:
    import pandas as pd

    if file.suffix != ".csv":
        yield file.read_text(encoding="utf-8")
        return
    table = pd.read_csv(io.StringIO(file.read_text(encoding="utf-8")), dtype=str)
    table = table[[column for column in table.columns if not MEASURED.search(column) and column != "run_directory"]]
    yield table.to_csv()


def _files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not LEFTOVER.fullmatch(file.name):
            yield file
