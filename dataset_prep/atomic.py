"""RecBole's atomic files: tab-separated, a typed header, written whole or not at all.

Format: https://recbole.io/docs/user_guide/data/atomic_files.html.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path


def write_atomic_files(
    directory: Path, name: str, parts: dict[str, tuple[Sequence[str], Iterable[Sequence[str]]]]
) -> None:
    """Write ``<directory>/<name>.<part>`` for every part, all of them or none.

    Args:
        directory: made when missing.
        parts: part (``inter``, ``item``, ``user``) to its header fields (``user_id:token``) and its rows of text.

    Every file is first written beside its place and flushed to disk; only when all are complete are they renamed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as undo:
        finished = []
        for part, (header, rows) in parts.items():
            handle, temporary = tempfile.mkstemp(dir=directory, prefix=f".{name}.{part}.")
            undo.callback(_remove_if_there, temporary)
            with open(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write("\t".join(header) + "\n")
                file.writelines("\t".join(map(_escape, row)) + "\n" for row in rows)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            finished.append((temporary, directory / f"{name}.{part}"))
        for temporary, place in finished:
            os.replace(temporary, place)


def _escape(field: str) -> str:
    """RecBole reads with pandas' default quoting: a field that begins with a quote would swallow the rows after it."""
    return '"' + field.replace('"', '""') + '"' if field.startswith('"') else field


def _remove_if_there(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)
