"""Sources of images by name: their images and labels, and what is refused."""

import numpy as np
import pytest
from small import mock_tfds

from ganjax.data import sources
from ganjax.data.base import Kind, Labels, Opened, Source
from ganjax.data.fields import DataFields
from ganjax.data.sources import SPLITS, open_source
from ganjax.errors import DataError


def opened(name, split, *, image_size, **fields):
    return open_source(DataFields(source=name, **fields), split, image_size=image_size)


def test_embedded_digits_are_padded_and_a_tenth_of_each_class_is_held_out():
    fields = {"label": "label", "num_classes": 10, "channels": 1, "fit": "pad", "image_size": 32}
    train, held = (opened("embedded:mnist5k", split, **fields) for split in SPLITS)
    assert (train.size, held.size) == (4_500, 500)
    assert train.label_names == tuple("0123456789")
    labels = held.fetch(np.arange(500))["label"]
    assert np.array_equal(np.bincount(labels), [50] * 10)  # A tenth of each class.
    every = train.fetch(np.arange(train.size))
    assert every["image"].shape == (4_500, 32, 32, 1)
    assert every["image"].dtype == np.uint8
    assert every["label"].dtype == np.int32
    assert not every["image"][:, :2].any(), "padding is not the background"
    assert every["image"][:, 2:-2, 2:-2].max() == 255
    seen = {image.tobytes() for image in every["image"]}
    assert not any(i.tobytes() in seen for i in held.fetch(np.arange(500))["image"])


def test_embedded_emoji_can_be_resized_and_grey():
    source = opened("embedded:emoji64", "train", image_size=32, channels=3, fit="resize")
    full = opened("embedded:emoji64", "train", image_size=64, channels=3, fit="resize")
    small, large = (s.fetch(np.arange(5))["image"] for s in (source, full))
    area = large.reshape(5, 32, 2, 32, 2, 3).astype(np.float64).mean((2, 4))
    assert np.abs(small - area).max() <= 1  # Pillow rounds after each axis.
    grey = opened("embedded:emoji64", "train", image_size=64, channels=1, fit="resize")
    luma = large @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey.fetch(np.arange(5))["image"][..., 0] - luma).max() <= 1


def test_tfds_sets_are_read_without_tensorflow():
    with mock_tfds(40):
        source = opened("tfds:cifar10", "train", image_size=16, channels=3, fit="resize")
        held = opened("tfds:cifar10", "validation", image_size=16, channels=1, fit="resize")
        assert source.label_names == ()
        assert source.fetch(np.arange(3))["image"].shape == (3, 16, 16, 3)
        assert held.fetch(np.arange(3))["image"].shape == (3, 16, 16, 1)
        assert not source.fetch(np.arange(3))["label"].any()
        faces = opened("tfds:celeb_a", "train", image_size=64, channels=3, fit="resize")
        assert faces.fetch(np.arange(2))["image"].shape == (2, 64, 64, 3)


IMAGES = {"image_size": 32, "channels": 3, "fit": "resize"}


def test_labels_are_read_from_any_integer_or_boolean_feature_of_a_tfds_set():
    """They may be classes, a binary attribute, or integers without names."""
    with mock_tfds(60):
        classes = opened("tfds:cifar10", "train", label="label", num_classes=10, **IMAGES)
        assert len(classes.label_names) == 10
        blond = opened(
            "tfds:celeb_a", "train", label="attributes/Blond_Hair", num_classes=2, **IMAGES
        )
        assert blond.label_names == ("not Blond_Hair", "Blond_Hair")
        labels = blond.fetch(np.arange(30))["label"]
        assert labels.dtype == np.int32
        assert set(labels) == {0, 1}
        eyes = opened(
            "tfds:celeb_a", "train", label="landmarks/lefteye_x", num_classes=300, **IMAGES
        )
        assert eyes.label_names == ()
        assert eyes.fetch(np.arange(30))["label"].max() > 10
        few = opened("tfds:celeb_a", "train", label="landmarks/lefteye_x", num_classes=2, **IMAGES)
        with pytest.raises(DataError, match=r"config.data.num_classes=2: .* has the label \d+"):
            few.fetch(np.arange(30))
        with pytest.raises(DataError, match=r"config.data.num_classes=2: .* has the label \d+"):
            few.labels()


