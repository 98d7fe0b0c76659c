"""Published weight files, which are found or fetched, checked by a hash, and read as tensors only.

A `.pth` file is a pickle beside raw numbers, and a pickle may name any function to be called. The
reader here knows only the names of storages, of the function that shapes one, and of OrderedDict,
each of which stands for a function of this module; any other name ends the reading. PyTorch is
not needed.
"""

import collections
import hashlib
import http.client
import importlib.util
import io
import math
import pickle
import sys
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import platformdirs

from ganjax.errors import UserError
from ganjax.runtime import regular, storage

# The first number of a file in the format of PyTorch 1.5 and older, before zip archives.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 30


class WeightsError(UserError):
    """The error for a weight file that is missing, or that is not the file it should be."""


class File(NamedTuple):
    """A published weight file.

    Attributes:
      name: the file's name in the cache.
      hash: the hash of its content, in hexadecimal.
      algorithm: the algorithm of that hash: "sha256", or "md5" where no other is published.
      package: the Python package that contains the file, and the path within; None if none does.
      urls: the addresses where it is published, which are tried in order.
      read: reads its tensors by name; None is `read`, of files of PyTorch.
      requires: the Python module that `read` needs, which the extra of ganjax of the same name
        installs; "" for none.
    """

    name: str
    hash: str
    algorithm: str = "sha256"
    package: tuple[str, str] | None = None
    urls: tuple[str, ...] = ()
    read: Callable[[Path], dict[str, np.ndarray]] | None = None
    requires: str = ""


def load(file: File, path: str | Path | None = None) -> dict[str, np.ndarray]:
    """Loads the tensors of a published file, by name.

    Args:
      file: the published file.
      path: where it is. None looks in its package, then in the cache, and fetches the file into
        the cache over https if it is in neither.

    Raises:
      WeightsError: the file is missing, cannot be fetched, or has another hash, or the module that
        reads it is not installed.
    """
    if file.requires and importlib.util.find_spec(file.requires) is None:
        raise WeightsError(
            f"the weights {file.name} are read by {file.requires}, which is not installed: "
            f"pip install 'ganjax[{file.requires}]'"
        )
    path = locate(file) if path is None else Path(path).expanduser()
    try:
        found = digest(path, file.algorithm)
    except OSError as error:
        raise WeightsError(
            f"{path}: the weights {file.name} cannot be read there ({error.strerror}); "
            f"{_mend(file)}"
        ) from None
    if found != file.hash:
        raise WeightsError(
            f"{path}: its {file.algorithm} is {found}, that of {file.name} is {file.hash}: not "
            f"that file, or not all of it; {_mend(file)}"
        )
    return (file.read or read)(path)


def cached(file: File) -> Path:
    """Returns the path at which a fetched file is kept, and where it may be put by hand."""
    return Path(platformdirs.user_cache_dir("ganjax")) / "weights" / file.name


def locate(file: File) -> Path:
    """Returns the path of a file, in its package or in the cache, to which it may be fetched.

    Raises:
      WeightsError: the file is in neither and cannot be fetched.
    """
    if file.package:
        spec = importlib.util.find_spec(file.package[0])
        for folder in (spec and spec.submodule_search_locations) or ():
            path = Path(folder) / file.package[1]
            if path.is_file():
                return path
    path = cached(file)
    if not path.is_file():
        _fetch(file, path)
    return path


def _mend(file: File) -> str:
    """Returns what a user can do if a file is missing, for an error message."""
    if file.package:
        return f"pip install {file.package[0].replace('_', '-')}"
    source = f"get it from {file.urls[0]}" if file.urls else "get it"
    return (
        f"{source} and name it by --weights or config.evaluation.weights, or put it at "
        f"{cached(file)}"
    )


def _fetch(file: File, path: Path) -> None:
    """Fetches a file to `path` in the cache, where nothing with another hash ever appears."""
    reason = "no address is known"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(
            f"{path.parent}: the weights {file.name} cannot be kept there ({error.strerror}); "
            f"{_mend(file)}"
        ) from None
    for url in file.urls:
        print(f"fetching {url} to {path}", file=sys.stderr, flush=True)
        try:
            with storage.replacing(path) as temporary:
                with (
                    urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as source,
                    temporary.open("wb") as target,
                ):
                    while chunk := source.read(CHUNK_BYTES):
                        target.write(chunk)
                if (found := digest(temporary, file.algorithm)) != file.hash:
                    raise OSError(f"it sent a file with the {file.algorithm} {found}")
            return
        except (OSError, http.client.HTTPException) as error:  # OSError: urllib's own too.
            reason = f"{url}: {getattr(error, 'reason', error)}"
    raise WeightsError(f"the weights {file.name} cannot be fetched ({reason}); {_mend(file)}")


