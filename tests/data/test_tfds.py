"""A TFDS set that is really prepared on disk, by a builder that needs no TensorFlow."""

import io
import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from ganjax.data import tfds as ours
from ganjax.data.fields import DataFields
from ganjax.data.fit import area
from ganjax.data.sources import open_source
from ganjax.errors import DataError, UserError

# Images and boxes (ymin, xmin, ymax, xmax in pixels) with caltech_birds2011's features.
EXTENT = (40, 50)
BOXES = [(10, 10, 26, 26), (0, 30, 16, 50), (4, 4, 36, 20)]
# The crops of these, by hand: (height, width, top, left).
CROPS = [(20, 20, 8, 8), (16, 20, 0, 30), (40, 24, 0, 0)]
COUNT = 30
DATA_DIR = "tensorflow_datasets.core.constants.DATA_DIR"
PICTURES = np.random.RandomState(0).randint(0, 256, (COUNT, *EXTENT, 3), np.uint8)


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "png")
    file.seek(0)
    return file


@pytest.fixture(scope="session")
def builder():
    """The set's builder, which TFDS knows by the name of its class and takes once."""
    import tensorflow_datasets as tfds

    class SmallBirds(tfds.core.GeneratorBasedBuilder):
        """Noise with caltech_birds2011's features; its mask is no image, which shows it unread."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            names = ["crow", "duck", "wren"]
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Image(shape=(None, None, 3)),
                        "segmentation_mask": tfds.features.Image(shape=(None, None, 1)),
                        "label": tfds.features.ClassLabel(names=names),
                        "marks": {"rare": tfds.features.Scalar(np.bool_)},
                        "bbox": tfds.features.BBoxFeature(),
                    }
                ),
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i, picture in enumerate(PICTURES):
                box = np.array(BOXES[i % 3]) / np.tile(EXTENT, 2)
                yield (
                    i,
                    {
                        "image": png(picture),
                        "segmentation_mask": io.BytesIO(b"not decoded"),
                        "label": i % 3,
                        "marks": {"rare": i < 10},
                        "bbox": tfds.features.BBox(*box),
                    },
                )

    return SmallBirds


@pytest.fixture(scope="module")
def folder(builder, tmp_path_factory):
    """TFDS's folder, where the command has prepared the set."""
    folder = tmp_path_factory.mktemp("tfds")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(DATA_DIR, str(folder))
        with pytest.raises(DataError, match=r"prepare --source=tfds:small_birds"):
            opened("train")
        said = ours.download("small_birds")
        assert "--config.data.source=tfds:small_birds" in said
        assert list(folder.rglob("*.array_record*"))
        ours.download("small_birds")  # And once more does no harm.
        yield folder


def opened(split, image_size=16, **fields):
    data = DataFields(source="tfds:small_birds", **fields)
    return open_source(data, split, image_size=image_size)


def test_a_tenth_of_a_set_without_a_validation_split_is_held_out(folder):
    fields = {"label": "label", "num_classes": 3, "fit": "bounding_box"}
    train, held = (opened(split, **fields) for split in ("train", "validation"))
    assert train.label_names == ("crow", "duck", "wren")
    assert np.bincount(train.labels()).tolist() == [9, 9, 9]
    assert np.bincount(held.labels()).tolist() == [1, 1, 1]
    images = []
    for source in (train, held):
        batch = source.fetch(np.arange(source.size))
        np.testing.assert_array_equal(batch["label"], source.labels())
        images += list(batch["image"])
    expected = []
    for i, picture in enumerate(PICTURES):
        height, width, top, left = CROPS[i % 3]
        expected.append(area(picture[top : top + height, left : left + width], 16, 16))
    assert sorted(map(bytes, images)) == sorted(map(bytes, expected))


def test_every_feature_that_can_be_a_label_is_listed(folder):
    found = opened("train").features()
    assert {name: each.names for name, each in found.items()} == {
        "label": ("crow", "duck", "wren"),
        "marks/rare": ("not rare", "rare"),
    }
    rare = opened("train", label="marks/rare", num_classes=2)
    assert rare.fetch(np.arange(rare.size))["label"].sum() == rare.labels().sum()
    # The same images, whatever label is read.
    every = np.arange(rare.size)
    expected = opened("train").fetch(every)["image"]
    np.testing.assert_array_equal(rare.fetch(every)["image"], expected)


def test_a_set_prepared_in_another_format_is_refused_and_the_mend_is_named(
    folder, tmp_path, monkeypatch
):
    """The format is the one that download_and_prepare() makes by default with TensorFlow."""
    shutil.copytree(folder, tmp_path / "tfds")
    monkeypatch.setattr(DATA_DIR, str(tmp_path / "tfds"))
    before = opened("train").fingerprint
    (path,) = tmp_path.rglob("dataset_info.json")
    info = json.loads(path.read_text())
    assert info["fileFormat"] == "array_record"
    path.write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    for answer in (lambda: opened("train"), lambda: ours.download("small_birds")):
        with pytest.raises(DataError, match=r"prepared as tfrecord under .*TFDS_DATA_DIR=") as e:
            answer()
        assert "\n" not in str(e.value)
    info["splits"][0]["shardLengths"] = ["29"]
    path.write_text(json.dumps(info))
    assert opened("train").fingerprint != before


def test_a_failed_download_is_reported_in_one_line(builder, tmp_path, monkeypatch):
    from tensorflow_datasets.core.utils import py_utils

    monkeypatch.setattr(DATA_DIR, str(tmp_path))

    def needy(self, *args, **kwargs):
        with pytest.MonkeyPatch.context() as patched:
            patched.setitem(sys.modules, "tensorflow", None)  # As where it is not installed.
            import tensorflow  # noqa: F401

    def reraised(self, *args, **kwargs):
        with py_utils.try_reraise("as TFDS passes it on: "):  # Without its name.
            needy(self)

    for generators, needed in ((needy, "tensorflow"), (reraised, "TensorFlow")):
        monkeypatch.setattr(builder, "_split_generators", generators)
        with pytest.raises(UserError, match=rf"TFDS needs {needed}: pip install 'ganjax\[tf\]'"):
            ours.download("small_birds")

    def offline(self, *args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr(builder, "_split_generators", offline)
    with pytest.raises(UserError, match=r"could not prepare it .*ConnectionError: no route"):
        ours.download("small_birds")
