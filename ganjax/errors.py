"""Errors that are the user's to mend."""


class UserError(Exception):
    """Its message is one line that names what is wrong, its value and the mend."""


class DataError(UserError):
    """Data that cannot be had or used."""
