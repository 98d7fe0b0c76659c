"""Sources of one's own: what a function may return, and what is refused in one line."""

import re
import sys
import textwrap
import types

import numpy as np
import pytest
from conftest import ROOT

from ganjax.data.fields import DataFields
from ganjax.data.own import Images
from ganjax.data.sources import SPLITS, open_source
from ganjax.errors import DataError, UserError
from ganjax.training.loop import train
from ganjax.training.writer import read_metrics

NOISE = np.random.RandomState(0).randint(0, 256, (40, 8, 8, 3), np.uint8)
KINDS = np.repeat([0, 1], 20)


@pytest.fixture
def source(monkeypatch):
    """Returns a function that opens both splits of the set that another function returns."""

    def opened(function, *, image_size=8, **fields):
        module = types.ModuleType("my_set")
        module.images = function
        monkeypatch.setitem(sys.modules, "my_set", module)
        data = DataFields(source="python:my_set:images", **fields)
        return [open_source(data, split, image_size=image_size) for split in SPLITS]

    return opened


def whole(images):
    """A function that returns a set without splits."""
    return lambda split: images if split == "train" else None


def test_of_a_set_without_splits_a_share_of_each_class_is_held_out(source):
    labelled = Images(NOISE, {"label": KINDS, "dark": KINDS < 1}, {"label": ("one", "two")})
    training, held_out = source(whole(labelled), label="label", num_classes=2, held_out=0.2)
    assert (training.size, held_out.size) == (32, 8)
    assert np.bincount(held_out.labels()).tolist() == [4, 4]
    assert training.label_names == ("one", "two")
    assert training.features()["dark"].names == ("not dark", "dark")
    batch = training.fetch(np.arange(32))
    assert batch["label"].dtype == np.int32
    where = [np.flatnonzero((image == NOISE).all((1, 2, 3))).item() for image in batch["image"]]
    assert KINDS[where].tolist() == batch["label"].tolist()
    assert where == sorted(where), "images keep the order of the function"


def test_a_set_may_have_splits_of_its_own(source):
    training, held_out = source(lambda split: NOISE[:30] if split == "train" else NOISE[30:])
    assert np.array_equal(training.fetch(np.arange(30))["image"], NOISE[:30])
    assert np.array_equal(held_out.fetch(np.arange(10))["image"], NOISE[30:])
    with pytest.raises(DataError, match=r"held_out=0.0: .* has a held-out split of its own; leave"):
        source(lambda split: NOISE, held_out=0.0)


def test_images_are_fitted_as_those_of_any_source(source):
    """They may be grey, without an axis of channels, transparent, of 16 bits and of any size."""
    clear = np.zeros((16, 16, 4), np.uint8)
    images = [np.full((8, 12), 7, np.uint8), clear, np.full((8, 8, 1), 257 * 9, np.uint16)]
    (training, _) = source(whole(images), held_out=0.0, background=(1, 2, 3))
    found = training.fetch(np.arange(3))["image"]
    assert found.shape == (3, 8, 8, 3)
    assert [image[0, 0].tolist() for image in found] == [[7, 7, 7], [1, 2, 3], [9, 9, 9]]


def test_a_class_is_called_once_for_each_split(source):
    calls = []

    class Squares:
        """Images that are made when they are asked for, as a dataset of PyTorch makes them."""

        def __init__(self, split):
            calls.append(split)

        def __len__(self):
            return 20

        def __getitem__(self, index):
            return np.full((8, 8, 3), index, np.uint8)

    training, held_out = source(Squares)
    source(Squares)
    assert sorted(calls) == ["train", "validation"]
    assert (training.size, held_out.size) == (20, 20)
    assert training.fetch(np.array([3, 5]))["image"][:, 0, 0, 0].tolist() == [3, 5]


