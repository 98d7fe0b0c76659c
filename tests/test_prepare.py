"""Sets decoded and resized once: what is written, what training checks, what outlives a kill."""

import json
import signal
import subprocess
import sys
import time

import filelock
import numpy as np
import pytest
from conftest import DATA, ROOT, write_images
from PIL import Image

from ganjax.config import DataConfig
from ganjax.data import prepare, records
from ganjax.data.base import DataError
from ganjax.data.sources import open_source
from ganjax.errors import UserError

SPLITS = ("train", "validation")


def data(source, **fields):
    return DataConfig(source=str(source), **DATA | fields)


def everything(source):
    return source.fetch(np.arange(source.size))


@pytest.fixture(scope="module")
def emoji(tmp_path_factory):
    """embedded:emoji64 at 64x64, in shards of 100."""
    out = tmp_path_factory.mktemp("sets") / "emoji"
    prepare.prepare(data("embedded:emoji64"), 64, out, workers=3, shard_bytes=100 * 64 * 64 * 3)
    return out


@pytest.fixture
def copy(emoji, tmp_path):
    """A copy to damage."""
    subprocess.run(["cp", "-r", emoji, tmp_path / "set"], check=True)
    return tmp_path / "set"


LABELLED = {"label": "label", "num_classes": 8}


def test_a_prepared_set_is_the_source(emoji):
    for split in SPLITS:
        direct, made = (
            open_source(data(source, **LABELLED), split, image_size=64)
            for source in ("embedded:emoji64", f"records:{emoji}")
        )
        assert direct.label_names == made.label_names
        np.testing.assert_array_equal(direct.labels(), made.labels())
        for name, leaf in everything(direct).items():
            np.testing.assert_array_equal(leaf, everything(made)[name])
    assert not list(emoji.parent.glob("*.partial"))
    assert sorted(path.name for path in emoji.iterdir()) == [
        "labels.npz",
        "manifest.json",
        *(f"train-{i:05}-of-00015.array_record" for i in range(15)),
        *(f"validation-{i:05}-of-00002.array_record" for i in range(2)),
    ]


