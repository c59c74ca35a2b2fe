"""Write the files of a dataset atomically: fill a staging folder, then move complete files into place."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dataset_prep.errors import PreparationError

LOCK = ".lock"
STAGING = ".unfinished"


@contextmanager
def lock_and_stage(folder: Path) -> Iterator[Path]:
    """Lock ``folder`` and provide an empty staging folder inside it, which is deleted at the end.

    The staging folder is on the same file system as ``folder``, so that files can be moved by renaming. The operating
    system releases the lock when the process dies; what a killed process left is deleted by the next one. Folders that this
    call makes are deleted again if nothing is left in them.

    Raises:
        PreparationError: another process holds the lock.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise PreparationError(f"another preparation is writing into {folder}") from None
    staging = folder / STAGING
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            yield staging
        finally:
            shutil.rmtree(staging)
    finally:
        # Delete the lock file while it is still locked, so that it is not deleted under another process.
        (folder / LOCK).unlink(missing_ok=True)
        lock.release()
        with contextlib.suppress(OSError):
            for each in made:
                each.rmdir()


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed preparation left in ``folder``, unless another one is running there."""
    if not (folder / STAGING).exists():
        return
    with contextlib.suppress(PreparationError), lock_and_stage(folder):
        pass


def publish(staging: Path, folder: Path, names: Sequence[str], record: str) -> None:
    """Move complete files from ``staging`` into ``folder``.

    All files are flushed to disk before the first one is moved. The old record is deleted first and the new one is moved
    last, so that a record never stands beside files it does not describe.

    Args:
        staging: folder that holds the new files.
        folder: folder of the dataset.
        names: names of the data files.
        record: name of the file that describes them.
    """
    for name in (*names, record):
        with open(staging / name, "rb+") as file:
            os.fsync(file.fileno())
    (folder / record).unlink(missing_ok=True)
    for name in (*names, record):
        os.replace(staging / name, folder / name)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
