"""Write files atomically, check where they can be written, and compute their digests."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from recbole_echomamba.system.errors import MissingFileError, UserError

BLOCK_BYTES = 2**20
"""How much of a file is hashed at a time."""


def write_atomically(path: Path | str, write: Callable[[str], None], suffix: str = "") -> None:
    """Write a file through a temporary one in the same folder, so that ``path`` never holds half a file.

    After a crash or on a full disk, ``path`` is still the old file.

    Args:
        path: the file to write or replace.
        write: fills the file whose path it is given.
        suffix: the end of the temporary name, for writers that choose the format by it.
    """
    path = Path(path)
    temporary = _create_beside(path, suffix)
    permissions = stat.S_IMODE(temporary.stat().st_mode)
    try:
        write(str(temporary))
        # safetensors replaces the file by one that only its owner can read
        os.chmod(temporary, permissions)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path | str, text: str) -> None:
    """Write text in UTF-8 atomically, see :func:`write_atomically`."""
    write_atomically(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))


def check_writable(file: Path | str, option: str | None = None) -> None:
    """Check that an output file can be created, before the work that produces it starts.

    Args:
        file: the file that will be written.
        option: the command-line option that named it, for the message.

    Raises:
        MissingFileError: its folder does not exist.
        UserError: it is a folder itself.
    """
    prefix = f"{option}: " if option else ""
    folder = Path(file).resolve().parent
    if not folder.is_dir():
        raise MissingFileError(f"{prefix}there is no folder {folder}; create it, or name another file")
    if Path(file).is_dir():
        raise UserError(f"{prefix}{file} is a folder; name a file")


def sha256(*paths: Path) -> str:
    """Return the SHA-256 of the contents of several files, one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def _create_beside(path: Path, suffix: str) -> Path:
    """Create an empty file with a unique hidden name and the permissions of any new file.

    :mod:`tempfile` creates files that only their owner can read, and the umask cannot be asked for without changing it.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{suffix}")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return temporary
