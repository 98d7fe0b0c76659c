"""Silences what Orbax prints about a checkpoint whose error it raises as well."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator

LOOP_IS_CLOSED = "Event loop is closed"


@contextlib.contextmanager
def loading(has_failed: Callable[[], bool]) -> Iterator[None]:
    """Silences what Orbax's tasks print about a checkpoint whose error is raised as well.

    Args:
      has_failed: as for `saving`.
    """
    with _closed_loops(has_failed), warnings.catch_warnings(action="ignore"):
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        loggers = [logging.getLogger(name) for name in ("asyncio", "absl")]
        before = [each.disabled for each in loggers]
        try:
            for each in loggers:
                each.disabled = True
            yield
        finally:
            sys.unraisablehook = hook
            for each, disabled in zip(loggers, before, strict=True):
                each.disabled = disabled


@contextlib.contextmanager
def saving(has_failed: Callable[[], bool]) -> Iterator[None]:
    """Silences what Orbax's threads print about the error of a save, which is raised as well.

    Args:
      has_failed: returns whether a save has failed. Its threads then stay silent for good, since
        they may outlive the body.
    """
    own = f"{os.sep}orbax{os.sep}"

    def keep(record: logging.LogRecord) -> bool:
        return own not in record.pathname or record.levelno < logging.ERROR

    logger = logging.getLogger("absl")
    logger.addFilter(keep)
    try:
        with _closed_loops(has_failed):
            yield
    finally:
        if not has_failed():
            logger.removeFilter(keep)


@contextlib.contextmanager
def _closed_loops(has_failed: Callable[[], bool]) -> Iterator[None]:
    """Silences TensorStore's threads, which go on with what has failed and find nobody to tell."""

    def is_known(error: BaseException | None) -> bool:
        return type(error) is RuntimeError and str(error) == LOOP_IS_CLOSED

    # TensorStore prints by both.
    def show(kind, error, trace) -> None:
        if not is_known(error):
            hook(kind, error, trace)

    def show_unraisable(unraisable) -> None:
        if not is_known(unraisable.exc_value):
            unraisable_hook(unraisable)

    hook, sys.excepthook = sys.excepthook, show
    unraisable_hook, sys.unraisablehook = sys.unraisablehook, show_unraisable
    try:
        yield
    finally:
        if not has_failed():
            sys.excepthook, sys.unraisablehook = hook, unraisable_hook
