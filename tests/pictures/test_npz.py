"""Arrays in .npz files: as numpy writes and reads them, and nothing that numpy would fall for."""

import io
import os
import tracemalloc
import zipfile

import numpy as np
import pytest

from ganjax.errors import DataError
from ganjax.pictures import npz
from ganjax.runtime import memory


def read(path, name="image"):
    with npz.opened(path) as arrays:
        return arrays.read(name)


def npy(array, **changed):
    """The bytes of an .npy entry, whose header may say something else."""
    file = io.BytesIO()
    header = np.lib.format.header_data_from_array_1_0(array) | changed
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + array.tobytes("A")


def zipped(path, content, name="image.npy", method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, content)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_read_as_numpy_saves_them(save, tmp_path):
    random = np.random.RandomState(0)
    arrays = {
        "image": random.randint(0, 256, (3, 4, 5, 3), np.uint8),
        "fortran": np.asfortranarray(random.randn(3, 4)),
        "big": np.arange(6, dtype=">i4").reshape(2, 3),
        "text": np.array(["a", "bcd"]),
        "scalar": np.float32(3),
        "none": np.zeros((0, 4), np.int64),
    }
    save(tmp_path / "a.npz", **arrays)
    with npz.opened(tmp_path / "a.npz") as found:
        assert found.names == tuple(arrays)
        for name, array in arrays.items():
            header = found.header(name)
            assert (header.shape, header.dtype) == (array.shape, array.dtype)
            np.testing.assert_array_equal(found.read(name), array, strict=True)


def test_batches_are_written_as_the_whole_array_would_be_without_holding_it(tmp_path):
    whole = np.random.RandomState(0).randint(0, 256, (4_000, 32, 32, 1), np.uint8)
    batches = npz.Batches(whole.shape, whole.dtype, lambda: iter(np.array_split(whole, 40)))
    arrays = {"image": batches, "label": np.arange(4_000)}
    tracemalloc.start()
    with (tmp_path / "a.npz").open("wb") as file:
        npz.write(file, arrays)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < whole.nbytes // 8
    with np.load(tmp_path / "a.npz", allow_pickle=False) as found:
        np.testing.assert_array_equal(found["image"], whole)
        np.testing.assert_array_equal(found["label"], arrays["label"])


GOOD = np.zeros((2, 3), np.uint8)
HOSTILE = {
    "not a zip": (lambda path: path.write_bytes(b"PK\x03\x04 no zip"), "not a zip file"),
    "no npy": (lambda path: zipped(path, b"hello, this is text"), "magic string is not correct"),
    "empty": (lambda path: zipped(path, b""), "expected 8 bytes got 0"),
    "objects": (lambda path: zipped(path, npy(GOOD, descr="|O")), "no type of numbers"),
    "negative": (lambda path: zipped(path, npy(GOOD, shape=(-2, -3))), r"has the shape \(-2, -3\)"),
    "too long": (lambda path: zipped(path, npy(GOOD, shape=(9, 9))), "should have 81 bytes and ha"),
    "huge": (lambda path: zipped(path, npy(GOOD, shape=(10**9,) * 4)), "should have 1000.* and ha"),
    "no code": (
        lambda path: zipped(path, npy(GOOD).replace(b"(2, 3)", b"print()")[:-1]),
        r"has a damaged header \(ValueError\)",
    ),
    "open bracket": (
        lambda path: zipped(path, npy(GOOD).replace(b"(2, 3)", b"((2, 3")),
        r"has a damaged header \(TokenError\)",
    ),
    "lzma": (
        lambda path: zipped(path, npy(GOOD), method=zipfile.ZIP_LZMA),
        "compressed by another method",
    ),
    "cut": (
        lambda path: path.write_bytes(zipped(path, npy(GOOD)).read_bytes()[:-40]),
        "not a zip file",
    ),
    "flipped": (
        lambda path: path.write_bytes(
            zipped(path, npy(np.full((2, 3), 7, np.uint8)))
            .read_bytes()
            .replace(b"\7" * 6, b"\6" * 6)
        ),
        "Bad CRC-32",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(kind, tmp_path):
    make, reason = HOSTILE[kind]
    make(tmp_path / "a.npz")
    with pytest.raises(DataError, match=rf"a.npz cannot be read as an .npz of arrays \(.*{reason}"):
        read(tmp_path / "a.npz")


def test_a_zip_that_expands_out_of_proportion_is_not_expanded(tmp_path):
    size = npz.UNSUSPICIOUS + (1 << 20)
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("image.npy", "w") as entry,
    ):
        np.lib.format.write_array_header_1_0(
            entry, {"descr": "|u1", "fortran_order": False, "shape": (size,)}
        )
        zeros = bytes(1 << 24)
        for first in range(0, size, len(zeros)):
            entry.write(zeros[: size - first])
    tracemalloc.start()
    with pytest.raises(DataError, match=r"expands from .* MiB to 257 MiB, which no images do"):
        read(tmp_path / "a.npz")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_an_array_that_the_memory_cannot_hold_is_refused_with_its_figure(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", image=np.zeros((3, 1 << 20), np.uint8))
    monkeypatch.setattr(memory, "total", lambda: 4 << 20)
    with pytest.raises(DataError, match=r"'image' takes 3 MiB, and half of the memory is 2 MiB"):
        read(tmp_path / "a.npz")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(DataError, match="it is no regular file"):
        read(tmp_path / "a.npz")
