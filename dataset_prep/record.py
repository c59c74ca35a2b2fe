"""Read and write ``NAME.prep.json``, the record of what a prepared dataset was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

VERSION = 1
"""Increase it when the same raw data and options give other files."""


def describe_inputs(paths: Iterable[Path]) -> list[dict]:
    """Return name, size in bytes and sha256 of each raw file, in the order in which they are read."""
    return [
        {"file": path.name, "bytes": path.stat().st_size, "sha256": checksum(path, "sha256")}
        for path in dict.fromkeys(paths)
    ]


def find_current(folder: Path, name: str, inputs: list[dict], options: dict) -> dict | None:
    """Return the record in ``folder`` if it matches the inputs, the options and this version and its files are complete."""
    record = _read(folder, name)
    if record is None or (record["inputs"], record["options"], record["version"]) != (inputs, options, VERSION):
        return None
    for file, size in record["files"].items():
        path = folder / file
        if not path.is_file() or path.stat().st_size != size:
            return None
        if checksum(path, "sha256") != record.get("sha256", {}).get(file):
            return None
    return record


def read_digests(folder: Path, name: str) -> dict[str, str]:
    """Return the sha256 of each file that a preparation wrote, by its record; empty without one."""
    record = _read(folder, name)
    return record.get("sha256", {}) if record else {}


def read_order(folder: Path, name: str) -> str | None:
    """Return how a preparation ordered the interactions, its option ``--order``; None without a record."""
    record = _read(folder, name)
    return record["options"].get("order") if record and isinstance(record["options"], dict) else None


def list_files(folder: Path, name: str) -> set[str]:
    """Return the names of the files that an earlier preparation wrote, by its record; empty without a record."""
    record = _read(folder, name)
    return set(record["files"]) if record else set()


def _read(folder: Path, name: str) -> dict | None:
    try:
        record = json.loads((folder / f"{name}.prep.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    required = {"version", "inputs", "options", "counts", "files"}
    if not isinstance(record, dict) or not required <= record.keys():
        return None
    if not isinstance(record["files"], dict) or not isinstance(record.get("sha256", {}), dict):
        return None
    return record


def write_record(path: Path, inputs: list[dict], options: dict, counts: dict, outputs: Iterable[Path]) -> None:
    """Write the record of a preparation.

    Args:
        path: file to write.
        inputs: the raw files, from :func:`describe_inputs`.
        options: the options that decide what is written.
        counts: numbers of users, items and interactions.
        outputs: the files of the dataset; their sizes and digests are recorded.
    """
    outputs = list(outputs)
    record = {
        "version": VERSION,
        "inputs": inputs,
        "options": options,
        "counts": counts,
        "files": {output.name: output.stat().st_size for output in outputs},
        "sha256": {output.name: checksum(output, "sha256") for output in outputs},
    }
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def checksum(path: Path, algorithm: str) -> str:
    """Return the hexadecimal digest of a file; show progress in a terminal.

    Args:
        path: file to read.
        algorithm: ``md5`` or ``sha256``.
    """
    digest = hashlib.new(algorithm)
    label = f"{algorithm} of {path.name}"
    size = path.stat().st_size
    with open(path, "rb") as file, tqdm(total=size, unit="B", unit_scale=True, desc=label, disable=None) as progress:
        while block := file.read(1 << 20):
            digest.update(block)
            progress.update(len(block))
    return digest.hexdigest()
