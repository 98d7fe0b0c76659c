"""SIGTERM and Ctrl-C: the loop reads them between two steps; before it they end the process."""

import os
import signal
import sys

NUMBERS = (signal.SIGTERM, signal.SIGINT)


def quit_at_once(what_is_lost: str) -> None:
    """Lets a signal end the process at once, with one line and the code 128 + the signal's number.

    Nothing else runs: no thread can delay the end, and no traceback is printed. Checkpoints get
    their names when they are whole, so none is left half-written under its name.

    Args:
      what_is_lost: the end of that line.
    """

    def quit(number, frame):
        name = signal.Signals(number).name
        print(f"ganjax: stopped by {name}: {what_is_lost}", file=sys.stderr, flush=True)
        os._exit(128 + number)

    for number in NUMBERS:
        signal.signal(number, quit)


class Signals:
    """A context that notes the first signal; a second one then ends the process at once.

    Attributes:
      received: the signal that came, or None.
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
