"""The exceptions for errors that a user can fix; any other exception is a bug."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class PreparationError(ValueError):
    """Raw data, an option or a folder that cannot be used. The message says what is wrong, where, and what to do."""


class MissingFileError(PreparationError, FileNotFoundError):
    """A raw file or folder that does not exist. The message says which, and how to get it."""


class RowError(ValueError):
    """A row or a field that cannot be used.

    Args:
        message: what is wrong, with the value.
        kind: the same without the value, by which skipped rows are counted.
    """

    def __init__(self, message: str, kind: str):
        super().__init__(message)
        self.kind = kind


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


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return str(error).partition("\n")[0]
