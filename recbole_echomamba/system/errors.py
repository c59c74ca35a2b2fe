"""Exceptions for errors that a user can fix; any other exception is a bug."""

from dataset_prep.errors import one_line


class UserError(ValueError):
    """A setting, file or argument cannot be used. The message says in one line what is wrong, where, and what to do."""

    def __init__(self, message: str = ""):
        super().__init__(one_line(message))


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder does not exist. The message says which, and how to get it."""
