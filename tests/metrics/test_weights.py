"""Weight files: where each is found, fetched and checked by its hash."""

import hashlib
import http.client
import importlib.util
import sys
import urllib.request

import numpy as np
import pytest

from experiments.faults.weight_files import GOOD, zip_file
from ganjax.metrics import efflite0, hdf5, inception, keras_inception, weights
from ganjax.metrics.weights import File, WeightsError


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
