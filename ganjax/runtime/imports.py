"""Imports of other packages that take no longer than what is used of them."""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without(name: str) -> Iterator[None]:
    """Hides a package from what is imported within, unless it is imported already.

    Args:
      name: the package, which what is imported can do without.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # pyright: ignore[reportArgumentType]
    try:
        yield
    finally:
        del sys.modules[name]
