"""Exceptions for errors that a user can fix; any other exception is a bug."""


class UserError(ValueError):
    """A setting, file or argument cannot be used. The message says what is wrong, where, and what to do."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder does not exist. The message says which, and how to get it."""