def digest(path: Path, algorithm: str) -> str:
    """Returns the hash of a file's content by an algorithm of `hashlib`, in hexadecimal."""
    with regular.open_bytes(path) as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def read(path: Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a `.pth` file of either format, by name, and executes nothing in it.

    Args:
      path: a file that holds a state dict: names and tensors.

    Raises:
      WeightsError: the file holds no state dict, or names anything but tensors.
    """
    try:
        with regular.open_bytes(path) as file:
            tensors, numbers = (_read_zip if zipfile.is_zipfile(file) else _read_legacy)(file)
        # Not tensors.items(): a pickle may give an OrderedDict another attribute `items`.
        items = list(dict.items(tensors)) if isinstance(tensors, dict) else []
        named = all(isinstance(name, str) and type(value) is _Tensor for name, value in items)
        if not items or not named:
            raise WeightsError("it holds no names with tensors")
        return {name: _array(tensor, numbers[tensor.storage.key]) for name, tensor in items}
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}; only weights from a known source are read") from None
    # An unpickler may raise anything on bytes that are no pickle.
    except Exception as error:
        raise WeightsError(
            f"{path} is no weight file of PyTorch ({error!r}); fetch it anew"
        ) from None


# A pickle is given only objects that it cannot change (tuples and `_Call`s), never the numbers.
class _Storage(NamedTuple):
    """A storage of numbers as a pickle describes it."""

    key: str
    dtype: np.dtype
    size: int

    def filled(self, data: bytes) -> np.ndarray:
        """Returns the storage's numbers, read-only, from its bytes."""
        numbers = np.frombuffer(data, self.dtype)
        if len(numbers) != self.size:
            raise WeightsError(f"a storage has {len(numbers)} numbers instead of {self.size}")
        return numbers


class _Tensor(NamedTuple):
    """A tensor as a pickle describes it, which has not been checked."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _array(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    """Makes a tensor from its storage's numbers, once its description is found to fit them."""
    _, offset, shape, strides = tensor
    sizes = (offset, *shape, *strides)
    if not all(type(n) is int and n >= 0 for n in sizes) or len(shape) != len(strides):
        raise WeightsError("a tensor has a negative size, or one that is no number")
    if 0 in shape:
        return np.zeros(shape, numbers.dtype)
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if last >= len(numbers):
        raise WeightsError("a tensor reaches beyond its storage")
    if math.prod(shape) > len(numbers):  # By strides of 0.
        raise WeightsError("a tensor has more elements than its storage")
    strides = [s * numbers.itemsize for s in strides]
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, strides).copy()


class _Call:
    """A function for a permitted name, without attributes that a pickle could set."""

    __slots__ = ("_function",)

    def __init__(self, function):
        object.__setattr__(self, "_function", function)

    def __setattr__(self, name, value):
        raise WeightsError(f"it sets {name!r}")

    def __call__(self, *args):
        return self._function(*args)


def _tensor(storage, offset, shape, strides, *_):
    """Replaces PyTorch's function that shapes a storage."""
    if type(storage) is not _Storage:
        raise WeightsError("a tensor has no storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
    """A reader of a weight file's structure; `storages` collects the storages by their keys."""

    def __init__(self, file: io.BufferedIOBase):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module, name):
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Call(_tensor)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _Call(lambda tensor, *_: tensor)
        if (module, name) == ("collections", "OrderedDict"):
            return _Call(collections.OrderedDict)
        raise WeightsError(f"it names {f'{module}.{name}'!r}, which is no tensor")

    def persistent_load(self, identity):
        kind, dtype, key, _, size, *view = identity
        if kind != "storage" or dtype not in DTYPES.values() or any(view):
            raise WeightsError(f"it refers to {identity!r}, which is no storage")
        if type(key) is not str or type(size) is not int or size < 0:
            raise WeightsError(f"it refers to a storage {key!r} of {size!r} numbers")
        return self.storages.setdefault(key, _Storage(key, np.dtype(dtype), size))


def _read_zip(file: io.BufferedIOBase):
    """Reads a zip archive: the pickled object, and the numbers of each storage by its key."""
    with zipfile.ZipFile(file) as archive:
        (root,) = {name.split("/")[0] for name in archive.namelist()}
        order = f"{root}/byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise WeightsError("its numbers are big-endian")
        unpickler = _Unpickler(io.BytesIO(archive.read(f"{root}/data.pkl")))
        tensors = unpickler.load()
        storages = unpickler.storages.items()
        return tensors, {
            key: storage.filled(archive.read(f"{root}/data/{key}")) for key, storage in storages
        }


def _read_legacy(file: io.BufferedIOBase):
    """Reads the older format, whose storages follow the pickles; returns as `_read_zip` does."""
    file.seek(0)
    if _Unpickler(file).load() != LEGACY_MAGIC:
        raise WeightsError("it does not begin as a file of PyTorch does")
    _Unpickler(file).load()  # The protocol's number.
    if not dict.get(_Unpickler(file).load(), "little_endian"):
        raise WeightsError("its numbers are big-endian")
    unpickler, numbers = _Unpickler(file), {}
    tensors = unpickler.load()
    for key in _Unpickler(file).load():
        storage = unpickler.storages[key]
        if int.from_bytes(file.read(8), "little") != storage.size:
            raise WeightsError("a storage has another size than its tensor")
        numbers[key] = storage.filled(file.read(storage.size * storage.dtype.itemsize))
    return tensors, numbers
