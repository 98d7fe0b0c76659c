"""Settings that hold within a context, of which a thread or a task has its own."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any


def holding(variable: ContextVar, value: Any) -> contextlib.AbstractContextManager[None]:
    """Returns a context in which a variable has a value, and after which it has its former one."""
    return _holding(variable, value)


@contextlib.contextmanager
def _holding(variable: ContextVar, value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