@pytest.mark.parametrize(
    ("name", "label", "classes", "message"),
    [
        (
            "tfds:cifar10",
            "label",
            5,
            r"num_classes=5: .* has 10 classes; set config.data.num_classes=10",
        ),
        ("tfds:cifar10", "", 5, r"num_classes=5: config.data.label is empty"),
        ("tfds:cifar10", "lable", 10, r"label='lable': .* has \['id', 'image', 'label'\], not"),
        ("tfds:celeb_a", "attributes/Blond", 2, r"label='attributes/Blond': attributes has \['5_o"),
        ("tfds:celeb_a", "attributes", 2, r"label='attributes': labels are integers or booleans"),
        ("tfds:celeb_a", "attributes/Blond_Hair/x", 2, r"Blond_Hair has \[\], not 'x'"),
        ("tfds:voc", "objects/label", 20, r"label='objects/label': objects has \[\], not 'label'"),
        ("tfds:cifar10", "image", 2, r"label='image': labels are integers or booleans"),
        ("embedded:emoji64", "tags", 2, r"label='tags': embedded:emoji64 has 'label' only"),
        ("embedded:emoji64", "label", 10, r"num_classes=10: .* has 8 classes"),
    ],
)
def test_a_label_that_a_set_does_not_have_is_refused(name, label, classes, message):
    with (
        mock_tfds(3),
        pytest.raises(DataError, match=message) as caught,
    ):
        opened(name, "train", label=label, num_classes=classes, **IMAGES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnist5k", "'mnist5k': write embedded:<name>"),
        ("embedded:mnist", "'embedded:mnist': there are mnist5k, emoji64, stacked_mnist only"),
        ("tfds:no_such_set", "TFDS has no set of that name"),
        ("tfds:cifar10/foo", "TFDS has no set of that name"),
        ("tfds:celeb_a", "ganjax prepare --source=tfds:celeb_a"),
        ("tfds:imdb_reviews", 'no "image"'),
        ("embedded:emoji64", "images of 64x64 do not fit into config.image_size=32"),
    ],
)
def test_a_source_that_does_not_exist_is_refused_and_the_mend_is_named(
    name, message, tmp_path, monkeypatch
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match=message) as caught:
        opened(name, "train", image_size=32, channels=1, fit="pad")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("labels_file", "a.csv", "labels_file='a.csv': only folder:<path> takes one; set ''"),
        ("min_side", 16, "min_side=16: only folder:<path> takes one; set 1"),
        ("max_skipped", 3, "max_skipped=3: only folder:<path> takes one; set 0"),
    ],
)
@pytest.mark.parametrize("name", ["embedded:mnist5k", "tfds:mnist", "records:nowhere"])
def test_a_field_of_another_kind_of_source_is_refused(name, field, value, message):
    with pytest.raises(DataError) as caught:
        opened(name, "train", image_size=32, **{field: value})
    assert str(caught.value) == f"config.data.{message}"


def test_a_new_kind_of_source_needs_one_line_in_the_table(monkeypatch):
    """Its own fields are refused for other kinds, errors list it, and a tenth is held out."""

    def open_stripes(name, split, data, image_size):
        images = np.zeros((30, image_size, image_size, data.channels), np.uint8)
        images[:, :: int(name)] = 9
        label = np.zeros(30, np.int32)
        fetch = lambda i: {"image": images[i], "label": label[i]}  # noqa: E731
        source = Source(30, fetch, (), lambda: label, lambda: {"label": Labels(label, ())})
        return Opened(source, is_split=False)

    stripes = Kind(open_stripes, usage="<pixels>", own_fields=("on_device",))
    monkeypatch.setitem(sources.SOURCES, "stripes", stripes)
    train, held = (opened("stripes:4", s, image_size=8, on_device=True) for s in SPLITS)
    assert (train.size, held.size) == (27, 3)
    assert train.fetch(np.arange(2))["image"][1, :, 0, 0].tolist() == [9, 0, 0, 0] * 2
    with pytest.raises(DataError, match="on_device=True: only stripes:<pixels> takes one; set F"):
        opened("embedded:emoji64", "train", image_size=8, on_device=True)
    with pytest.raises(DataError, match=r" or stripes:<pixels>$"):
        opened("nothing:", "train", image_size=8)


def test_stacked_digits_are_of_their_own_split_and_the_same_each_time():
    digits = DataFields(source="embedded:mnist5k", label="label", num_classes=10, channels=1)
    stacked = DataFields(
        source="embedded:stacked_mnist", label="label", num_classes=1_000, channels=3
    )
    for split, size in (("train", 64_000), ("validation", 25_600)):
        grey = open_source(digits, split, image_size=28)
        known = {
            (image.tobytes(), label)
            for image, label in zip(*grey.fetch(np.arange(grey.size)).values(), strict=True)
        }
        source = open_source(stacked, split, image_size=28)
        assert source.size == size
        batch = source.fetch(np.array([0, 5, size - 1]))
        for image, label in zip(batch["image"], batch["label"], strict=True):
            for channel, digit in enumerate((*divmod(label // 10, 10), label % 10)):
                assert (image[..., channel, None].tobytes(), digit) in known
        again = open_source(stacked, split, image_size=28).fetch(np.array([5]))
        np.testing.assert_array_equal(again["image"][0], batch["image"][1])
        counts = np.bincount(source.labels(), minlength=1_000)
        assert counts.min() > 0
        assert np.abs(counts - size / 1_000).max() < 6 * np.sqrt(size / 1_000)


def test_stacked_digits_are_in_three_channels():
    data = DataFields(source="embedded:stacked_mnist", channels=1)
    with pytest.raises(DataError, match=r"channels=1: embedded:stacked_mnist stacks 3 digits; set"):
        open_source(data, "train", image_size=32)
