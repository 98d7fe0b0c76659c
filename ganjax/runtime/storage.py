"""Files that are written completely or not at all, also if the process or the machine stops."""

import contextlib
import errno
import io
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any

from ganjax.errors import UserError
from ganjax.runtime import memory, regular

# The numbers of the errors of a disk that is full and of a quota or limit that is reached, and what
# libraries say of them.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_TEXTS = ("No space left", "quota exceeded", "File too large")
# After so many seconds a file that has not replaced another never will.
LEFT_SECONDS = 3_600
# What reading a damaged file of JSON raises; RecursionError is that of one nested a thousand deep.
NOT_JSON = (ValueError, RecursionError)


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yields the path of a new, empty file, which replaces `path` unless the body has an error.

    The file is in the same folder, and nobody can have put a link there: its name is random, and it
    is created only if nothing has that name.

    Args:
      path: the file to write.
      durable: whether to wait until the content and then the name are on the disk.

    Raises:
      OSError: the file cannot be written; the error names it.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield temporary
        if durable:
            sync(temporary)
        os.replace(temporary, path)
        if durable:
            sync(path.parent)
    except OSError as error:
        if error.filename != str(temporary) and not (error.filename is None and is_full(error)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def open_appending(path: Path) -> io.FileIO:
    """Opens a file for appending, or makes it, without a buffer; it follows no link.

    Raises:
      OSError: it cannot be opened, or is a link, a pipe, a socket or a device.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_NONBLOCK"):  # A pipe would be waited for.
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, "it is a link; put a file in its place", str(path)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return io.FileIO(descriptor, "a")


def append_line(path: Path, content: Any) -> None:
    """Appends a line of JSON to a file, or makes it; see `open_appending`."""
    with naming(path), io.BufferedWriter(open_appending(path)) as file:
        file.write((json.dumps(content) + "\n").encode())


def check_takes_files(folder: Path) -> None:
    """Makes a file without a name in a folder, whose permissions alone may not say whether it can.

    Raises:
      OSError: it cannot.
    """
    tempfile.TemporaryFile(dir=folder).close()


def free(path: Path) -> Path:
    """Returns the first of the paths <name>, <name>_2, <name>_3, ... that does not exist."""
    numbered = (path.with_stem(f"{path.stem}_{i}") for i in count(2))
    return next(each for each in chain([path], numbered) if not os.path.lexists(each))


def make_first(folders: Iterable[Path]) -> Path:
    """Makes the first of some folders that does not exist, and returns it.

    If several processes do so at once, each gets a folder of its own.
    """
    for folder in folders:
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise FileExistsError("all of them exist")


def remove_left(folder: Path) -> None:
    """Removes the files that a kill has left in a folder before they replaced others (`replacing`).

    Only those of an hour ago are: another process may be writing a younger one.
    """
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            is_left = re.fullmatch(r"\.[0-9a-f]{16}\.tmp", path.name)
            if is_left and path.lstat().st_mtime < time.time() - LEFT_SECONDS:
                path.unlink()


def write_text(path: Path, text: str) -> None:
    """Writes a text, completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Writes indented JSON, completely or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the objects of a file of JSON lines, without the lines that are damaged.

    A kill may leave half a line, and a disk anything.
    """
    found = []
    for line in regular.read_text(path, errors="replace").splitlines():
        with contextlib.suppress(*NOT_JSON):
            found.append(json.loads(line))
    return [each for each in found if isinstance(each, dict)]


def sync(path: Path) -> None:
    """Waits until a file's content, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_room(folder: Path, count: int, what: str) -> None:
    """Refuses what a disk certainly has no room for, before hours are spent on making it.

    Args:
      folder: a folder on the disk.
      count: the bytes that would be written.
      what: what they are, in the plural.

    Raises:
      UserError: fewer bytes are free.
    """
    room = shutil.disk_usage(folder).free
    if count > room:
        raise UserError(
            f"{what} take {memory.described(count)}, and the disk has {memory.described(room)} "
            "free: ask for fewer, or make room"
        )


def is_full(error: BaseException) -> bool:
    """Returns whether an error says that the disk is full, or a quota or limit is reached."""
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    return any(text in str(error) for text in FULL_TEXTS)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the name of a file to the body's error of a full disk, which names none."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or not is_full(error):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