@pytest.mark.parametrize("size", [32, 16, 4])
def test_lower_resolutions_are_areas(emoji, size):
    source = open_source(data(f"records:{emoji}"), "validation", image_size=size)
    full = open_source(data(f"records:{emoji}"), "validation", image_size=64)
    indices = np.array([5, 3, 150])
    cells = full.fetch(indices)["image"].reshape(3, size, 64 // size, size, 64 // size, 3)
    count = (64 // size) ** 2
    expected = (2 * cells.sum((2, 4), dtype=int) + count) // (2 * count)
    np.testing.assert_array_equal(source.fetch(indices)["image"], expected)


def test_grey_from_colour(emoji):
    grey = open_source(data(f"records:{emoji}", channels=1), "validation", image_size=64)
    direct = open_source(data("embedded:emoji64", channels=1), "validation", image_size=64)
    np.testing.assert_array_equal(everything(grey)["image"], everything(direct)["image"])


def test_every_label_and_the_skipped_come_along(tmp_path):
    root = write_images(tmp_path / "images", 20, size=16)
    (root / "bad.png").write_bytes(b"")
    rows = "".join(f"{i:03}.png,{i % 2 * 2 - 1},{i * 1000}\n" for i in range(20))
    (tmp_path / "labels.csv").write_text("file,tall,number\n" + rows)
    fields = {"labels_file": str(tmp_path / "labels.csv"), "max_skipped": 1, "channels": 1}
    said = prepare.prepare(data(f"folder:{root}", **fields), 8, tmp_path / "out")
    assert "18 training and 2 held-out images of 8x8x1 in 2 shards" in said
    assert "1 skipped" in said
    tall = data(f"records:{tmp_path / 'out'}", label="tall", num_classes=2, channels=1)
    source = open_source(tall, "train", image_size=8)
    assert source.label_names == ("not tall", "tall")
    assert set(source.features()) == {"tall", "number"}
    assert source.features()["number"].values.max() >= 18_000
    ((file, reason),) = source.skipped
    assert (file, reason) == ("bad.png", "no PNG, JPEG, WebP or BMP image")
    # The same again finds it done; with other settings it is refused.
    assert prepare.prepare(data(f"folder:{root}", **fields), 8, tmp_path / "out") == said
    with pytest.raises(UserError, match=r"--out=.* holds a set with another size; name another"):
        prepare.prepare(data(f"folder:{root}", **fields), 16, tmp_path / "out")
    with pytest.raises(UserError, match=r"--out=.* is there already and no prepared set"):
        prepare.prepare(data(f"folder:{root}", **fields), 8, root)


CHILD = """
import sys
from pathlib import Path
from ganjax.config import DataConfig
from ganjax.data.prepare import prepare
prepare(DataConfig.model_validate_json(sys.argv[1]), 16, Path(sys.argv[2]), shard_bytes=8 * 768)
"""


def test_a_kill_keeps_the_finished_shards(tmp_path):
    root = write_images(tmp_path / "images", 400, size=128)
    config, out = data(f"folder:{root}"), tmp_path / "set"
    partial = tmp_path / "set.partial"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, config.model_dump_json(), str(out)], cwd=ROOT
    )
    deadline = time.monotonic() + 60
    while len(list(partial.glob("*.array_record"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "it was finished before it was killed"
    assert not out.exists()
    kept = {path: path.stat().st_mtime_ns for path in partial.glob("*.array_record")}
    assert 3 <= len(kept) < 50
    prepare.prepare(config, 16, out, shard_bytes=8 * 768)
    assert {path: (out / path.name).stat().st_mtime_ns for path in kept} == kept
    assert not list(out.glob(".*"))
    for split in SPLITS:
        direct = open_source(config, split, image_size=16)
        made = open_source(data(f"records:{out}"), split, image_size=16)
        np.testing.assert_array_equal(everything(direct)["image"], everything(made)["image"])


def test_what_was_begun_with_other_images_is_begun_anew(tmp_path):
    root = write_images(tmp_path / "images", 20, size=16)
    config, out = data(f"folder:{root}"), tmp_path / "set"
    partial = tmp_path / "set.partial"
    prepare.prepare(config, 8, out, shard_bytes=192)
    out.rename(partial)  # As if killed just before its end, its settings not yet written.
    Image.new("L", (16, 16)).save(root / "more.png")
    prepare.prepare(config, 8, out, shard_bytes=192)
    made = [open_source(data(f"records:{out}"), split, image_size=8) for split in SPLITS]
    assert sum(source.size for source in made) == 21
    assert len(list(out.glob("*.array_record"))) == 21


def test_one_process_a_folder(tmp_path):
    partial = tmp_path / "set.partial"
    partial.mkdir()
    with (
        filelock.FileLock(partial / ".lock"),
        pytest.raises(UserError, match=r"--out=.*set: another process is making it"),
    ):
        prepare.prepare(data("embedded:emoji64"), 64, tmp_path / "set")


def edit(**changes):
    def damage(root):
        path = root / records.MANIFEST
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


@pytest.mark.parametrize(
    ("damage", "fields", "message"),
    [
        (lambda r: None, {"image_size": 48}, r"images of 64x64, which are read at .*=48$"),
        (lambda r: None, {"image_size": 128}, r"not at config.image_size=128"),
        (lambda r: None, {"fit": "pad"}, r"config.data.fit='pad': .* prepared with 'resize'"),
        (lambda r: None, {"label": "tags"}, r"config.data.label='tags': .* has 'label' only"),
        (lambda r: (r / "manifest.json").unlink(), {}, r"no prepared set is there .* python -m"),
        (lambda r: (r / "manifest.json").write_text("{"), {}, r"manifest.json is damaged"),
        (edit(format=99), {}, r"manifest.json is damaged or of another version"),
        (edit(settings={"fit": "resize"}), {}, r"manifest.json is damaged"),
        (lambda r: (r / "labels.npz").unlink(), {}, r"labels.npz is missing or damaged"),
        (
            lambda r: (r / "train-00003-of-00015.array_record").unlink(),
            {},
            r"train-00003-of-00015.array_record is missing; prepare the set again",
        ),
        (
            lambda r: (r / "train-00003-of-00015.array_record").write_bytes(b"x"),
            {},
            r"train-00003-of-00015.array_record has 1 bytes, not \d+",
        ),
    ],
)
def test_what_training_checks(copy, damage, fields, message):
    damage(copy)
    fields = dict(fields)
    size = fields.pop("image_size", 64)
    with pytest.raises(DataError, match=message) as caught:
        open_source(data(f"records:{copy}", **fields), "train", image_size=size)
    assert "\n" not in str(caught.value)
