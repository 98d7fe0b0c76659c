"""Files from elsewhere are opened only if they are regular ones: a pipe would be waited for."""

import errno
import io
import os
import stat
from pathlib import Path

from ganjax.runtime import memory

# A file of more bytes is held only if it is at most such a part of the memory: what is made of its
# content is larger than that.
UNSUSPICIOUS, PART = 64 << 20, 8


def open_bytes(path: Path) -> io.BufferedReader:
    """Opens a regular file for reading bytes, and waits for nobody.

    Args:
      path: the file, or a link to it.

    Raises:
      OSError: it cannot be opened, or is a pipe, a socket, a device or a folder.
    """
    # Without waiting, since opening a pipe would otherwise last until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path) -> bytes:
    """Returns the content of a regular file; see `open_bytes`.

    Raises:
      OSError: it cannot be opened or is no regular file, or the memory is too small for it.
    """
    with open_bytes(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > UNSUSPICIOUS and size > (most := memory.total() // PART):
            reason = f"it has {memory.described(size)}; at most {memory.described(most)} are read"
            raise OSError(errno.EINVAL, reason, str(path))
        return file.read()


def read_text(path: Path, encoding: str = "utf-8", errors: str = "strict") -> str:
    """Returns the text of a regular file, with "\\n" between lines; see `open_bytes`."""
    text = read_bytes(path).decode(encoding, errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")
