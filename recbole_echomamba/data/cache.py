"""Prepared arrays kept beside the data, memory-mapped when they are read again."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from pathlib import Path

import numpy as np

from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import sha256, write_text

FOLDER = ".prepared"
FORMAT = 1


def store(beside: Path, key: str, arrays: dict[str, np.ndarray], facts: dict) -> bool:
    """Keep ``arrays`` and ``facts`` (JSON) under ``key``, whole or not at all; False where the folder cannot be written."""
    place = beside.parent / FOLDER / key
    try:
        place.parent.mkdir(exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{key}."))
    except OSError:
        return False
    try:
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        digests = {name: sha256(temporary / f"{name}.npy") for name in arrays}
        write_text(temporary / "facts.json", json.dumps({"format": FORMAT, "digests": digests, "facts": facts}))
        shutil.rmtree(place, ignore_errors=True)
        temporary.rename(place)
    except OSError:  # a full disk, or another process that was first
        shutil.rmtree(temporary, ignore_errors=True)
        return False
    return True


def load(beside: Path, key: str) -> tuple[dict[str, np.ndarray], dict] | None:
    """What :func:`store` kept, the arrays read-only and memory-mapped; None when there is nothing or it is damaged."""
    place = beside.parent / FOLDER / key
    try:
        kept = json.loads((place / "facts.json").read_text(encoding="utf-8"))
        if kept["format"] != FORMAT:
            return None
        arrays = {}
        for name, digest in kept["digests"].items():
            if sha256(place / f"{name}.npy") != digest:
                raise UserError("changed since it was written")
            arrays[name] = np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        warnings.warn(f"{place} is damaged ({error}) and is made again", stacklevel=2)
        return None
    return arrays, kept["facts"]
