"""Change the working directory for a while."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def change_to(folder: str) -> Iterator[None]:
    """Work in ``folder`` within the block, as ``contextlib.chdir`` does, which Python 3.10 lacks."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
