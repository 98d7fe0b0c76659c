"""The file log.txt, which keeps what a run prints, of all of its attempts."""

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from ganjax.runtime import storage

FILE = "log.txt"
TIME = "%Y-%m-%d %H:%M:%S"


class Log:
    """The log of a run. Each line is written at once, with its time, so that a kill loses none.

    A disk that is full ends no run by way of its log: what cannot be written is lost.

    Args:
      folder: the run's folder.
    """

    def __init__(self, folder: Path):
        path = folder / FILE
        half_a_line = _ends_amid_a_line(path)
        self._file = storage.open_appending(path)
        if half_a_line:
            self._append("\n")

    def write(self, text: str) -> None:
        """Writes a text of one line or several."""
        stamp = time.strftime(TIME)
        lines = "".join(f"{stamp} {line}".rstrip() + "\n" for line in text.splitlines())
        self._append(lines)

    def _append(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # A closed file is a ValueError.
            os.write(self._file.fileno(), text.encode(errors="backslashreplace"))

    def close(self) -> None:
        """Closes the file; what is written afterwards is lost."""
        self._file.close()


class _Tee:
    """A stream that also writes complete lines to a log; progress bars, which overwrite, are not.

    Args:
      stream: the stream that is written to, such as the standard output.
      log: the log.
    """

    def __init__(self, stream: TextIO, log: Log):
        self._stream, self._log = stream, log
        self._line = ""
        # A signal's handler may print while the same thread does.
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        with self._lock:
            written = self._stream.write(text)
            complete, _, rest = (self._line + text).rpartition("\n")
            self._line = "" if "\r" in rest else rest
            if complete := "\n".join(line for line in complete.split("\n") if "\r" not in line):
                self._log.write(complete)
            return written

    def flush(self) -> None:
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Records(logging.Handler):
    """A handler that writes the messages of libraries to a log."""

    def __init__(self, log: Log):
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.write(f"{record.levelname} {record.name}: {record.getMessage()}")


@contextlib.contextmanager
def teed(log: Log) -> Iterator[None]:
    """Writes what Python code prints and logs within this context to a log too."""
    root, records = logging.getLogger(), _Records(log)
    # Without a handler, logging prints to the standard error, which is written to the log anyway.
    handled = root.hasHandlers()
    with (
        contextlib.redirect_stdout(_Tee(sys.stdout, log)),
        contextlib.redirect_stderr(_Tee(sys.stderr, log)),
    ):
        if handled:
            root.addHandler(records)
        try:
            yield
        finally:
            root.removeHandler(records)


def _ends_amid_a_line(path: Path) -> bool:
    """Returns whether a file's last line is incomplete, which a kill may leave."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"
