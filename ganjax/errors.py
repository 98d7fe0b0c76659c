"""Errors that the user can mend, which commands print without a traceback."""

import functools
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

# A flag in a message, perhaps followed by what it is called in Python.
_FLAG = re.compile(r"(?<![\w/.-])--(?:[\w.]+ \(in Python ([^)]+)\)|(?=[a-z]))")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class UserError(Exception):
    """An error that the user can mend: its message is one line of what is wrong and what to do.

    Every error of ganjax that is no fault of its own is one:

    >>> try:
    ...     ganjax.load("runs/nowhere")
    ... except ganjax.UserError as error:
    ...     print(error)
    runs/nowhere: no run is there (runs/nowhere/config.json is missing); name a folder that ...
    """


class DataError(UserError):
    """A `UserError` about data that cannot be read or used."""


def naming_arguments(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorates a function of the Python API, whose errors then name arguments in place of flags.

    A flag --seed_index of a command is the argument seed_index of a function, so that a message
    serves both.
    """

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            error.args = (_FLAG.sub(lambda flag: flag[1] or "", str(error)),)
            raise

    return call
