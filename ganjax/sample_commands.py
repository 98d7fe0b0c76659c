"""The commands of `ganjax sample`: what each draws, and which flags it takes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from absl import flags

from ganjax import shared_flags
from ganjax.errors import UserError

FILMS = (".gif", ".mp4")


class Command(NamedTuple):
    """The properties of one of this module's commands.

    Attributes:
      num: the default of --num.
      columns: returns the number of images in a row of the picture, given the flags' values and
        the run.
      options: the flags that not all commands have, and the arguments of the view that they set.
      captioned: whether every image or column has a text even if the run has no classes.
      film: whether the command can make a film.
      without: the flags of all other commands that this one does not have.
    """

    num: int | None = 8
    columns: Callable[[Any, Any], int] = lambda values, run: 1
    options: Mapping[str, str] = MappingProxyType({})
    captioned: bool = False
    film: bool = False
    without: tuple[str, ...] = ()


COMMANDS = {
    "grid": Command(num=64, options={"columns": "columns", "numbered": "numbered"}),
    "labels": Command(columns=lambda values, run: len(values.label) or run.algorithm.num_classes),
    "interpolate": Command(
        columns=lambda values, run: (values.frames + 2) * values.cells,
        options={
            "frames": "between",
            "interpolation": "method",
            "pick": "pick",
            "cells": "cells",
        },
        film=True,
    ),
    "neighbours": Command(
        columns=lambda values, run: values.neighbours + 1,
        options={"neighbours": "k", "by": "by"},
        captioned=True,
    ),
    "resolutions": Command(columns=lambda values, run: len(run.algorithm.phases), captioned=True),
    "arithmetic": Command(
        columns=lambda values, run: values.frames + 1,
        options={
            "frames": "steps",
            "samples": "samples",
            "by": "by",
            "have": "have",
            "have_not": "have_not",
        },
        captioned=True,
    ),
    "evolution": Command(
        num=None,
        options={"columns": "columns"},
        film=True,
        without=("which", "seed", "label"),
    ),
    "scores": Command(num=None, without=("seed",)),
}
# The commands that take other words as arguments.
WITH_WORDS = ("scores",)
# Flags whose place is taken by another one.
EXCLUSIVE = {"pick": ("num",), "have": ("samples", "by"), "have_not": ("samples", "by")}
# Flags that are indices of samples.
INDICES = ("pick", "have", "have_not")
MOST_INDEX = 999_999


def options_of(command: Command, values) -> dict[str, Any]:
    """Returns the arguments that a command's own flags set; the others keep their defaults."""
    options = {
        argument: values[flag].value
        for flag, argument in command.options.items()
        if values[flag].value is not None
    }
    indices = {name: _indices(name, options[name]) for name in INDICES if name in options}
    return options | indices


def _indices(flag: str, words: list[str]) -> list[int]:
    """Returns the indices of samples that a flag names.

    Raises:
      UserError: one of the words is none.
    """
    for word in words:
        if not word.isdecimal() or int(word) > MOST_INDEX:
            raise UserError(
                f"--{flag}={','.join(words)}: {word!r} is no sample; they are numbered from 0 to "
                f"{MOST_INDEX}, as `grid --numbered` shows"
            )
    return [int(word) for word in words]


def check_options(values, name: str) -> None:
    """Raises a UserError if a flag was given that belongs to other commands only."""
    for flag in COMMANDS[name].without:
        if values[flag].present:
            raise UserError(f"--{flag} is no flag of {name}; leave it out")
    for flag, others in EXCLUSIVE.items():
        for other in others:
            if values[flag].present and values[other].present:
                raise UserError(f"--{flag} takes the place of --{other}; leave out one of them")
    for flag in dict.fromkeys(flag for each in COMMANDS.values() for flag in each.options):
        owners = [owner for owner, each in COMMANDS.items() if flag in each.options]
        if values[flag].present and name not in owners:
            raise UserError(
                f"--{flag} is a flag of {' and '.join(owners)}, not of {name}; leave it out"
            )


def given(flag: str, suffixes: tuple[str, ...]) -> Path | None:
    """Returns the path that a flag names, or None without one.

    Raises:
      UserError: the path has none of the suffixes, no file can be made there, or one is there.
    """
    value = flags.FLAGS[flag].value
    if value is None:
        return None
    path = Path(value)
    if path.suffix not in suffixes:
        raise UserError(f"--{flag}={value}: end its name in {' or '.join(suffixes)}")
    if not path.parent.is_dir() or path.is_dir():
        raise UserError(f"--{flag}={value}: no file can be made there; is {path.parent} a folder?")
    shared_flags.check_new(flag, value, flags.FLAGS.overwrite)
    return path
