"""Record the digest of every file of a run directory, and check a file whenever it is read.

``manifest.json`` holds the SHA-256 of each file and of itself. It is written just before a file is put in its place and again
just after: in between it lists the digests of the old and of the new file, so that a process killed at any moment leaves a
directory whose files pass.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable
from pathlib import Path

from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import json_digest, sha256, write_atomically, write_text

MANIFEST_FILE = "manifest.json"
FORMAT = 1


def write_recorded(path: Path | str, write: Callable[[str], object]) -> None:
    """Write a file atomically, see :func:`.write_atomically`, and record its digest in the manifest beside it."""
    path = Path(path)
    digest = ""

    def write_and_announce(temporary: str) -> None:
        nonlocal digest
        write(temporary)
        digest = sha256(Path(temporary))
        files = _read_manifest(path.parent) or {}
        _write_manifest(path.parent, {**files, path.name: [*files.get(path.name, []), digest]})

    write_atomically(path, write_and_announce)
    files = _read_manifest(path.parent) or {}
    _write_manifest(path.parent, {**files, path.name: [digest]})


def write_recorded_text(path: Path | str, text: str) -> None:
    """Write text in UTF-8 with :func:`write_recorded`."""
    write_recorded(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))


def record_existing(directory: Path | str, names: list[str]) -> None:
    """Start the manifest of a directory of a version that kept none, with the files as they are now."""
    directory = Path(directory)
    if _read_manifest(directory) is None:
        _write_manifest(directory, {name: [sha256(directory / name)] for name in names if (directory / name).is_file()})


def recorded_digest(path: Path | str) -> str:
    """Return the SHA-256 of a file: from the manifest where that is certain, else from the file."""
    path = Path(path)
    recorded = (_read_manifest(path.parent) or {}).get(path.name, [])
    return recorded[0] if len(recorded) == 1 else sha256(path)


def check_recorded(path: Path | str) -> None:
    """Check that a file is what was written.

    A directory of a version that kept no manifest is accepted with a warning.

    Raises:
        UserError: the file or the manifest has changed since, or the file was never recorded.
    """
    path = Path(path)
    if not path.is_file():
        return
    files = _read_manifest(path.parent)
    if files is None:
        _warn_unrecorded(path.parent)
    elif path.name not in files:
        raise UserError(f"{path} is not in {MANIFEST_FILE} beside it: it was not written by the run; remove it")
    elif sha256(path) not in files[path.name]:
        raise UserError(
            f"{path} is damaged or has been changed: its digest is not the one in {MANIFEST_FILE}; restore it, or train again"
        )


@functools.cache
def _warn_unrecorded(directory: Path) -> None:
    """Warn once in a process about a directory of a version that kept no manifest."""
    logging.getLogger().warning("%s has no %s: damage to its files would not be noticed", directory, MANIFEST_FILE)


def _read_manifest(directory: Path) -> dict[str, list[str]] | None:
    """Return the digests of each file, the newest last; ``None`` when there is no manifest."""
    file = directory / MANIFEST_FILE
    try:
        manifest = json.loads(file.read_bytes())
        files = manifest["files"]
        intact = manifest["format"] == FORMAT and manifest["digest"] == json_digest(files)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        intact = False
    if not intact:
        raise UserError(f"{file} is damaged: it does not match its own digest; restore it, or train again")
    return files


def _write_manifest(directory: Path, files: dict[str, list[str]]) -> None:
    manifest = {"format": FORMAT, "files": files, "digest": json_digest(files)}
    write_text(directory / MANIFEST_FILE, json.dumps(manifest, indent=1) + "\n")
