"""Exceptions for errors that a user can fix; any other exception is a bug."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from dataset_prep.errors import one_line


class UserError(ValueError):
    """A setting, file or argument cannot be used. The message says in one line what is wrong, where, and what to do."""

    def __init__(self, message: str = ""):
        super().__init__(one_line(message))


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder does not exist. The message says which, and how to get it."""


def suggest(word: str, known: Iterable[str]) -> str:
    """Return a hint for a misspelt word: up to three names that are close to it, or the three nearest if none is close."""
    by_lower = {name.lower(): name for name in known}
    close = [by_lower[match] for match in difflib.get_close_matches(word.lower(), by_lower, n=3, cutoff=0.6)]
    if close:
        return f"did you mean {' or '.join(close)}?"
    nearest = [by_lower[match] for match in difflib.get_close_matches(word.lower(), by_lower, n=3, cutoff=0)]
    return f"the nearest {'names are' if len(nearest) > 1 else 'name is'} {', '.join(nearest)}"
