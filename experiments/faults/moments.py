"""Moments in a process at which something happens to it: a change of a folder, or a call.

Python tells audit hooks of every file that is opened, renamed or removed before it is done. The
files of arrays, which a library in C++ writes, are not seen.
"""

import importlib
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

# The audit event of each change, with the word for it and how many paths it names.
CHANGES = {
    "open": ("open", 1),
    "os.mkdir": ("make", 1),
    "os.rename": ("rename", 2),
    "os.remove": ("remove", 1),
    "os.rmdir": ("remove", 1),
    "os.truncate": ("truncate", 1),
}
WRITES = os.O_WRONLY | os.O_RDWR


def kill() -> None:
    """Kills this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def signals(*numbers: int) -> Callable[[], None]:
    """Returns a function that sends this process signals."""

    def send():
        for number in numbers:
            os.kill(os.getpid(), number)

    return send


def fails(number: int) -> Callable[[], None]:
    """Returns a function that fails as the operating system does, with an error number."""

    def fail():
        raise OSError(number, os.strerror(number))

    return fail


def on_changes(folder: Path, tell: Callable[[str], None]) -> None:
    """Calls a function before each change of the files in a folder, for as long as this process is.

    Args:
      folder: the folder, which need not exist.
      tell: the function; it is given the change, such as "rename a/b -> a/c", by paths in the
        folder.
    """
    root = os.path.realpath(folder)
    busy = False

    def hook(event, arguments):
        nonlocal busy
        if event not in CHANGES or busy:
            return
        if event == "open" and not (arguments[2] or 0) & WRITES:
            return
        word, count = CHANGES[event]
        busy = True  # What this function does itself is no change.
        try:
            paths = [_within(root, arguments, i, count) for i in range(count)]
        finally:
            busy = False
        if all(path is not None for path in paths):
            tell(f"{word} {' -> '.join(map(str, paths))}")

    sys.addaudithook(hook)


def _within(root: str, arguments: tuple, index: int, count: int) -> str | None:
    """Returns a path of an audit event relative to a folder, or None if it is not in there."""
    path, *folders = arguments[index], *arguments[count:]
    if not isinstance(path, str | bytes | os.PathLike):
        return None
    path = os.fsdecode(path)
    descriptor = next((each for each in folders[:1] if type(each) is int and each >= 0), None)
    if not os.path.isabs(path):
        above = os.getcwd() if descriptor is None else os.readlink(f"/proc/self/fd/{descriptor}")
        path = os.path.join(above, path)
    return path[len(root) + 1 :] if path.startswith(f"{root}/") else None


def record(folder: Path, file: Path) -> None:
    """Appends each change of a folder to a file, a line each."""
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)
    on_changes(folder, lambda change: os.write(descriptor, f"{change}\n".encode()) and None)


def general(change: str) -> str:
    """Returns a change without random names and times, by which it is found in another process."""
    return re.sub(r"[0-9a-f]{16,}|(?<=tfevents\.)[\w.]+", "*", change)


def at_change(folder: Path, change: str, count: int, do: Callable[[], object]) -> None:
    """Does something before a change of a folder.

    Args:
      folder: the folder.
      change: the change, as `general` returns it.
      count: how often there has been an equal change before.
      do: what is done; if it raises an error, the change fails with it.
    """
    seen = 0

    def tell(each):
        nonlocal seen
        if general(each) == change:
            seen += 1
            if seen == count + 1:
                do()

    on_changes(folder, tell)


def at_call(name: str, count: int, do: Callable[[], object]) -> None:
    """Does something before a call of a function.

    Args:
      name: the function, such as "ganjax.training.loop:train" or "module:Class.method".
      count: how often it has been called before.
      do: what is done; if it raises an error, the call fails with it.
    """
    module, _, path = name.partition(":")
    *classes, last = path.split(".")
    holder = importlib.import_module(module)
    for each in classes:
        holder = getattr(holder, each)
    function, calls = getattr(holder, last), 0

    def wrapped(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == count + 1:
            do()
        return function(*args, **kwargs)

    setattr(holder, last, wrapped)
