"""Errors that the user can mend, which commands print without a traceback."""

import difflib
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

# A whole command in a message, which stays as it is; or a flag, perhaps with its name in Python.
_FLAG = re.compile(
    r"((?:ganjax|tensorboard)(?: [a-z_]+)*(?: --[^\s;,]+)+)"
    r"|(?<![\w/.-])--(?:[\w.]+ \(in Python ([^)]+)\)|(new|trust)(?![\w=])|(?=[a-z]))"
)
# The least similarity (difflib's ratio) of a misspelt name to the one that is suggested.
CLOSE = 0.7
# As how similar initials, or one word of very many, count.
INITIALS = 0.8
# The most names that are suggested.
MOST = 3
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class UserError(Exception):
    """An error that the user can mend: its message is one line of what is wrong and what to do.

    Every error of ganjax that is no fault of its own is one:

    >>> try:
    ...     ganjax.load("runs/nowhere")
    ... except ganjax.UserError as error:
    ...     print(error)
    runs/nowhere: no run is there (runs/nowhere/config.json is missing); name ...

    Attributes:
      leaves_threads: whether threads may be left that wait for something that never comes, or do
        what is needed no more, so that a process that is to end must not wait for them.
    """

    leaves_threads = False


class DataError(UserError):
    """A `UserError` about data that cannot be read or used."""


def printable(text: str) -> str:
    """Returns a text without characters that would do something to a terminal, but for new lines.

    Names of files and classes, and whatever else is from elsewhere, may hold them.
    """
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


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
            error.args = (in_python(str(error)),)
            raise

    return call


def in_python(message: str) -> str:
    """Returns a message of the commands in the words of Python, with arguments in place of flags.

    >>> in_python("name another --workdir, or add --new")
    'name another workdir, or add new=True'
    """

    def argument(found: re.Match) -> str:
        command, name, switch = found.groups()
        return command or name or (f"{switch}=True" if switch else "")

    return _FLAG.sub(argument, message)


def fields(config: Any, at: str = "") -> Iterator[str]:
    """Yields the dotted names of the groups and fields of a config.

    Args:
      config: the config, or a group of its fields, as a dict or ConfigDict.
      at: the dotted name of the group with a dot after it.
    """
    for name in config:
        yield f"{at}{name}"
        value = config[name]
        if hasattr(value, "keys"):
            yield from fields(value, f"{at}{name}.")


def meant(name: str, config: Any) -> list[str]:
    """Returns the dotted names of the fields that resemble a name, the likeliest first.

    A field resembles a name that is its own, or that of its end, such as "learning_rate" for
    "d_optimiser.learning_rate"; its initials, such as "lr"; some of its words, such as "steps" for
    "total_steps"; or spelt almost alike. Fields that have the name itself are returned alone.

    Args:
      name: what was written, perhaps with dots.
      config: the whole config.
    """
    found = []
    for field in fields(config):
        end = ".".join(field.split(".")[-1 - name.count(".") :])
        words, own = end.split("_"), set(name.split("_"))
        alike = difflib.SequenceMatcher(None, name, end).ratio()
        if len(words) > 1 and name == "".join(word[:1] for word in words):
            alike = max(alike, INITIALS)
        if own <= set(words):
            alike = max(alike, INITIALS + (1 - INITIALS) * len(own) / len(words))
        if alike >= CLOSE:
            found.append((alike, field))
    likeliest = sorted(found, key=lambda each: -each[0])[:MOST]
    same = [field for alike, field in likeliest if alike == 1]
    return same or [field for _, field in likeliest]


def question(names: list[str]) -> str:
    """Returns "did you mean a, b or c?" for names, or "" for none."""
    *others, last = names or [""]
    return f"did you mean {' or '.join(filter(None, (', '.join(others), last)))}?" if last else ""
