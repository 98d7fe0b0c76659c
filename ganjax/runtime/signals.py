"""SIGTERM and Ctrl-C: a state that the loop reads between two steps; before it, a quick end."""

import os
import signal
import sys

NUMBERS = (signal.SIGTERM, signal.SIGINT)


def quit_at_once(what_is_lost: str) -> None:
    """From now on a signal ends the process with one line and the code 128 + its number.

    Nothing runs on the way out: no thread can hang it, and no traceback comes. Checkpoints
    are renamed when whole, so none is ever left half-written under its name.

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
    """A context that notes the first signal, and in which a second one quits at once.

    Attributes:
      received: the signal, or None.
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
        self._before = {number: signal.signal(number, self._receive) for number in NUMBERS}
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
