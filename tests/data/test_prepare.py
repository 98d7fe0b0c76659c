"""Prepared sets: what is written, what training checks, and what survives a kill."""

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import filelock
import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from conftest import ROOT
from PIL import Image
from small import mock_tfds, write_images

from experiments.faults import mutations
from ganjax.analysis import image_sets
from ganjax.data import base, prepare, record_writer, records
from ganjax.data.fields import DataFields
from ganjax.data.sources import open_source
from ganjax.errors import DataError, UserError

SPLITS = ("train", "validation")


def data(source, **fields):
    return DataFields(source=str(source), **fields)


def everything(source):
    return source.fetch(np.arange(source.size))


@pytest.fixture(scope="module")
def emoji(tmp_path_factory):
    """embedded:emoji64 at 64x64, in shards of 100."""
    out = tmp_path_factory.mktemp("sets") / "emoji"
    prepare.prepare_set(data("embedded:emoji64"), 64, out, workers=3, shard_bytes=100 * 64 * 64 * 3)
    return out


@pytest.fixture
def copy(emoji, tmp_path):
    """A copy to damage."""
    subprocess.run(["cp", "-r", emoji, tmp_path / "set"], check=True)
    return tmp_path / "set"


LABELLED = {"label": "label", "num_classes": 8}


def test_a_prepared_set_holds_the_images_and_labels_of_its_source(emoji):
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
        "checksums.npz",
        "labels.npz",
        "manifest.json",
        *(f"train-{i:05}-of-00015.array_record" for i in range(15)),
        *(f"validation-{i:05}-of-00002.array_record" for i in range(2)),
    ]


