"""The exceptions for what a user can mend; any other exception is a bug."""


class UserError(ValueError):
    """A setting, file or argument that cannot be used. The message says what is wrong, where, and what to do."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that does not exist. The message says which, and how to get it."""