def test_the_fingerprint_is_of_images_and_labels_unless_it_is_given(source):
    def fingerprint(*images):
        return source(whole(Images(*images)))[0].fingerprint

    one = fingerprint(NOISE, {"label": KINDS})
    assert one == fingerprint(list(NOISE.copy()), {"label": KINDS})
    assert one != fingerprint(NOISE, {"label": 1 - KINDS})
    assert one != fingerprint(255 - NOISE, {"label": KINDS})
    assert fingerprint(NOISE, {}, {}, "version 1") == fingerprint(255 - NOISE, {}, {}, "version 1")


def broken(split):
    raise KeyError("no such file")


class Torn(list):
    def __getitem__(self, index):
        raise OSError("torn")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda split: None, r": its function returned None for 'train'; return images"),
        (whole(3), r"returned a int for 'train'; return images with a length and an index"),
        (whole([]), r"returned no image for 'train'"),
        (whole(NOISE[:1]), r"holds one image; there must be two"),
        (whole(NOISE / 255), r"image 0 is float64; return uint8, levels from 0 to 255"),
        (whole(NOISE[:, 0, 0]), r"image 0 has the shape \(3,\); return \(H, W\) or"),
        (whole(Torn([1, 2])), r"image 0: OSError: torn"),
        (whole(Images(NOISE, {"label": KINDS[:3]})), r"'label' are int64 \(3,\); .* each of 40"),
        (whole(Images(NOISE, {"a": KINDS / 2})), r"'a' are float64 \(40,\); return one integer"),
        (whole(Images(NOISE, {"a": KINDS << 40})), r"'a' go to 1099511627776; count from 0"),
        (whole(Images(NOISE, {}, {"a": ("b",)})), r"names are given of 'a', of which"),
        (whole(Images(NOISE, {"a": KINDS})), r"label='kind': .* has 'a' only, or '' for none"),
        (broken, rf"^{re.escape(__file__)}:\d+: KeyError: 'no such file'$"),
    ],
)
def test_what_is_no_set_of_images_is_refused_in_one_line(source, function, message):
    function.__module__ = __name__
    with pytest.raises(UserError, match=message) as caught:
        source(function, label="kind", num_classes=2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_file", "'python:my_file': write python:<module>:<function>, such as"),
        ("my_file.py:images", r"there is no module my_file\.py; Python finds modules in the curr"),
        ("no_file:images", "there is no module no_file; Python finds modules in the current fold"),
        ("my_file:pictures", "my_file has no function pictures"),
        ("my_wrong_file:images", r"my_wrong_file\.py:2: NameError: name 'wrong' is not defined"),
        ("my_lame_file:images", r"my_lame_file\.py:1: ModuleNotFoundError: No module named 'mis"),
    ],
)
def test_a_function_that_cannot_be_found_is_told(name, message, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_file.py").write_text("def images(split):\n    return None\n")
    (tmp_path / "my_wrong_file.py").write_text("\nwrong\n")
    (tmp_path / "my_lame_file.py").write_text("import missing\n")
    with pytest.raises(UserError, match=message) as caught:
        open_source(DataFields(source=f"python:{name}"), "train", image_size=8)
    assert "\n" not in str(caught.value)


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The module of the example in docs/own_source.md."""
    text = (ROOT / "docs" / "own_source.md").read_text()
    (code, *_) = re.findall(r"```python\n# my_set.py\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my_set.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_set", raising=False)
    yield "python:my_set:discs"
    sys.modules.pop("my_set", None)


def test_the_example_of_the_documentation_is_a_set_with_labels(example):
    data = DataFields(source=example, label="label", num_classes=2)
    training, held_out = (open_source(data, split, image_size=64) for split in SPLITS)
    assert (training.size, held_out.size) == (1_800, 200)
    batch = training.fetch(np.arange(20))
    large = (batch["image"] != 255).any(-1).mean((1, 2)) > 0.3
    assert np.array_equal(large, batch["label"])


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_a_run_of_it_may_hold_nothing_out(example, tmp_path, tiny):
    tiny.data.update(source=example, held_out=0.0)
    assert int(train(tiny, tmp_path / "run").step) == tiny.total_steps
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert any("d_loss" in row for row in rows)
    assert not any(name.startswith("val_") for row in rows for name in row)
