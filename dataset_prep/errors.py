"""The exceptions for errors that a user can fix; any other exception is a bug."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager


class PreparationError(ValueError):
    """Raw data, an option or a folder that cannot be used. The message says in one line what is wrong, where, and what to do."""

    def __init__(self, message: str = ""):
        super().__init__(one_line(message))


class MissingFileError(PreparationError, FileNotFoundError):
    """A raw file or folder that does not exist. The message says which, and how to get it."""


class RowError(ValueError):
    """A row or a field that cannot be used.

    Args:
        message: what is wrong, with the value.
        kind: the same without the value, by which skipped rows are counted.
        cure: what to do about it, where that is not to leave the row out.
    """

    def __init__(self, message: str, kind: str, cure: str = ""):
        super().__init__(message)
        self.kind = kind
        self.cure = cure


@contextmanager
def explain_system_errors(failure: str) -> Iterator[None]:
    """Raise :class:`PreparationError` for errors of the operating system, such as a full disk or a missing permission.

    Args:
        failure: beginning of the message, such as ``cannot read raw/ml-1m``.
    """
    try:
        yield
    except PreparationError:
        # A MissingFileError is an OSError too, and already says what to do.
        raise
    except OSError as error:
        raise PreparationError(f"{failure}: {error}") from error


def one_line(message: object) -> str:
    """Return a message in one line: line breaks become spaces, and other characters that cannot be printed are escaped."""
    joined = re.sub(r"\s*\n\s*", " ", str(message))
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in joined)
