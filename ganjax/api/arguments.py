"""Arguments of the functions of the Python API, which are checked before anything is computed."""

import operator
from collections.abc import Collection
from typing import Any

from ganjax.errors import UserError
from ganjax.runtime.limits import LARGEST


def whole(name: str, value: Any, least: int = 1, most: int = LARGEST) -> int:
    """Returns an argument that is a whole number, also one of NumPy or JAX.

    Args:
      name: the argument's name.
      value: its value.
      least: the smallest number that it may be.
      most: the largest.

    Raises:
      UserError: it is no such number.
    """
    try:
        found = operator.index(value)
    except TypeError:
        found = None
    if found is None or not least <= found <= most:
        raise UserError(f"{name}={value!r}: give a whole number from {least} to {most}")
    return found


def names(value: str | Collection[str]) -> tuple[str, ...]:
    """Returns an argument of several names, of which a text is a single one."""
    return (value,) if isinstance(value, str) else tuple(value)
