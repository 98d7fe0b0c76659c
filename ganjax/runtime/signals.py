"""Handles SIGTERM and Ctrl-C, which stop a run between two steps or end the process at once."""

import os
import signal
import sys
import threading

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


def end_with_the_reader() -> None:
    """Lets the process end without a word once nothing reads its output, as with `| head`.

    It is for commands that only print: from then on a write to any closed pipe or socket ends the
    process.
    """
    if hasattr(signal, "SIGPIPE"):  # Windows has none.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


class Signals:
    """A context that records the first signal, after which a second one does not wait.

    The second one ends the process of a command at once. In a process that leaves Ctrl-C to Python,
    a notebook or a script, it does what it would do without this context: it raises a
    KeyboardInterrupt. Only the main thread can receive signals; in others the context does nothing.

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
        if self._handlers[signal.SIGINT] is signal.default_int_handler:
            self._restore()
        else:
            quit_at_once("what came after the last checkpoint is lost")

    def __enter__(self) -> "Signals":
        self._handlers = {}
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._receive) for number in NUMBERS}
        return self

    def __exit__(self, *error) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
