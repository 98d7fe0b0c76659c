"""Published weight files: found or fetched, checked against a hash, read as tensors only.

A `.pth` file is a pickle beside raw numbers, and a pickle may name any function to be called.
Here it may name storages of numbers, the function that shapes one and OrderedDict, and each of
those names stands for a function of this file; at any other name reading ends. PyTorch is not
needed.
"""

import collections
import hashlib
import importlib.util
import os
import pickle
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import platformdirs

from ganjax.errors import UserError

# The first number of a file of the format before zip archives (PyTorch 1.5 and older).
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
    """A weight file that is missing, or not what it should be."""


class File(NamedTuple):
    """A published weight file.

    Attributes:
      name: of the file in the cache.
      sha256: of its content.
      package: (package, path within it) of the Python package that carries it; None: none does.
      urls: where it is published, tried in order.
    """

    name: str
    sha256: str
    package: tuple[str, str] | None = None
    urls: tuple[str, ...] = ()


def load(file: File, path: str | Path | None = None) -> dict[str, np.ndarray]:
    """The tensors of a published file, by name.

    Args:
      file: which.
      path: where it lies; None looks in its package, then in the cache, which is filled over
        https if the file is in neither.

    Raises:
      WeightsError: it is nowhere, it cannot be fetched, or its hash is another.
    """
    path = locate(file) if path is None else Path(path)
    try:
        found = sha256(path)
    except OSError as error:
        raise WeightsError(
            f"{path}: the weights {file.name} cannot be read there ({error.strerror}); "
            f"{_mend(file)}"
        ) from None
    if found != file.sha256:
        raise WeightsError(
            f"{path}: its sha256 is {found}, that of {file.name} is {file.sha256}: not that file, "
            f"or not all of it; {_mend(file)}"
        )
    return read(path)


def cached(file: File) -> Path:
    """Where a file lies once it has been fetched, or is put by hand."""
    return Path(platformdirs.user_cache_dir("ganjax")) / "weights" / file.name


def locate(file: File) -> Path:
    """The path of a file in its package or in the cache, fetched if it must be.

    Raises:
      WeightsError: it is nowhere and cannot be fetched.
    """
    if file.package:
        spec = importlib.util.find_spec(file.package[0])
        for folder in spec.submodule_search_locations if spec else ():
            path = Path(folder) / file.package[1]
            if path.is_file():
                return path
    path = cached(file)
    if not path.is_file():
        _fetch(file, path)
    return path


def _mend(file: File) -> str:
    if file.package:
        return f"pip install {file.package[0].replace('_', '-')}"
    return f"get it from {file.urls[0]} and put it at {cached(file)}"


def _fetch(file: File, path: Path) -> None:
    """Fills the cache; what has another hash never gets its name there."""
    reason = "no address is known"
    path.parent.mkdir(parents=True, exist_ok=True)
    # By process, so that two at once do not write one file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    for url in file.urls:
        print(f"fetching {url} to {path}", file=sys.stderr, flush=True)
        try:
            with (
                urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as source,
                temporary.open("wb") as target,
            ):
                while chunk := source.read(CHUNK_BYTES):
                    target.write(chunk)
            if (found := sha256(temporary)) == file.sha256:
                os.replace(temporary, path)
                return
            reason = f"{url} sent a file with the sha256 {found}"
        except (OSError, urllib.error.URLError) as error:
            reason = f"{url}: {getattr(error, 'reason', error)}"
        finally:
            temporary.unlink(missing_ok=True)
    raise WeightsError(f"the weights {file.name} cannot be fetched ({reason}); {_mend(file)}")


def sha256(path: Path) -> str:
    """Of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a `.pth` file of either format, by name; nothing in it is executed.

    Args:
      path: of a file that holds a state dict: names and tensors.

    Raises:
      WeightsError: it is no such file, or it names anything but tensors.
    """
    try:
        with path.open("rb") as file:
            tensors = _read_zip(file) if zipfile.is_zipfile(file) else _read_legacy(file)
        named = isinstance(tensors, dict) and all(isinstance(name, str) for name in tensors)
        if not named or not all(isinstance(value, _Tensor) for value in tensors.values()):
            raise WeightsError("it holds no names with tensors")
        return {name: tensor.array() for name, tensor in tensors.items()}
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}; only weights from a known source are read") from None
    # What an unpickler raises on bytes that are no pickle is anything.
    except Exception as error:
        raise WeightsError(
            f"{path} is no weight file of PyTorch ({type(error).__name__}: {error}); fetch it anew"
        ) from None


class _Storage:
    """The numbers of one storage; of the legacy format they come after the pickle."""

    def __init__(self, dtype: str, size: int):
        self.dtype, self.size = np.dtype(dtype), size
        self.numbers: np.ndarray | None = None

    def fill(self, data: bytes) -> None:
        numbers = np.frombuffer(data, self.dtype)
        if len(numbers) != self.size:
            raise WeightsError(f"a storage has {len(numbers)} numbers instead of {self.size}")
        self.numbers = numbers


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        if not all(n >= 0 for n in (self.offset, *self.shape, *self.strides)):
            raise WeightsError("a tensor has a negative size")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if 0 not in self.shape and last >= self.storage.size:
            raise WeightsError("a tensor reaches beyond its storage")
        numbers = self.storage.numbers[self.offset :]
        strides = [s * self.storage.dtype.itemsize for s in self.strides]
        return np.lib.stride_tricks.as_strided(numbers, self.shape, strides).copy()


class _Call:
    """What a permitted name stands for. Without attributes, so that a pickle can set none."""

    __slots__ = ("_function",)

    def __init__(self, function):
        object.__setattr__(self, "_function", function)

    def __setattr__(self, name, value):
        raise WeightsError(f"it sets {name!r}")

    def __call__(self, *args):
        return self._function(*args)


def _tensor(storage, offset, shape, strides, *_):
    if not isinstance(storage, _Storage):
        raise WeightsError("a tensor has no storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
    """Reads the structure of a weight file; `storages` collects what it refers to by key."""

    def __init__(self, file: BinaryIO):
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
        raise WeightsError(f"it names {module}.{name}, which is no tensor")

    def persistent_load(self, identity):
        kind, dtype, key, _, size, *view = identity
        if kind != "storage" or dtype not in DTYPES.values() or any(view):
            raise WeightsError(f"it refers to {identity!r}, which is no storage")
        return self.storages.setdefault(key, _Storage(dtype, size))


def _read_zip(file: BinaryIO):
    with zipfile.ZipFile(file) as archive:
        (root,) = {name.split("/")[0] for name in archive.namelist()}
        order = f"{root}/byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise WeightsError("its numbers are big-endian")
        with archive.open(f"{root}/data.pkl") as pickled:
            unpickler = _Unpickler(pickled)
            tensors = unpickler.load()
        for key, storage in unpickler.storages.items():
            storage.fill(archive.read(f"{root}/data/{key}"))
    return tensors


def _read_legacy(file: BinaryIO):
    file.seek(0)
    if _Unpickler(file).load() != LEGACY_MAGIC:
        raise WeightsError("it does not begin as a file of PyTorch does")
    _Unpickler(file).load()  # The protocol's number.
    if not _Unpickler(file).load().get("little_endian"):
        raise WeightsError("its numbers are big-endian")
    unpickler = _Unpickler(file)
    tensors = unpickler.load()
    for key in _Unpickler(file).load():
        storage = unpickler.storages[key]
        if int.from_bytes(file.read(8), "little") != storage.size:
            raise WeightsError("a storage has another size than its tensor")
        storage.fill(file.read(storage.size * storage.dtype.itemsize))
    return tensors
