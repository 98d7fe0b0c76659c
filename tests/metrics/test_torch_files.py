"""PyTorch's files, both formats, assembled by hand: read as tensors and nothing else."""

import io
import pickle
import re
import struct
import zipfile

import numpy as np
import pytest

from experiments.faults.weight_files import (
    FORMATS,
    GOOD,
    KEEP,
    NUMBERS,
    REBUILD,
    built,
    integer,
    legacy_file,
    name,
    pickled,
    state_dict,
    stored,
    tensor,
    text,
    zip_file,
)
from ganjax.metrics import torch_files
from ganjax.metrics.torch_files import WeightsError


@pytest.fixture
def read(tmp_path):
    def run(content):
        path = tmp_path / "weights.pth"
        path.write_bytes(content)
        return torch_files.read(path)

    return run


@pytest.mark.parametrize("form", FORMATS)
def test_tensors(form, read):
    found = read(FORMATS[form](GOOD))
    np.testing.assert_array_equal(found["whole"], NUMBERS.reshape(3, 4))
    np.testing.assert_array_equal(found["part"], [[1, 5, 9], [2, 6, 10]])
    assert found["whole"].dtype == np.float32


# What such a file could do to whoever loads it by pickle, and how; none of it may happen.
CALLS = {
    "a call": lambda mark: name("os", "system") + b"(" + text(f"touch {mark}") + b"tR",
    "eval": lambda mark: (
        name("builtins", "eval") + b"(" + text(f"open({str(mark)!r}, 'w')") + b"tR"
    ),
    "a call below torch": lambda mark: (
        name("torch.hub", "_exec") + b"(" + text(f"touch {mark}") + b"tR"
    ),
    "the dotted way": lambda mark: (
        name("collections", "OrderedDict.__init__") + b"(" + text("x") + b"tR"
    ),
    "an old instance": lambda mark: b"(ios\nsystem\n",
    "state": lambda mark: REBUILD + b"}(" + text("_function") + integer(1) + b"ub",
    "state of slots": lambda mark: REBUILD + b"N}(" + text("_function") + integer(1) + b"u\x86b",
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("call", CALLS)
def test_a_malicious_file_is_refused_and_nothing_runs(form, call, read, tmp_path):
    mark = tmp_path / "was_here"
    body = state_dict(whole=tensor((3, 4), (4, 1)), bad=CALLS[call](mark))
    with pytest.raises(WeightsError, match=r"weights\.pth"):
        read(FORMATS[form](body))
    assert not mark.exists()


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_cannot_change_its_storages(form, read):
    """Or it could say that one is larger than what was read, and be given the memory beyond."""
    numbers = b"B" + struct.pack("<I", 8) + b"A" * 8
    for state in (built(size=integer(1 << 30)), built(filled=KEEP, numbers=numbers)):
        body = state_dict(x=tensor((256,), (4,), storage=stored() + state))
        with pytest.raises(WeightsError, match=r"sets attributes|instruction BINBYTES"):
            read(FORMATS[form](body))


def test_attributes_of_an_ordered_dict_are_not_looked_at(read):
    """PyTorch itself sets some: `_metadata`. Others would hide what is not a tensor."""
    empty = name("collections", "OrderedDict")
    hide = built(_metadata=empty + b")R", values=empty, items=empty, get=empty)
    np.testing.assert_array_equal(read(zip_file(GOOD + hide))["whole"], NUMBERS.reshape(3, 4))
    with pytest.raises(WeightsError, match="no names with tensors"):
        read(zip_file(state_dict(x=integer(3)) + hide))


def test_the_malicious_file_would_run_by_pickle(tmp_path):
    """So that the test above tests something."""
    mark = tmp_path / "was_here"
    pickle.loads(pickled(CALLS["a call"](mark)))
    assert mark.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no weight file"),
        (b"junk" * 100, "no weight file"),
        (zip_file(GOOD)[:200], "no weight file"),
        (legacy_file(GOOD)[:-4], "a storage has 11 numbers instead of 12"),
        (zip_file(GOOD, numbers=NUMBERS[:3]), "3 numbers instead of 12"),
        (zip_file(state_dict(x=tensor((13,), (1,)))), "beyond its storage"),
        (zip_file(state_dict(x=tensor((2,), (1,), offset=-1))), "negative"),
        (zip_file(state_dict(x=tensor((2,), (-1,)))), "negative"),
        (zip_file(state_dict(x=tensor((13,), (0,)))), "more elements than its storage"),
        (zip_file(state_dict(x=tensor((1 << 30,), (0,)))), "take 4294967296 bytes, and the file h"),
        (zip_file(state_dict(x=tensor((2,), ()))), "a shape that is none"),
        (
            zip_file(state_dict(x=tensor((12,), (1,), storage=stored(-1)))),
            "a storage with a key or a size that is none",
        ),
        (zip_file(state_dict(x=tensor((12,), (1,), storage=integer(1)))), "has no storage"),
        (
            zip_file(state_dict(x=text("os\nx") + text("sys\n\x1b[1mtem") + b"\x93")),
            r"it names 'os\nx.sys\n\x1b[1mtem'",
        ),
        (zip_file(state_dict(x=integer(3))), "no names with tensors"),
        (zip_file(state_dict()), "no names with tensors"),
        (zip_file(integer(3)), "no names with tensors"),
        (zip_file(GOOD, byteorder="big"), "big-endian"),
        (legacy_file(state_dict(x=name("torch.nn", "Module"))), "names 'torch.nn.Module'"),
    ],
)
def test_broken_files(content, message, read):
    with pytest.raises(WeightsError, match=re.escape(message)) as error:
        read(content)
    assert "\n" not in str(error.value)


def nested(depth):
    """A tuple of two tuples of two tuples, ..., each of which is pickled once."""
    once = b")" + b"q\x00"
    return once + b"".join(b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(depth))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zip_file(state_dict(x=b"N" + b"r\xff\xff\xff\x7f")), "no names with tensors"),
        (zip_file(name("collections", "OrderedDict") + b")R" + nested(99) + b"Ks"), "no names wi"),
        (zip_file(state_dict(x=nested(99) + b"Q")), "something that is no storage"),
        (zip_file(state_dict(x=b"\x96" + b"\xff" * 6 + b"\0\0")), "no weight file of PyTorch"),
        (
            zip_file(
                state_dict(**{f"x{i}": tensor((9_999,), (1,), 0, stored(9_999)) for i in range(9)}),
                numbers=np.zeros(9_999, np.float32),
            ),
            "its tensors take 359964 bytes",
        ),
    ],
)
def test_a_small_file_takes_little_time_and_memory(content, message, read):
    """Python's own unpickler would take gigabytes, or 2 ** 99 steps."""
    with pytest.raises(WeightsError, match=message):
        read(content)


def test_a_compressed_entry_is_not_expanded(read):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickled(GOOD))
        archive.writestr("a/data/0", bytes(10**7))
    with pytest.raises(WeightsError, match=r"data\.pkl is compressed"):
        read(file.getvalue())
