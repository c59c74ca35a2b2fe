"""Read files that may be damaged, write files atomically, check where they can be written, and compute their digests."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from recbole_echomamba.system.errors import MissingFileError, UserError

BLOCK_BYTES = 2**20
"""How much of a file is hashed at a time."""

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
"""Errors of the operating system that the disk or the permissions of a folder are the reason of."""

PROBE_BYTES = 2**22

LEFTOVER = re.compile(r"[.].+[.][0-9a-f]{16}([.]\w+)?")
"""The names of temporary files, see :func:`write_atomically`."""


def write_atomically(path: Path | str, write: Callable[[str], None], suffix: str = "") -> None:
    """Write a file through a temporary one in the same folder, so that ``path`` never holds half a file.

    After a crash or on a full disk, ``path`` is still the old file.

    Args:
        path: the file to write or replace.
        write: fills the file whose path it is given.
        suffix: the end of the temporary name, for writers that choose the format by it.

    Raises:
        UserError: the disk is full, or the folder cannot be written to.
    """
    path = Path(path)
    with naming_the_disk(path):
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


@contextlib.contextmanager
def naming_the_disk(path: Path) -> Iterator[None]:
    """Within the block, which writes ``path``, turn an error whose reason is the disk into one that says so.

    Raises:
        UserError: the disk is full, or the folder cannot be written to.
    """
    try:
        yield
    except Exception as error:
        reason = None if isinstance(error, UserError) else _find_disk_error(error, path.parent)
        if reason is None:
            raise
        raise UserError(
            f"cannot write {path}: {reason}; free space in {path.parent} or choose another folder"
        ) from error


def read_text(file: Path | str, name: str, hint: str = "") -> str:
    """Read a text file in UTF-8 that a user named, with or without a byte order mark.

    Args:
        file: the file.
        name: how messages call it.
        hint: what to do if it cannot be read.

    Raises:
        MissingFileError: it does not exist.
        UserError: it is not UTF-8, cannot be read, or is a folder, pipe or device: reading one may never end.
    """
    hint = f"; {hint}" if hint else ""
    path = Path(file)
    try:
        is_special = path.exists() and not path.is_file()
        text = "" if is_special else path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise MissingFileError(f"{name} does not exist{hint}") from None
    except (OSError, ValueError) as error:
        # it is not UTF-8, or its name has a NUL
        raise UserError(f"{name} cannot be read: {error}{hint}") from None
    if is_special:
        raise UserError(f"{name} cannot be read: it is a folder, pipe or device{hint}")
    return text


def read_json(file: Path | str, hint: str) -> dict:
    """Read a JSON object that this package wrote.

    Args:
        file: an existing file.
        hint: what to do if it is damaged.

    Raises:
        UserError: it is damaged.
    """
    try:
        content = json.loads(Path(file).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged ({error}); {hint}") from None
    if not isinstance(content, dict):
        raise UserError(f"{file} is damaged (it holds a {type(content).__name__}, not an object); {hint}")
    return content


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
        UserError: it is a folder, pipe or device itself, or cannot be created.
    """
    prefix = f"{option}: " if option else ""
    try:
        folder = Path(file).resolve().parent
        is_special = Path(file).exists() and not Path(file).is_file()
    except (OSError, ValueError) as error:
        raise UserError(f"{prefix}{str(file)!r} cannot be the name of a file: {error}") from None
    if not folder.is_dir():
        raise MissingFileError(f"{prefix}there is no folder {folder}; create it, or name another file")
    if Path(file).is_dir():
        raise UserError(f"{prefix}{file} is a folder; name a file")
    if is_special:
        # it would be replaced by a file
        raise UserError(f"{prefix}{file} is a pipe or device; name a file")
    try:
        _create_beside(Path(file), "").unlink()
    except OSError as error:
        raise UserError(f"{prefix}{file} cannot be written: {error.strerror}; name another file") from None


def sha256(*paths: Path) -> str:
    """Return the SHA-256 of the contents of several files, one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def json_digest(content: dict) -> str:
    """Return the SHA-256 of what JSON can hold, whatever the order of its keys, in hexadecimal."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder; no process may be writing to it."""
    for file in folder.iterdir():
        if LEFTOVER.fullmatch(file.name):
            file.unlink(missing_ok=True)


def _find_disk_error(error: Exception, folder: Path) -> str | None:
    """Return in words what is wrong with the disk when a writer failed; ``None`` when it failed for another reason.

    Libraries hide the operating system's error: torch says that its writer failed, pyarrow that a file does not exist. So the
    folder is asked, by writing to it.
    """
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        return os.strerror(error.errno).lower()
    if "os error 28" in str(error) or "No space left" in str(error):
        return os.strerror(errno.ENOSPC).lower()
    probe = folder / f".probe.{secrets.token_hex(8)}"
    try:
        with open(probe, "xb") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as probed:
        return os.strerror(probed.errno).lower() if probed.errno in DISK_ERRORS else None
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    return None


def _create_beside(path: Path, suffix: str) -> Path:
    """Create an empty file with a unique hidden name and the permissions of any new file.

    :mod:`tempfile` creates files that only their owner can read, and the umask cannot be asked for without changing it.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{suffix}")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return temporary
