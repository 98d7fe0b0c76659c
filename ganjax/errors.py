"""Errors that the user can mend."""


class UserError(Exception):
    """An error whose message is one line: what is wrong, its value, and what to do about it."""


class DataError(UserError):
    """An error of data that cannot be read or used."""
