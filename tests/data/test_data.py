"""Sources and the pipeline: what is in a batch, and that seed and step alone decide it."""

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import DATA
from PIL import Image

from ganjax.data import fit, pipeline, splits
from ganjax.data.fields import DataFields
from ganjax.data.sources import open_source
from ganjax.engine.phases import Phase
from ganjax.errors import DataError
from ganjax.parallel.sharding import make_layout

PHASE = Phase(start=0, stop=1_000, batch_size=16, image_size=32)


def opened(name, split, *, image_size, **fields):
    return open_source(DataFields(source=name, **DATA | fields), split, image_size=image_size)


def digits(split="train"):
    return opened(
        "embedded:mnist5k",
        split,
        image_size=32,
        label="label",
        num_classes=10,
        channels=1,
        fit="pad",
    )


def batches(start=0, seed=0, reals=2, phase=PHASE, **options):
    layout = make_layout()
    return pipeline.train_batches(
        digits(), phase, seed=seed, reals=reals, start=start, sharding=layout.batches, **options
    )


def test_embedded_digits():
    train, held = digits("train"), digits("validation")
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


def test_embedded_emoji_resized_and_grey():
    source = opened("embedded:emoji64", "train", image_size=32, channels=3, fit="resize")
    full = opened("embedded:emoji64", "train", image_size=64, channels=3, fit="resize")
    small, large = (s.fetch(np.arange(5))["image"] for s in (source, full))
    area = large.reshape(5, 32, 2, 32, 2, 3).astype(np.float64).mean((2, 4))
    assert np.abs(small - area).max() <= 1  # Pillow rounds after each axis.
    grey = opened("embedded:emoji64", "train", image_size=64, channels=1, fit="resize")
    luma = large @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey.fetch(np.arange(5))["image"][..., 0] - luma).max() <= 1


def test_resize_crops_the_central_square():
    image = np.zeros((20, 10, 3), np.uint8)
    image[5:15] = 200
    assert np.all(fit.FITS["resize"](image, 5) == 200)
    up = fit.FITS["resize"](image, 20)
    expected = Image.fromarray(image[5:15]).resize((20, 20), Image.Resampling.BICUBIC)
    assert np.array_equal(up, np.asarray(expected))


def test_pad_centres_on_the_background():
    image = np.full((2, 2, 3), 7, np.uint8)
    image[1, 1] = 9
    padded = fit.FITS["pad"](image, 4)
    assert np.all(padded[0] == 7)
    assert np.all(padded[2, 2] == 9)


@pytest.mark.parametrize("size", [7, 10])
def test_order_is_one_permutation_after_another(size):
    every = pipeline.order(0, 0, size, 0, 3 * size)
    epochs = every.reshape(3, size)
    assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])
    np.testing.assert_array_equal(pipeline.order(0, 0, size, 5, size), every[5 : 5 + size])
    assert not np.array_equal(every, pipeline.order(1, 0, size, 0, 3 * size))
    assert not np.array_equal(every, pipeline.order(0, 100, size, 0, 3 * size))


def test_the_order_of_data_is_frozen():
    """A run resumed under another version of NumPy must see the same images."""
    assert pipeline.order(0, 0, 10, 8, 4).tolist() == [5, 7, 6, 7]


def test_batches_are_sharded_uint8_and_follow_the_order():
    batch = next(batches())
    assert batch["image"].shape == (2, 16, 32, 32, 1)
    assert batch["image"].dtype == np.uint8
    assert len(batch["image"].sharding.device_set) == 8
    indices = pipeline.order(0, 0, 4_500, 0, 32)
    expected = digits().fetch(indices)
    np.testing.assert_array_equal(batch["image"].reshape(32, 32, 32, 1), expected["image"])
    np.testing.assert_array_equal(batch["label"].reshape(32), expected["label"])


def test_a_run_resumed_at_any_step_sees_the_same():
    first = batches()
    whole = [next(first)["image"] for _ in range(6)]
    resumed = batches(start=4)
    for image in whole[4:]:
        np.testing.assert_array_equal(image, next(resumed)["image"])
    assert not np.array_equal(whole[0], next(batches(seed=1))["image"])


def test_the_pipeline_ends_with_its_phase():
    assert sum(1 for _ in batches(start=995)) == 5


def test_set_on_the_devices_gives_the_same_batches():
    near, far = batches(on_device=True), batches()
    for _ in range(3):
        a, b = next(near), next(far)
        assert a["image"].sharding == b["image"].sharding
        jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_set_too_large_for_the_devices_is_refused(monkeypatch):
    monkeypatch.setattr(pipeline, "ON_DEVICE_BYTES", 1 << 20)
    with pytest.raises(DataError, match=r"config.data.on_device=True: the set is 0.0 GiB"):
        pipeline.check(digits(), on_device=True)
    pipeline.check(digits(), on_device=False)


def test_each_process_reads_only_its_columns():
    """The parts that the devices of two processes would read make up the batch."""
    devices = jax.devices()
    read = []
    source = digits()
    recording = source._replace(fetch=lambda i: read.append(i) or source.fetch(i))
    layout = make_layout(devices[4:])
    next(iter(pipeline.eval_batches(recording, 8, limit=1, sharding=layout.batches)))
    assert read[0].tolist() == list(range(8))

    class Half:
        """The sharding as the second of two processes sees it."""

        def addressable_devices_indices_map(self, shape):
            every = make_layout(devices).batches.devices_indices_map(shape)
            return {device: every[device] for device in devices[4:]}

    assert pipeline._local_columns(Half(), 2, 16) == slice(8, 16)


