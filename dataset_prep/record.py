"""``NAME.prep.json``: what a prepared data set was made from, and whether it is still that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

VERSION = 1
"""Raised when the same raw data and options give other files."""


def describe_inputs(files: Iterable[Path]) -> list[dict]:
    """Name, size and sha256 of each raw file."""
    return [{"file": f.name, "bytes": f.stat().st_size, "sha256": checksum(f, "sha256")} for f in sorted(set(files))]


def up_to_date(folder: Path, name: str, inputs: list[dict], options: dict) -> dict | None:
    """The record in ``folder`` when it tells of the same inputs, options and version, and its files are there in full."""
    record = _read(folder, name)
    if record is None or (record["inputs"], record["options"], record["version"]) != (inputs, options, VERSION):
        return None
    there = [(folder / file).is_file() and (folder / file).stat().st_size == n for file, n in record["files"].items()]
    return record if all(there) else None


def files(folder: Path, name: str) -> set[str]:
    """The files an earlier preparation wrote, by its record; none when there is no record."""
    record = _read(folder, name)
    return set(record["files"]) if record else set()


def _read(folder: Path, name: str) -> dict | None:
    try:
        record = json.loads((folder / f"{name}.prep.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    keys = {"version", "inputs", "options", "counts", "files"}
    return record if isinstance(record, dict) and keys <= record.keys() and isinstance(record["files"], dict) else None


def write_record(file: Path, inputs: list[dict], options: dict, counts: dict, outputs: Iterable[Path]) -> None:
    """Write the record of a preparation."""
    sizes = {output.name: output.stat().st_size for output in outputs}
    record = {"version": VERSION, "inputs": inputs, "options": options, "counts": counts, "files": sizes}
    file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def checksum(file: Path, algorithm: str) -> str:
    """A file's digest in hexadecimal."""
    digest, size = hashlib.new(algorithm), file.stat().st_size
    label = f"{algorithm} of {file.name}"
    with open(file, "rb") as stream, tqdm(total=size, unit="B", unit_scale=True, desc=label, disable=None) as bar:
        while block := stream.read(1 << 20):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()
