"""Handles SIGTERM and Ctrl-C, which stop a run between two steps or end the process at once."""

import os
import signal
import sys

NUMBERS = (signal.SIGTERM, signal.SIGINT)


def quit_at_once(what_is_lost: str) -> None:
    """Makes SIGTERM and Ctrl-C end the process at once, with one line on the standard error.

    The exit code is 128 plus the signal's number. No thread can delay the end, and no traceback is
    printed. A checkpoint gets its name only when it is complete, so none is left incomplete.

    Args:
      what_is_lost: the end of the printed line, which says what is lost.
    """

    def quit(number, frame):
        name = signal.Signals(number).name
        print(f"ganjax: stopped by {name}: {what_is_lost}", file=sys.stderr, flush=True)
        os._exit(128 + number)

    for number in NUMBERS:
        signal.signal(number, quit)


class Signals:
    """A context that records the first signal; a second one then ends the process at once.

    Attributes:
      received: the signal that was received, or None.
    """

    def __init__(self):
        self.received: signal.Signals | None = None

    def _receive(self, number: int, frame) -> None:
        self.received = signal.Signals(number)
        print(
            f"ganjax: {self.received.name}: saving after this step; a second one quits unsaved",
            file=sys.stderr,
            flush=True,
        )
        quit_at_once("what came after the last checkpoint is lost")

    def __enter__(self) -> "Signals":
        self._handlers = {number: signal.signal(number, self._receive) for number in NUMBERS}
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
