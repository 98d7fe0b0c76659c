"""Errors that the user can mend, which commands print without a traceback."""


class UserError(Exception):
    """An error whose message is one line: what is wrong, its value, and what to do about it."""


class DataError(UserError):
    """A `UserError` about data that cannot be read or used."""
