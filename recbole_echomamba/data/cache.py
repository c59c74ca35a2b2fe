"""Keep prepared arrays beside the data, and memory-map them when they are read again."""

from __future__ import annotations

import json
import logging
import secrets
import shutil
import time
from pathlib import Path

import numpy as np

from recbole_echomamba.system.files import json_digest, sha256, write_text

FOLDER = ".prepared"
FACTS = "facts.json"
DAY = 86_400
"""Seconds."""

FORMAT = 2
"""Increase it when entries are written in another way; entries of another format are prepared again."""


def store(data_file: Path, key: str, arrays: dict[str, np.ndarray], facts: dict) -> bool:
    """Write arrays and facts atomically into a folder beside the data.

    Args:
        data_file: the file that the arrays were prepared from.
        key: names the entry; it must change with the data and with the settings of the preparation.
        arrays: name to array.
        facts: values that JSON can hold.

    Returns:
        False if the folder cannot be written. If another process wrote the entry meanwhile, one of both stays.
    """
    entry = data_file.parent / FOLDER / key
    try:
        entry.parent.mkdir(exist_ok=True)
        _remove_leftovers(entry.parent)
        # not tempfile, whose folders only their owner can read
        temporary = entry.parent / f".{key}.{secrets.token_hex(8)}"
        temporary.mkdir()
    except OSError:
        return False
    try:
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        digests = {name: sha256(temporary / f"{name}.npy") for name in arrays}
        content = {"digests": digests, "facts": facts}
        write_text(temporary / FACTS, json.dumps({"format": FORMAT, "digest": json_digest(content), **content}))
        shutil.rmtree(entry, ignore_errors=True)
        temporary.rename(entry)
    except OSError:
        # the disk is full, or another process wrote the entry first
        shutil.rmtree(temporary, ignore_errors=True)
        return False
    return True


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary folders of processes that were killed; one that is a day old is not being written any more."""
    for each in folder.glob(".*"):
        if each.is_dir() and time.time() - each.stat().st_mtime > DAY:
            shutil.rmtree(each, ignore_errors=True)


def load(data_file: Path, key: str) -> tuple[dict[str, np.ndarray], dict] | None:
    """Read an entry that :func:`store` wrote.

    Returns:
        The arrays, read-only and memory-mapped, and the facts; None if there is no such entry or it is damaged.
    """
    entry = data_file.parent / FOLDER / key
    try:
        content = json.loads((entry / FACTS).read_bytes())
        if content["format"] != FORMAT:
            return None
        if content["digest"] != json_digest({key: content[key] for key in ("digests", "facts")}):
            raise ValueError(f"{FACTS} has changed since it was written")
        arrays = {}
        for name, digest in content["digests"].items():
            file = entry / f"{name}.npy"
            if sha256(file) != digest:
                raise ValueError(f"{file.name} has changed since it was written")
            arrays[name] = np.load(file, mmap_mode="r", allow_pickle=False)
        return arrays, content["facts"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        logging.getLogger().warning("%s is damaged (%s); the data are prepared again", entry, error)
        return None
