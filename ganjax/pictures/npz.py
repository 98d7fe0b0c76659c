"""Arrays in `.npz` and `.npy` files: written from batches that are never all held, and read with
suspicion.

A file from elsewhere may be of any size or kind, so an array's header is read before its content,
and its content only if the memory holds it.
"""

import contextlib
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from ganjax.errors import DataError
from ganjax.runtime import memory, regular

SUFFIX = ".npy"
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
# Images, even nearly empty ones, become less than so many times smaller. A zip that expands to more
# than so many bytes and so many times is a trap.
MOST_RATIO, UNSUSPICIOUS = 200, 256 << 20
CHUNK = 1 << 20


class Batches(NamedTuple):
    """An array that is made while it is written.

    Attributes:
      shape: its shape, (N, ...).
      dtype: its type.
      make: returns an iterator of arrays (n, ...), N rows in all.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    make: Callable[[], Iterator[np.ndarray]]


class Header(NamedTuple):
    """What an array is, as the file says.

    Attributes:
      shape: its shape.
      dtype: its type.
      fortran: whether its first axis varies fastest.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool

    @property
    def nbytes(self) -> int:
        """The bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize


def write(file: IO[bytes], arrays: Mapping[str, "np.ndarray | Batches"]) -> None:
    """Writes arrays by name as an uncompressed .npz, as `np.savez` does.

    Args:
      file: the open file.
      arrays: the arrays, or those to be made, by name.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}{SUFFIX}", "w", force_zip64=True) as entry:
                if not isinstance(array, Batches):
                    np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)
                    continue
                dtype = np.dtype(array.dtype)
                described = {"descr": np.lib.format.dtype_to_descr(dtype)}
                described |= {"fortran_order": False, "shape": array.shape}
                np.lib.format.write_array_header_1_0(entry, described)
                rows = 0
                for batch in array.make():
                    assert (batch.dtype, batch.shape[1:]) == (dtype, array.shape[1:])
                    entry.write(np.ascontiguousarray(batch).data)
                    rows += len(batch)
                assert rows == array.shape[0]


class Arrays:
    """The arrays of an open .npz file; `opened` opens one.

    Args:
      archive: the open file.
    """

    def __init__(self, archive: zipfile.ZipFile):
        self._archive = archive
        entries = (each for each in archive.infolist() if each.filename.endswith(SUFFIX))
        self._entries = {each.filename.removesuffix(SUFFIX): each for each in entries}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the arrays."""
        return tuple(self._entries)

    def header(self, name: str) -> Header:
        """Returns what the array of a name is, without reading its content."""
        with self._open(name) as entry:
            return self._header(entry, name)

    def read(self, name: str) -> np.ndarray:
        """Returns the array of a name."""
        with self._open(name) as entry:
            array = _content(entry, self._header(entry, name), repr(name))
            entry.read(1)  # At its end the checksum is compared.
            return array

    def _header(self, entry: Any, name: str) -> Header:
        info = self._entries[name]
        return _header(entry, info.file_size, repr(info.filename))

    def _open(self, name: str) -> Any:
        entry = self._entries[name]
        if entry.compress_type not in METHODS:
            raise _Unreadable(f"{name!r} is compressed by another method than np.savez's")
        large = entry.file_size > max(UNSUSPICIOUS, MOST_RATIO * entry.compress_size)
        if large and entry.compress_type != zipfile.ZIP_STORED:
            raise _Unreadable(
                f"{name!r} expands from {memory.described(entry.compress_size)} to "
                f"{memory.described(entry.file_size)}, which no images do"
            )
        return self._archive.open(entry)


def opened(path: Path) -> contextlib.AbstractContextManager[Arrays]:
    """Opens an .npz file for reading.

    Args:
      path: the file.

    Raises:
      DataError: in the context, the file or one of its arrays cannot be read, or an array is larger
        than memory, holds objects or expands too far.
    """
    return _opened(path)


def read_array(path: Path) -> np.ndarray:
    """Returns the array of an .npy file.

    Raises:
      DataError: the file cannot be read, or its array is larger than memory or holds objects.
    """
    with _explained(path, "an .npy file of an array"), regular.open_bytes(path) as file:
        header = _header(file, os.fstat(file.fileno()).st_size, "it")
        return _content(file, header, "it")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Arrays]:
    with (
        _explained(path, "an .npz of arrays"),
        regular.open_bytes(path) as file,
        zipfile.ZipFile(file) as archive,
    ):
        yield Arrays(archive)


class _Unreadable(Exception):
    """The reason why an array is not read."""


@contextlib.contextmanager
def _explained(path: Path, what: str) -> Iterator[None]:
    """Raises a DataError for whatever reading a damaged file raises."""
    try:
        yield
    # A damaged zip raises any of these; NotImplementedError and a password's are RuntimeErrors.
    except (
        OSError,
        ValueError,
        EOFError,
        RuntimeError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
        _Unreadable,
    ) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"{path} cannot be read as {what} ({reason})") from None


def _content(entry: Any, header: Header, name: str) -> np.ndarray:
    """Reads an array, whose header has been read."""
    half = memory.total() // 2  # Whoever reads it will compute with it.
    if header.nbytes > half:
        raise _Unreadable(
            f"{name} takes {memory.described(header.nbytes)}, and half of the memory is "
            f"{memory.described(half)}"
        )
    array = np.empty(math.prod(header.shape), header.dtype)
    content, done = array.view(np.uint8).data, 0
    while done < header.nbytes:
        read = entry.readinto(content[done : done + CHUNK])
        if not read:
            raise _Unreadable(f"{name} ends after {done} of {header.nbytes} bytes")
        done += read
    return array.reshape(header.shape, order="F" if header.fortran else "C")


def _header(entry: Any, size: int, name: str) -> Header:
    """Reads the header of an array, and checks it against the size of its file or entry."""
    version = np.lib.format.read_magic(entry)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise _Unreadable(f"{name} is of version {version}, which holds no plain numbers")
    try:
        shape, fortran, dtype = read(entry)
    except Exception as error:  # The tokenizer and the parser of Python have errors of many kinds.
        raise _Unreadable(f"{name} has a damaged header ({type(error).__name__})") from None
    header = Header(tuple(shape), dtype, fortran)
    if dtype.hasobject or dtype.names or dtype.subdtype or not dtype.itemsize:
        raise _Unreadable(f"{name} holds {dtype}, which is no type of numbers or texts")
    if any(type(n) is not int or n < 0 for n in shape) or len(shape) > 32:
        raise _Unreadable(f"{name} has the shape {shape}")
    if header.nbytes != (found := size - entry.tell()):
        raise _Unreadable(f"{name} should have {header.nbytes} bytes and has {found}")
    return header
