"""Files written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path | str, write: Callable[[str], None], suffix: str = "") -> None:
    """Let ``write(temporary_path)`` fill a file in the same folder, then put it in place in one step.

    ``suffix`` ends the temporary name, for writers that go by it.

    After a crash or a full disk there is either the old file or the new one.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=suffix)
    os.close(handle)
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_text(path: Path | str, text: str) -> None:
    """:func:`write_whole` for text, in UTF-8."""
    write_whole(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))


def sha256(*paths: Path) -> str:
    """One hex digest over the bytes of several files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
