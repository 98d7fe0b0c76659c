"""Reads the tensors of PyTorch's weight files, without PyTorch and without its pickle's power.

A `.pth` file is a pickle beside raw numbers. A pickle is a program, which may name any function to
be called, and which Python's own interpreter lets take any amount of memory and time. The
interpreter here knows only the instructions of a state dict: texts and numbers, tuples, lists and
dicts, storages, and the function that shapes one. Its memory and time are in proportion to the
file.
"""

import io
import math
import pickletools
import zipfile
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from ganjax.errors import UserError
from ganjax.runtime import regular

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
# What a pickle may name.
NAMES = {
    *("collections.OrderedDict", "torch._utils._rebuild_tensor_v2"),
    *("torch._utils._rebuild_parameter", *(f"torch.{name}" for name in DTYPES)),
}
# How many times larger than its file the tensors may be in all: several may share a storage.
MOST_SHARED = 4
# The most characters of a file's own words in an error.
LONGEST = 200


class WeightsError(UserError):
    """The error for a weight file that is missing, or that is not the file it should be."""


def read(path: Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a `.pth` file of either format, by name, and executes nothing in it.

    Args:
      path: a file that holds a state dict: names and tensors.

    Raises:
      WeightsError: the file holds no state dict, or names anything but tensors.
    """
    try:
        with regular.open_bytes(path) as file:
            size = file.seek(0, io.SEEK_END)
            tensors, numbers = (_read_zip if zipfile.is_zipfile(file) else _read_legacy)(file, size)
        items = list(tensors.items()) if isinstance(tensors, dict) else []
        named = all(isinstance(name, str) and type(value) is _Tensor for name, value in items)
        if not items or not named:
            raise WeightsError("it holds no names with tensors")
        needed = sum(tensor.nbytes for _, tensor in items)
        if needed > MOST_SHARED * size:
            raise WeightsError(f"its tensors take {needed} bytes, and the file has {size}")
        return {name: _array(tensor, numbers[tensor.storage.key]) for name, tensor in items}
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}; only weights from a known source are read") from None
    # Bytes that are no pickle raise anything.
    except Exception as error:
        raise WeightsError(
            f"{path} is no weight file of PyTorch ({_short(repr(error))}); fetch it anew"
        ) from None


class _Name(NamedTuple):
    """A function or class that a pickle names."""

    name: str


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
    """A tensor as a pickle describes it, whose place in its storage has not been checked."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """The bytes of the tensor."""
        return math.prod(self.shape) * self.storage.dtype.itemsize


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> _Tensor:
    """Does what PyTorch's function does that shapes a storage."""
    if type(storage) is not _Storage:
        raise WeightsError("a tensor has no storage")
    if not (type(shape) is type(strides) is tuple and len(shape) == len(strides) <= 32):
        raise WeightsError("a tensor has a shape that is none")
    if not all(type(n) is int and 0 <= n < 2**63 for n in (offset, *shape, *strides)):
        raise WeightsError("a tensor has a negative size, or one that is no number")
    return _Tensor(storage, offset, shape, strides)


def _array(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    """Makes a tensor from its storage's numbers, once it is found to lie in them."""
    _, offset, shape, strides = tensor
    if 0 in shape:
        return np.zeros(shape, numbers.dtype)
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if last >= len(numbers):
        raise WeightsError("a tensor reaches beyond its storage")
    if math.prod(shape) > len(numbers):  # By strides of 0.
        raise WeightsError("a tensor has more elements than its storage")
    strides = [s * numbers.itemsize for s in strides]
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, strides).copy()


def _read_zip(file: IO[bytes], size: int) -> tuple[Any, dict[str, np.ndarray]]:
    """Reads a zip archive.

    Returns:
      The pickled object, and the numbers of each storage by its key.
    """
    with zipfile.ZipFile(file) as archive:
        (root,) = {name.split("/")[0] for name in archive.namelist()}
        left = size

        def content(name):
            nonlocal left
            entry = archive.getinfo(f"{root}/{name}")
            left -= entry.file_size  # Entries may lie over one another.
            if entry.compress_type != zipfile.ZIP_STORED or left < 0:
                raise WeightsError(f"{_short(name)} is compressed, which PyTorch's are not")
            return archive.read(entry)

        if f"{root}/byteorder" in archive.namelist() and content("byteorder") != b"little":
            raise WeightsError("its numbers are big-endian")
        pickled = _Interpreter(io.BytesIO(content("data.pkl")))
        tensors = pickled.load()
        storages = pickled.storages.items()
        return tensors, {key: each.filled(content(f"data/{key}")) for key, each in storages}


def _read_legacy(file: IO[bytes], size: int) -> tuple[Any, dict[str, np.ndarray]]:
    """Reads the older format, whose storages follow the pickles; returns as `_read_zip` does."""
    file.seek(0)
    if _Interpreter(file).load() != LEGACY_MAGIC:
        raise WeightsError("it does not begin as a file of PyTorch does")
    _Interpreter(file).load()  # The protocol's number.
    system = _Interpreter(file).load()
    if not (isinstance(system, dict) and system.get("little_endian")):
        raise WeightsError("its numbers are big-endian")
    pickled, numbers = _Interpreter(file), {}
    tensors = pickled.load()
    for key in _Interpreter(file).load():
        storage = pickled.storages[key]
        if int.from_bytes(file.read(8), "little") != storage.size:
            raise WeightsError("a storage has another size than its tensor")
        wanted = storage.size * storage.dtype.itemsize
        numbers[key] = storage.filled(file.read(min(wanted, size)))
    return tensors, numbers


class _Mark:
    """Marks a place on the stack of an `_Interpreter`."""


class _Interpreter:
    """Interprets one pickle, of the instructions that a state dict needs.

    Args:
      file: the file, which is read up to the end of the pickle.

    Attributes:
      storages: the storages that the pickle describes, by their keys.
    """

    def __init__(self, file: IO[bytes]):
        self.storages: dict[str, _Storage] = {}
        self._file = file
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """Returns the object that the pickle describes.

        Raises:
          WeightsError: the pickle has another instruction, or names another function.
        """
        for instruction, argument, _ in pickletools.genops(self._file):
            if instruction.name == "STOP":
                return self._stack.pop()
            self._do(instruction.name, argument)
        raise WeightsError("its pickle has no end")

    def _do(self, name: str, argument: Any) -> None:
        stack, memo = self._stack, self._memo
        match name:
            case "PROTO" | "FRAME":
                pass
            case _ if name in VALUES:
                stack.append(argument)
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(name == "NEWTRUE")
            case "MARK":
                stack.append(_Mark)
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "TUPLE":
                stack.append(tuple(self._marked()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "APPEND":
                self._extend([stack.pop()])
            case "APPENDS":
                self._extend(self._marked())
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self._set([key, value])
            case "SETITEMS":
                self._set(self._marked())
            case "GLOBAL":
                stack.append(_named(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(_named(f"{module}.{attribute}"))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_called(function, arguments))
            case "BUILD":
                # PyTorch gives the dict further attributes, which are not needed.
                state = stack.pop()
                if type(stack[-1]) is not dict or type(state) is not dict:
                    raise WeightsError("it sets attributes")
            case "BINPERSID":
                stack.append(self._storage(stack.pop()))
            case _:
                raise WeightsError(f"it has the instruction {name}, which no weights need")

    def _marked(self) -> list[Any]:
        """Takes what is above the last mark from the stack."""
        above = []
        while (each := self._stack.pop()) is not _Mark:
            above.append(each)
        return above[::-1]

    def _extend(self, values: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise WeightsError("it appends to what is no list")
        self._stack[-1].extend(values)

    def _set(self, items: list[Any]) -> None:
        into, keys = self._stack[-1], items[::2]
        # The hash of other keys, such as tuples in tuples, may take for ever.
        if type(into) is not dict or not all(type(key) in (str, int) for key in keys):
            raise WeightsError("it holds no names with tensors")
        into.update(zip(keys, items[1::2], strict=True))

    def _storage(self, identity: Any) -> _Storage:
        if type(identity) is not tuple or not 5 <= len(identity) <= 6:
            raise WeightsError("it refers to something that is no storage")
        kind, dtype, key, _, size, *view = identity
        named = type(dtype) is _Name and dtype.name.removeprefix("torch.") in DTYPES
        if kind != "storage" or not named or view not in ([], [None]):
            raise WeightsError("it refers to something that is no storage")
        if type(key) is not str or type(size) is not int or not 0 <= size < 2**63:
            raise WeightsError("it refers to a storage with a key or a size that is none")
        dtype = np.dtype(DTYPES[dtype.name.removeprefix("torch.")])
        return self.storages.setdefault(key, _Storage(key, dtype, size))


# The instructions whose argument is a value.
VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"),
}


def _named(name: str) -> _Name:
    if name not in NAMES:
        raise WeightsError(f"it names {_short(repr(name))}, which is no tensor")
    return _Name(name)


def _called(function: Any, arguments: Any) -> Any:
    """Does what the functions do that a pickle may name."""
    if type(function) is not _Name or type(arguments) is not tuple:
        raise WeightsError("it calls what is no function")
    match function.name, arguments:
        case "collections.OrderedDict", ():
            return {}
        case "torch._utils._rebuild_tensor_v2", (storage, offset, shape, strides, *_):
            return _tensor(storage, offset, shape, strides)
        case "torch._utils._rebuild_parameter", (tensor, *_):
            return tensor
    raise WeightsError(f"it calls {function.name} with other arguments than PyTorch does")


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
