"""SIGTERM and Ctrl-C as a state that the loop reads between two steps."""

import signal


class Signals:
    """A context that notes the first SIGTERM or SIGINT; a second one acts as usual.

    Attributes:
      received: the signal, or None.
    """

    NUMBERS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self.received: signal.Signals | None = None

    def _receive(self, number: int, frame) -> None:
        self.received = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __enter__(self) -> "Signals":
        self._before = {number: signal.signal(number, self._receive) for number in self.NUMBERS}
        return self

    def __exit__(self, *error) -> None:
        self._restore()