def test_small_held_out_split_fills_a_batch():
    source = digits("validation")._replace(size=5)
    (batch,) = pipeline.eval_batches(source, 16, limit=9, sharding=make_layout().batches)
    np.testing.assert_array_equal(batch["image"][0, :5], batch["image"][0, 5:10])


def test_eval_batches_are_limited():
    source = digits("validation")
    sharding = make_layout().batches
    assert sum(1 for _ in pipeline.eval_batches(source, 16, limit=3, sharding=sharding)) == 3
    assert sum(1 for _ in pipeline.eval_batches(source, 16, limit=99, sharding=sharding)) == 31


def test_tfds_without_tensorflow():
    with tfds.testing.mock_data(num_examples=40):
        source = opened("tfds:cifar10", "train", image_size=16, channels=3, fit="resize")
        held = opened("tfds:cifar10", "validation", image_size=16, channels=1, fit="resize")
        assert source.label_names == ()
        assert source.fetch(np.arange(3))["image"].shape == (3, 16, 16, 3)
        assert held.fetch(np.arange(3))["image"].shape == (3, 16, 16, 1)
        assert not source.fetch(np.arange(3))["label"].any()
        faces = opened("tfds:celeb_a", "train", image_size=64, channels=3, fit="resize")
        assert faces.fetch(np.arange(2))["image"].shape == (2, 64, 64, 3)


IMAGES = {"image_size": 32, "channels": 3, "fit": "resize"}


def test_labels_of_tfds_sets():
    """Classes, a binary attribute, integers that have no names."""
    with tfds.testing.mock_data(num_examples=60):
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
        ("tfds:cifar10", "label", 5, r"num_classes=5: .* has 10 classes; set that"),
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
def test_labels_that_cannot_be(name, label, classes, message):
    with (
        tfds.testing.mock_data(num_examples=3),
        pytest.raises(DataError, match=message) as caught,
    ):
        opened(name, "train", label=label, num_classes=classes, **IMAGES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnist5k", "'mnist5k': write embedded:<name>"),
        ("embedded:mnist", "'embedded:mnist': there are mnist5k, emoji64 only"),
        ("tfds:no_such_set", "TFDS has no set of that name"),
        ("tfds:cifar10/foo", "TFDS has no set of that name"),
        ("tfds:celeb_a", "python -m ganjax.data.prepare --source=tfds:celeb_a"),
        ("tfds:imdb_reviews", 'no "image"'),
        ("embedded:emoji64", "images of 64x64 do not fit into config.image_size=32"),
    ],
)
def test_errors_name_the_mend(name, message, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match=message) as caught:
        opened(name, "train", image_size=32, channels=1, fit="pad")
    assert "\n" not in str(caught.value)


def test_mirrored_batches():
    """A fair coin for each position, the same for a run resumed, on the device or off it."""
    plain, near, far = batches(), batches(mirror=True, on_device=True), batches(mirror=True)
    coins = pipeline.mirrored(0, 0, 4_500, 0, 64).reshape(2, 2, 16)
    for flips in coins:
        image = np.asarray(next(plain)["image"])
        expected = np.where(flips[..., None, None, None], image[..., ::-1, :], image)
        for each in (near, far):
            np.testing.assert_array_equal(next(each)["image"], expected)
    np.testing.assert_array_equal(next(batches(start=2, mirror=True))["image"], next(far)["image"])
    every = pipeline.mirrored(0, 0, 4_500, 0, 9_000).reshape(2, -1)
    assert np.abs(every.mean() - 0.5) < 0.02
    assert np.abs((every[0] == every[1]).mean() - 0.5) < 0.03


def test_subsets_are_nested_and_independent_of_labels():
    fields = {"image_size": 28, "channels": 1}

    def drawn(split="train", **more):
        source = opened("embedded:mnist5k", split, **fields, **more)
        return {image.tobytes() for image in source.fetch(np.arange(source.size))["image"]}

    some, more = drawn(num_examples=100), drawn(fraction=0.2)
    assert (len(some), len(more)) == (100, 900)
    assert some < more < drawn()
    assert some == drawn(num_examples=100, label="label", num_classes=10)
    assert some != drawn(num_examples=100, subset_seed=1)
    assert len(drawn("validation", num_examples=100)) == 500, "all held-out images are kept"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_examples": 4_501}, r"num_examples=4501: embedded:mnist5k has 4500 training images"),
        ({"num_examples": 9, "fraction": 0.5}, r"num_examples=9: config.data.fraction=0.5 is set"),
    ],
)
def test_subsets_that_cannot_be(fields, message):
    with pytest.raises(DataError, match=message):
        opened("embedded:mnist5k", "train", image_size=28, channels=1, **fields)


@pytest.mark.parametrize(
    ("counts", "held"),
    [((500, 30, 10), (50, 3, 1)), ((9, 9, 9), 2), ((3,), 1), ((1, 1), 1), ((100, 4, 4, 4), 11)],
)
def test_held_out_tenth(counts, held):
    """Of every class of ten or more; of all smaller ones together; one at least."""
    label = np.random.RandomState(1).permutation(np.repeat(np.arange(len(counts)), counts))
    mask = splits.held_out(label)
    if isinstance(held, tuple):
        assert tuple(np.bincount(label[mask])) == held
    assert mask.sum() == np.sum(held)