@pytest.mark.parametrize("size", [32, 16, 4])
def test_lower_resolutions_are_means_of_cells(emoji, size):
    source = open_source(data(f"records:{emoji}"), "validation", image_size=size)
    full = open_source(data(f"records:{emoji}"), "validation", image_size=64)
    indices = np.array([5, 3, 150])
    cells = full.fetch(indices)["image"].reshape(3, size, 64 // size, size, 64 // size, 3)
    count = (64 // size) ** 2
    expected = (2 * cells.sum((2, 4), dtype=int) + count) // (2 * count)
    np.testing.assert_array_equal(source.fetch(indices)["image"], expected)


def test_a_set_of_images_that_are_not_square_is_read_at_its_size_or_a_half(tmp_path):
    root = write_images(tmp_path / "images", 20, size=30)
    said = prepare.prepare_set(data(f"folder:{root}"), (24, 16), tmp_path / "out")
    assert "18 training and 2 held-out images of 24x16x3" in said
    assert prepare.prepare_set(data(f"folder:{root}"), (24, 16), tmp_path / "out") == said
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    # A number for squares, of which other versions have no pairs.
    assert (manifest["format"], manifest["size"]) == (2, [24, 16])
    made = data(f"records:{tmp_path / 'out'}")
    direct = open_source(data(f"folder:{root}"), "train", image_size=(24, 16))
    image = everything(open_source(made, "train", image_size=(24, 16)))["image"]
    np.testing.assert_array_equal(image, everything(direct)["image"])
    half = everything(open_source(made, "train", image_size=(12, 8)))["image"]
    sums = image.reshape(-1, 12, 2, 8, 2, 3).sum((2, 4), dtype=int)
    np.testing.assert_array_equal(half, (sums + 2) // 4)
    for other in (16, (12, 16), (8, 16)):
        with pytest.raises(DataError, match="has images of 24x16, which are read at that size, a"):
            open_source(made, "train", image_size=other)
    with pytest.raises(UserError, match=r"holds a set with another .*size"):
        prepare.prepare_set(data(f"folder:{root}"), 24, tmp_path / "out")


def test_a_set_in_colour_can_be_read_in_grey(emoji):
    grey = open_source(data(f"records:{emoji}", channels=1), "validation", image_size=64)
    direct = open_source(data("embedded:emoji64", channels=1), "validation", image_size=64)
    np.testing.assert_array_equal(everything(grey)["image"], everything(direct)["image"])


def test_every_label_and_the_skipped_files_are_kept(tmp_path):
    root = write_images(tmp_path / "images", 20, size=16)
    (root / "bad.png").write_bytes(b"")
    rows = "".join(f"{i:03}.png,{i % 2 * 2 - 1},{i * 1000}\n" for i in range(20))
    (tmp_path / "labels.csv").write_text("file,tall,number\n" + rows)
    fields = {"labels_file": str(tmp_path / "labels.csv"), "max_skipped": 1, "channels": 1}
    said = prepare.prepare_set(data(f"folder:{root}", **fields), 8, tmp_path / "out")
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
    assert prepare.prepare_set(data(f"folder:{root}", **fields), 8, tmp_path / "out") == said
    with pytest.raises(UserError, match=r"--out=.* holds a set with another size; name another"):
        prepare.prepare_set(data(f"folder:{root}", **fields), 16, tmp_path / "out")
    with pytest.raises(UserError, match=r"--out=.* is there already and no prepared set"):
        prepare.prepare_set(data(f"folder:{root}", **fields), 8, root)


CHILD = """
import sys
from pathlib import Path
from ganjax.data.fields import DataFields
from ganjax.data.prepare import prepare_set
prepare_set(DataFields.model_validate_json(sys.argv[1]), 16, Path(sys.argv[2]), shard_bytes=8 * 768)
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
    prepare.prepare_set(config, 16, out, shard_bytes=8 * 768)
    assert {path: (out / path.name).stat().st_mtime_ns for path in kept} == kept
    assert not list(out.glob(".*"))
    for split in SPLITS:
        direct = open_source(config, split, image_size=16)
        made = open_source(data(f"records:{out}"), split, image_size=16)
        np.testing.assert_array_equal(everything(direct)["image"], everything(made)["image"])


def renamed(root):
    os.replace(root / "000.png", root / "zzz.png")


def replaced(root):
    """Replaces an image by another one of as many bytes."""
    path = root / "000.bmp"
    before = path.stat()
    Image.new("L", (16, 16), 7).save(path)
    assert path.stat().st_size == before.st_size


@pytest.mark.parametrize("change", [renamed, replaced])
def test_shards_of_other_images_are_not_kept(tmp_path, monkeypatch, change):
    """There are as many images as before; with old shards some would be there twice."""
    root = write_images(tmp_path / "images", 20, size=16)
    Image.open(root / "000.png").save(root / "000.bmp")
    config, out = data(f"folder:{root}"), tmp_path / "set"
    partial = tmp_path / "set.partial"
    write = record_writer._write

    def interrupted(source, first, stop, path, advance):
        if len(list(partial.glob("*.array_record"))) == 9:
            raise OSError("the disk is full")
        write(source, first, stop, path, advance)

    with monkeypatch.context() as patched:
        patched.setattr(record_writer, "_write", interrupted)
        with pytest.raises(OSError, match="disk is full"):
            prepare.prepare_set(config, 8, out, shard_bytes=192)
    assert len(list(partial.glob("*.array_record"))) == 9
    change(root)
    prepare.prepare_set(config, 8, out, shard_bytes=192)
    for split in SPLITS:
        direct = open_source(config, split, image_size=8)
        made = open_source(data(f"records:{out}"), split, image_size=8)
        np.testing.assert_array_equal(everything(direct)["image"], everything(made)["image"])


def test_a_finished_set_of_images_that_changed_is_refused(tmp_path, monkeypatch):
    root = write_images(tmp_path / "images", 20, size=16)
    out = tmp_path / "set"
    said = prepare.prepare_set(data(f"folder:{root}"), 8, out)
    # The same images by another path, and a copy of them, are the same set.
    monkeypatch.chdir(tmp_path)
    assert prepare.prepare_set(data("folder:images"), 8, out) == said
    shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)
    assert prepare.prepare_set(data("folder:copy"), 8, out) == said
    path = out / "manifest.json"
    manifest = json.loads(path.read_text())
    renamed(root)
    with pytest.raises(UserError, match=r"--out=.* other images or labels, .*; name another") as e:
        prepare.prepare_set(data(f"folder:{root}"), 8, out)
    assert "\n" not in str(e.value)
    del manifest["fingerprint"], manifest[records.SEAL]  # A set of before there was any.
    path.write_text(json.dumps(manifest))
    assert prepare.prepare_set(data(f"folder:{root}"), 8, out) == said
    with pytest.raises(UserError, match=r"--out=.* other images or labels"):
        prepare.prepare_set(data("folder:copy"), 8, out)


def test_a_second_process_is_refused_the_same_folder(tmp_path):
    with (
        filelock.FileLock(tmp_path / "set.lock"),
        pytest.raises(UserError, match=r"--out=.*set: another process is making it"),
    ):
        prepare.prepare_set(data("embedded:emoji64"), 64, tmp_path / "set")


def test_what_another_process_finished_meanwhile_is_kept(tmp_path, monkeypatch):
    root = write_images(tmp_path / "images", 20, size=16)
    config, out = data(f"folder:{root}"), tmp_path / "set"
    said = []

    @contextlib.contextmanager
    def late(path):
        monkeypatch.undo()
        said.append(prepare.prepare_set(config, 8, out))
        with record_writer.alone(path):
            yield

    monkeypatch.setattr(prepare, "alone", late)
    assert prepare.prepare_set(config, 8, out) == said[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "set"]


def test_a_full_disk_is_told_with_the_name_of_the_shard(tmp_path):
    write_images(tmp_path / "images", 40, size=16)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, before[1]))
        with pytest.raises(
            OSError, match=r"No space left on device: '.*set\.partial/train-00000-of"
        ):
            prepare.prepare_set(data(f"folder:{tmp_path / 'images'}"), 16, tmp_path / "set")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_a_failure_at_the_first_image_leaves_no_folder(tmp_path):
    with mock_tfds(20), pytest.raises(DataError, match="do not fit"):
        prepare.prepare_set(data("tfds:mnist", fit="pad"), 8, tmp_path / "set")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fields", [{"num_examples": 9}, {"fraction": 0.5}, {"label": "label"}])
def test_preparing_a_part_of_a_set_is_refused(tmp_path, fields):
    with pytest.raises(UserError, match=f"config.data.{next(iter(fields))}=.*holds all images"):
        prepare.prepare_set(data("embedded:emoji64", **fields), 8, tmp_path / "set")


def test_a_tilde_in_a_path_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(prepare.signals, "quit_at_once", lambda text: None)
    write_images(tmp_path / "images", 4, size=16)
    before = set(flags.FLAGS)
    prepare.define_flags()
    try:
        with flagsaver.flagsaver():
            prepare.main(flags.FLAGS(["", "--source=folder:~/images", "--size=8", "--out=~/set"]))
    finally:
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)
    assert (tmp_path / "set" / "manifest.json").is_file()


def test_another_background_is_refused_only_for_transparent_images(tmp_path, emoji):
    (tmp_path / "images").mkdir()
    for i in range(4):
        Image.new("LA", (16, 16), (i, 9)).save(tmp_path / "images" / f"{i}.png")
    prepare.prepare_set(
        data(f"folder:{tmp_path / 'images'}", background=(1, 2, 3)), 8, tmp_path / "s"
    )
    with pytest.raises(
        DataError, match=r"background=\(255, .*; set config.data.background=\(1, 2, 3\)"
    ):
        open_source(data(f"records:{tmp_path / 's'}"), "train", image_size=8)
    fitting = data(f"records:{tmp_path / 's'}", background=(1, 2, 3))
    assert open_source(fitting, "train", image_size=8).size == 3
    like = image_sets.from_source("like", open_source(fitting, "train", image_size=8), 3)
    assert image_sets.from_named_source(fitting.source, "train", like, "resize", 3).count == 3
    # These have no alpha.
    assert open_source(data(f"records:{emoji}", background=(0, 0, 0)), "train", image_size=64).size


def test_a_flipped_byte_is_reported_in_one_line(copy):
    path = copy / "train-00003-of-00015.array_record"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 255
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"a shard is damaged \(.*\); prepare the set") as caught:
        everything(open_source(data(f"records:{copy}"), "train", image_size=64))
    assert "\n" not in str(caught.value)
    path.write_bytes(bytes(len(raw)))
    with pytest.raises(DataError, match=r"a shard is damaged \(.*\); prepare the set") as caught:
        open_source(data(f"records:{copy}"), "train", image_size=64)
    assert "\n" not in str(caught.value)


def test_no_bit_that_flips_in_a_prepared_set_changes_what_is_read(tmp_path):
    out = tmp_path / "set"
    images = write_images(tmp_path / "images", 20, size=16)
    prepare.prepare_set(data(f"folder:{images}"), 8, out)
    config = data(f"records:{out}")
    drawn = random.Random(0)

    def content():
        return [everything(open_source(config, split, image_size=8)) for split in SPLITS]

    first, refused = content(), 0
    for file in sorted(out.iterdir()):
        before = file.read_bytes()
        for _ in range(10):
            raw = bytearray(before)
            raw[drawn.randrange(len(raw))] ^= 1 << drawn.randrange(8)
            file.write_bytes(raw)
            try:
                jax.tree.map(np.testing.assert_array_equal, content(), first)
            except DataError:
                refused += 1
        file.write_bytes(before)
    assert refused > 15


def test_a_set_of_before_there_were_checksums_is_read(copy):
    first = everything(open_source(data(f"records:{copy}"), "train", image_size=64))
    path = copy / records.MANIFEST
    manifest = json.loads(path.read_text())
    del manifest[records.SEAL]
    path.write_text(json.dumps(manifest))
    (copy / records.CHECKSUMS).unlink()
    now = everything(open_source(data(f"records:{copy}"), "train", image_size=64))
    jax.tree.map(np.testing.assert_array_equal, now, first)


def test_crops_of_an_early_version_are_told_once(tmp_path, caplog):
    root, boxes = write_images(tmp_path / "photos", 4, size=16), tmp_path / "boxes.csv"
    rows = [f"{path.relative_to(root)},2,3,9,12\n" for path in sorted(root.rglob("*.png"))]
    boxes.write_text("file,ymin,xmin,ymax,xmax\n" + "".join(rows))
    fields = data(f"folder:{root}", fit="bounding_box", labels_file=str(boxes))
    prepare.prepare_set(fields, 8, tmp_path / "set")
    of_set = data(f"records:{tmp_path / 'set'}", fit="bounding_box")

    def told():
        base.warn_once.cache_clear()
        caplog.clear()
        for split in SPLITS:
            open_source(of_set, split, image_size=8)
        return [record.getMessage() for record in caplog.records]

    assert told() == []
    path = tmp_path / "set" / records.MANIFEST
    manifest = json.loads(path.read_text())
    del manifest[records.SEAL], manifest["settings"][records.CROP]
    manifest["settings_sha256"] = records.settings_hash(manifest["settings"])
    path.write_text(json.dumps(manifest))
    (line,) = told()
    assert "early version, most of whose crops around bounding boxes are a pixel off" in line


def edit(**changes):
    def damage(root):
        path = root / records.MANIFEST
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


def test_no_entry_of_a_manifest_is_taken_on_trust(copy):
    """Without the seal, as of an early version, which anyone can forge anyway."""
    path = copy / records.MANIFEST
    whole = json.loads(path.read_text())
    del whole[records.SEAL]
    refused = []
    for holder, key in list(mutations.places(whole)):
        if key in ("source", "pillow", "transparent") or holder is whole["settings"]:
            continue  # Not read, or with a default; those of the settings have a hash.
        before = holder[key]
        for strange in (None, [[]], -1, "../a"):
            holder[key] = strange
            path.write_text(json.dumps(whole))
            try:
                with pytest.raises(DataError, match=r"manifest\.json is damaged or of another"):
                    records.read_manifest(copy, "records:set")
                refused.append(key)
            except pytest.fail.Exception:
                assert isinstance(before, str), (key, strange)
                assert isinstance(strange, str), (key, strange)
                assert key != "file"
        holder[key] = before
    assert {"splits", "train", "shards", "file", "bytes", "count", "labels", "size"} <= set(refused)


@pytest.mark.parametrize(
    ("damage", "fields", "message"),
    [
        (lambda r: None, {"image_size": 48}, r"images of 64x64, which are read at .*=48$"),
        (lambda r: None, {"image_size": 128}, r"not at config.image_size=128"),
        (
            lambda r: None,
            {"fit": "pad"},
            r"config.data.fit='pad': .*; set config.data.fit='resize'",
        ),
        (
            lambda r: None,
            {"labels_file": "a.csv"},
            r"labels_file='a.csv': only folder:<path> takes",
        ),
        (lambda r: None, {"label": "tags"}, r"config.data.label='tags': .* has 'label' only"),
        (
            lambda r: (r / "manifest.json").unlink(),
            {},
            r"no prepared set is there .* ganjax prepare",
        ),
        (lambda r: (r / "manifest.json").write_text("{"), {}, r"manifest.json is damaged"),
        (edit(format=99), {}, r"manifest.json is damaged or of another version"),
        (edit(settings={"fit": "resize"}), {}, r"manifest.json is damaged"),
        (edit(size=32), {}, r"manifest.json is damaged"),
        (lambda r: (r / "manifest.json").write_text("[" * 10**5), {}, r"manifest.json is damaged"),
        (lambda r: (r / "labels.npz").unlink(), {}, r"labels.npz is missing or damaged"),
        (lambda r: (r / "labels.npz").write_bytes(b"PK"), {}, r"labels.npz is missing or damaged"),
        (lambda r: (r / "checksums.npz").unlink(), {}, r"checksums.npz is missing or damaged"),
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
def test_a_damaged_or_unfitting_prepared_set_is_refused_in_one_line(copy, damage, fields, message):
    damage(copy)
    fields = dict(fields)
    size = fields.pop("image_size", 64)
    with pytest.raises(DataError, match=message) as caught:
        open_source(data(f"records:{copy}", **fields), "train", image_size=size)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("share", "counts"), [(0.25, (30, 10)), (0.0, (40, 0))])
def test_the_share_that_a_prepared_set_holds_out_can_be_set(tmp_path, share, counts):
    """And it may be 0; a set of another share is not taken for it."""
    folder, out = write_images(tmp_path / "images", 40, 8), tmp_path / "set"
    prepare.prepare_set(data(f"folder:{folder}", held_out=share), 8, out)
    made = [open_source(data(f"records:{out}"), split, image_size=8) for split in SPLITS]
    assert tuple(source.size for source in made) == counts
    prepare.prepare_set(data(f"folder:{folder}", held_out=share), 8, out)
    for other in (0.1, 0.5):
        with pytest.raises(UserError, match="holds a set with another held_out"):
            prepare.prepare_set(data(f"folder:{folder}", held_out=other), 8, out)
