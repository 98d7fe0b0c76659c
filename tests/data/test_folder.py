"""Folders of images: every kind of file, every way in which one can be wrong."""

import errno
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL
import pytest
from conftest import ROOT
from PIL import Image
from small import write_images

from ganjax.data import base, pipeline, scan
from ganjax.data.decode import decode_image
from ganjax.data.fields import DataFields
from ganjax.data.fit import area
from ganjax.data.sources import open_source
from ganjax.engine.phases import Phase
from ganjax.errors import DataError
from ganjax.parallel.sharding import make_layout

RANDOM = np.random.RandomState(0)
COLOUR = RANDOM.randint(0, 256, (16, 16, 3), np.uint8)
# A smooth picture, which JPEG and WebP keep nearly as it is.
SMOOTH = np.stack(np.broadcast_arrays(*np.ogrid[0:250:16j, 0:250:16j], 128), -1).astype(np.uint8)


def opened(root, split="train", image_size=16, **fields):
    data = DataFields(source=f"folder:{root}", **fields)
    return open_source(data, split, image_size=image_size)


def all_of(root, **fields):
    """Returns the batches of all training and of all held-out images."""
    parts = [opened(root, split, **fields) for split in ("train", "validation")]
    return [part.fetch(np.arange(part.size)) for part in parts]


def png16(path, values):
    """Writes a 16-bit grey PNG."""
    Image.fromarray(values.astype(np.uint16)).save(path)


@pytest.mark.parametrize(
    ("name", "save", "expected"),
    [
        ("rgb.png", lambda p: Image.fromarray(COLOUR).save(p), COLOUR),
        ("rgb.bmp", lambda p: Image.fromarray(COLOUR).save(p), COLOUR),
        ("LOUD.PNG", lambda p: Image.fromarray(COLOUR).save(p), COLOUR),
        ("misnamed.jpg", lambda p: Image.fromarray(COLOUR).save(p, "png"), COLOUR),
        ("grey.png", lambda p: Image.fromarray(COLOUR[..., 0]).save(p), COLOUR[..., :1]),
        (
            "bits.png",
            lambda p: Image.fromarray(COLOUR[..., 0]).point(lambda v: v > 99, "1").save(p),
            (COLOUR[..., :1] > 99) * 255,
        ),
        (
            "sixteen.png",
            lambda p: png16(p, COLOUR[..., 0].astype(int) * 257),
            COLOUR[..., :1].astype(np.uint16) * 257,
        ),
        (
            "palette.png",
            lambda p: Image.fromarray(COLOUR // 128 * 255).quantize(8).save(p),
            COLOUR // 128 * 255,
        ),
        (
            "alpha.png",
            lambda p: Image.fromarray(np.dstack([COLOUR, COLOUR[..., 0]])).save(p),
            np.dstack([COLOUR, COLOUR[..., 0]]),
        ),
    ],
)
def test_lossless_files_are_decoded_exactly(tmp_path, name, save, expected):
    save(tmp_path / name)
    np.testing.assert_array_equal(decode_image(tmp_path / name), expected)


@pytest.mark.parametrize(
    ("name", "options"),
    [("x.jpg", {"quality": 95}), ("cmyk.jpg", {"quality": 95}), ("x.webp", {"quality": 95})],
)
def test_lossy_files_are_decoded_nearly(tmp_path, name, options):
    image = Image.fromarray(SMOOTH)
    image = image.convert("CMYK") if "cmyk" in name else image
    image.save(tmp_path / name, **options)
    assert np.abs(decode_image(tmp_path / name).astype(int) - SMOOTH).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_upright_by_its_exif_orientation(tmp_path, orientation):
    """The inverses of what cameras do are written out."""
    upright = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    as_stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(as_stored)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png")[..., 0], upright)


def test_a_transparent_file_lies_over_the_background(tmp_path):
    palette = Image.new("P", (16, 16), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    for i in range(10):
        palette.save(tmp_path / f"{i}.png", transparency=1)
    train, held = all_of(tmp_path, background=(1, 2, 3))
    assert len(train["image"]) == 9
    for part in (train, held):
        assert np.all(part["image"] == [1, 2, 3])


def test_files_are_in_the_order_of_their_names(tmp_path):
    root = write_images(tmp_path / "set", 30, size=16)
    (root / "sub").mkdir()
    os.replace(root / "007.png", root / "sub" / "a.png")
    (root / "notes.txt").write_text("no image")
    (root / "sub" / "._a.png").write_bytes(b"no image")
    (root / ".DS_Store").write_bytes(b"")
    write_images(root / ".ipynb_checkpoints", 5, size=16)
    os.symlink(root, root / "sub" / "up")
    found, unreadable, others = scan.listing(root, "x")
    assert (unreadable, others) == ({}, {".txt": 1, scan.HIDDEN: 1, scan.HIDDEN_FOLDERS: 1})
    assert found == sorted(found)
    assert len(found) == 30
    assert found[-1] == "sub/a.png"


def test_images_are_cropped_or_padded_around_their_centre(tmp_path):
    (tmp_path / "set").mkdir()
    wide = RANDOM.randint(0, 256, (32, 48, 3), np.uint8)
    for i in range(2):
        Image.fromarray(wide).save(tmp_path / "set" / f"{i}.png")
    (image,) = opened(tmp_path / "set").fetch(np.arange(1))["image"]
    np.testing.assert_array_equal(image, area(wide[:, 8:40], 16, 16))
    (image,) = opened(tmp_path / "set", image_size=64, fit="pad").fetch(np.arange(1))["image"]
    np.testing.assert_array_equal(image[16:48, 8:56], wide)
    assert np.all(image[:16] == wide[0, 0])


@pytest.fixture
def classes(tmp_path):
    """A folder of 10 cats and 20 dogs, each class of its own greys."""
    for name, count, level in (("cats", 10, 50), ("dogs", 20, 200)):
        (tmp_path / "set" / name / "deep").mkdir(parents=True)
        for i in range(count):
            Image.new("L", (8, 8), level + i).save(tmp_path / "set" / name / "deep" / f"{i}.png")
    return tmp_path / "set"


def test_sub_folders_are_labels_and_the_split_keeps_their_shares(classes):
    fields = {"label": "label", "num_classes": 2, "channels": 1, "image_size": 8}
    train, held = (opened(classes, split, **fields) for split in ("train", "validation"))
    assert train.label_names == ("cats", "dogs")
    assert np.bincount(train.labels()).tolist() == [9, 18]
    assert np.bincount(held.labels()).tolist() == [1, 2]
    batch = train.fetch(np.arange(27))
    np.testing.assert_array_equal(batch["image"].mean((1, 2, 3)) >= 200, batch["label"])
    np.testing.assert_array_equal(batch["label"], train.labels())
    # Without labels the same images are held out.
    plain = opened(classes, "validation", channels=1, image_size=8)
    np.testing.assert_array_equal(
        plain.fetch(np.arange(3))["image"], held.fetch(np.arange(3))["image"]
    )


def test_folders_named_train_and_val_are_the_splits(classes):
    os.makedirs(classes / "train")
    for name in ("cats", "dogs"):
        os.replace(classes / name, classes / "train" / name)
    (classes / "val").mkdir()
    os.replace(classes / "train" / "cats" / "deep", classes / "val" / "cats")
    write_images(classes / "test" / "dogs", 3, size=8)  # Not read: there is val.
    fields = {"label": "label", "num_classes": 2, "channels": 1, "image_size": 8}
    train, held = (opened(classes, split, **fields) for split in ("train", "validation"))
    assert train.label_names == held.label_names == ("cats", "dogs")
    assert train.labels().tolist() == [1] * 20
    assert held.labels().tolist() == [0] * 10


CSV = "file,kind,tall,age,x,ymin,xmin,ymax,xmax\n"


def test_labels_and_boxes_are_read_from_a_csv_file(tmp_path):
    root = write_images(tmp_path / "set", 20, size=64)
    rows = [
        f"{i:03}.png,{'ab'[i % 2]},{1 if i % 4 else -1},{i},{i / 2},10,20,26,36\n"
        for i in range(20)
    ]
    path = tmp_path / "labels.csv"
    path.write_text(CSV + "".join(rows) + "gone.png,a,1,0,0,0,0,1,1\n")

    def features(**fields):
        return opened(root, labels_file=str(path), **fields).features()

    found = features()
    assert set(found) == {"kind", "tall", "age"}  # x is no label.
    assert found["kind"].names == ("a", "b")
    assert found["tall"].names == ("not tall", "tall")
    assert found["age"].names == ()
    tall = opened(root, labels_file=str(path), label="tall", num_classes=2)
    assert set(tall.labels()) == {0, 1}
    boxed = opened(
        root, labels_file=str(path), fit="bounding_box", channels=1, label="age", num_classes=20
    )
    batch = boxed.fetch(np.arange(3))
    for image, number in zip(batch["image"], batch["label"], strict=True):
        # 16 x 16 round (18, 28), and a quarter more: 20 x 20.
        crop = np.asarray(Image.open(root / f"{number:03}.png"))[8:28, 18:38, None]
        np.testing.assert_array_equal(image, area(crop, 16, 16))


@pytest.mark.parametrize(
    "content",
    [
        {f"{i:03}.png": i % 3 for i in range(20)},
        {f"{i:03}.png": {"label": i % 3, "kind": "x"} for i in range(20)},
        {"labels": [[f"{i:03}.png", i % 3] for i in range(20)]},
    ],
)
def test_labels_are_read_from_a_json_file(tmp_path, content):
    root = write_images(tmp_path / "set", 20, size=16)
    (tmp_path / "labels.json").write_text(json.dumps(content))
    labelled = {"labels_file": str(tmp_path / "labels.json"), "label": "label", "num_classes": 3}
    train, held = (opened(root, split, **labelled) for split in ("train", "validation"))
    every = np.concatenate([train.labels(), held.labels()])
    assert np.bincount(every).tolist() == [7, 7, 6]


@pytest.mark.parametrize(
    ("values", "labels", "names"),
    [
        ([0.0, 1.0, 2.0], [0, 1, 2], ()),
        (["0.0", "1", "2.00"], [0, 1, 2], ()),
        (["-1.0", "1.0", "1.0"], [0, 1, 1], ("not kind", "kind")),
        (["1e1", " 7", "0"], [10, 7, 0], ()),
        (["none", "NA", "2b"], [2, 1, 0], ("2b", "NA", "none")),  # Texts, which all are classes.
    ],
)
def test_values_of_a_column_are_labels(tmp_path, values, labels, names):
    root = write_images(tmp_path / "set", 3, size=16)
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({f"00{i}.png": {"kind": v} for i, v in enumerate(values)}))
    found = opened(root, labels_file=str(path)).features()["kind"]
    assert found.names == names
    every = opened(root, labels_file=str(path), label="kind", num_classes=len(names) or 11)
    held = opened(
        root, "validation", labels_file=str(path), label="kind", num_classes=len(names) or 11
    )
    by_image = sorted([*every.labels(), *held.labels()])
    assert by_image == sorted(labels)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["0.5", "1", "1"], "'0.5' of 'a/0.png' is no whole number"),
        (["1", "9" * 400, "1"], "'9{59}... of 'a/1.png' is beyond 32 bits"),
        (["1", "inf", "1"], "'inf' of 'a/1.png' is no whole number"),
        (["1", "1", "3000000000"], "'3000000000' of 'a/2.png' is beyond 32 bits"),
        (["x", "", "y"], r"1 of 3 images have no value: 'a/1.png' \(''\)"),
        (["x", " ", "nan"], r"2 of 3 images have no value: 'a/1.png' \(''\), 'a/2.png' \('nan'\)"),
        (["1", "NaN", "0"], r"1 of 3 images have no value: 'a/1.png' \('NaN'\)"),
        (["1.0", "NA", "0.0"], r"1 of 3 images have no value: 'a/1.png' \('NA'\)"),
        (["1", None, "0"], r"1 of 3 images have no value: 'a/1.png' \(''\)"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_the_column_that_is_named_is_read_or_refused(tmp_path, cells, message, suffix):
    """The folders are classes too, but the file of labels was named."""
    write_images(tmp_path / "set" / "a", 3, size=16)
    for i in range(3):
        os.replace(tmp_path / "set" / "a" / f"00{i}.png", tmp_path / "set" / "a" / f"{i}.png")
    path, rows = tmp_path / f"labels.{suffix}", {f"a/{i}.png": cell for i, cell in enumerate(cells)}
    if suffix == "csv":
        lines = [f"{file},{'' if cell is None else cell}\n" for file, cell in rows.items()]
        path.write_text("file,label\n" + "".join(lines))
    else:
        path.write_text(json.dumps(rows))
    fields = {"labels_file": str(path), "label": "label", "num_classes": 2}
    with pytest.raises(DataError, match=message) as caught:
        opened(tmp_path / "set", **fields)
    assert "\n" not in str(caught.value)
    assert f"config.data.labels_file='{path}'" in str(caught.value)
    # Where no label is read there is nothing to refuse, and no other label in its place.
    unlabelled = opened(tmp_path / "set", labels_file=str(path))
    assert not unlabelled.features()
    assert [name for name, _ in unlabelled.no_labels] == ["label"]


def test_a_feature_that_some_images_lack_is_refused_with_their_names(tmp_path):
    root = write_images(tmp_path / "set", 8, size=16)
    path = tmp_path / "labels.json"
    rows = {f"00{i}.png": {"kind": "x"} if i == 7 else {"age": i} for i in range(8)}
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"7 of 8 .*'004.png' \(''\) and 2 more; mend"):
        opened(root, labels_file=str(path), label="kind")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("no.csv", None, "no.csv' cannot be read: No such file"),
        (
            "a.csv",
            "file,label\n000.png,1\n",
            "says nothing of 2 of 3 images .* '001.png'; add them",
        ),
        ("a.csv", "file\n000.png\n", "its first line has no two columns"),
        ("a.csv", "", "its first line has no two columns"),
        ("a.csv", "file,label\n000.png,1,2\n", "line 2 has 3 cells, the header 2"),
        ("a.csv", "file,label\n\n000.png,1,2\n", "line 3 has 3 cells, the header 2"),
        ("a.csv", 'file,label\n000.png,"1\n001.png,2\n', "line 2: a quote is opened and not cl"),
        ("a.csv", 'file,label\n000.png,"1" x\n', "line 2: ',' expected .* twice within quotes"),
        (
            "a.csv",
            f"file,label\n000.png,{'1' * 131_073}\n",
            "line 2: a cell has more than 131,072 char",
        ),
        ("a.csv", "file,age,x,age\n", "its first line has 2 columns 'age', 2, 4; leave one"),
        ("a.json", '{"000.png": {"age": 1, "age": 2}}', "'000.png' has 'age' twice; leave one"),
        ("a.json", '{"000.png": 1, "000.png": 1}', "names '000.png' twice"),
        ("a.json", '{"labels": [["000.png", 1], ["000.png", 1]]}', "names '000.png' twice"),
        ("a.csv", "file,label\n000.png,1\n000.png,1\n", "line 3 names '000.png' twice"),
        ("a.json", "{", "is not JSON"),
        ("a.json", '["x"]', 'write {"<file>": label'),
        ("a.json", '{"000.png": [1]}', "is no label"),
        ("a.txt", "", "end its name in .csv or .json"),
    ],
)
def test_a_wrong_file_of_labels_is_refused_in_one_line(tmp_path, name, content, message):
    root = write_images(tmp_path / "set", 3, size=16)
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        opened(root, labels_file=str(tmp_path / name))
    assert "\n" not in str(caught.value)


def bomb(path, side=20_000):
    """Writes a PNG of a few bytes whose header says side x side."""

    def chunk(kind, data):
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def spoil(root):
    """Puts one of each kind of bad file into a folder."""
    bomb(root / "a_bomb.png")
    buffer = io.BytesIO()
    Image.fromarray(np.repeat(COLOUR, 8, 0)).save(buffer, "jpeg")
    (root / "b_cut.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    buffer = io.BytesIO()
    Image.fromarray(np.repeat(COLOUR, 8, 0)).save(buffer, "png")
    (root / "c_cut.png").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    (root / "d_empty.png").write_bytes(b"")
    (root / "e_text.webp").write_text("not an image")
    Image.new("L", (16, 3)).save(root / "f_small.png")


BAD = ("a_bomb.png", "b_cut.jpg", "c_cut.png", "d_empty.png", "e_text.webp", "f_small.png")


def test_a_tilde_in_a_path_stands_for_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_images(tmp_path / "set", 4, size=16)
    (tmp_path / "labels.csv").write_text(
        "file,age\n" + "".join(f"00{i}.png,{i}\n" for i in range(4))
    )
    assert set(opened("~/set", labels_file="~/labels.csv").features()) == {"age"}


def test_files_that_are_not_read_are_told_once(tmp_path, caplog):
    root = write_images(tmp_path / "set", 20, size=16)
    for name in ("a.tif", "b.TIF", "notes.txt", "._a.png"):
        (root / name).write_bytes(b"")
    write_images(root / ".ipynb_checkpoints", 5, size=16)
    base.warn_once.cache_clear()
    assert sum(opened(root, split).size for split in ("train", "validation")) == 20
    (record,) = caplog.records  # Once, though both splits were opened.
    told = "files that are not read: 2 of .tif, 1 of .txt, 1 of hidden folders, 1 of hidden images"
    assert record.getMessage().endswith(told)


def test_bad_files_are_skipped_up_to_a_limit(tmp_path, caplog):
    root = write_images(tmp_path / "set", 20, size=16)
    spoil(root)
    base.warn_once.cache_clear()
    source = opened(root, max_skipped=6, min_side=4)
    assert tuple(file for file, _ in source.skipped) == BAD
    reasons = dict(source.skipped)
    assert "pixels" in reasons["a_bomb.png"]
    assert "truncated" in reasons["b_cut.jpg"]
    assert reasons["f_small.png"].startswith("its shorter side has 3 pixels")
    held = opened(root, "validation", max_skipped=6, min_side=4)
    assert source.size + held.size == 20
    (record,) = caplog.records  # Once, though both splits were opened.
    assert "6 of 26 images cannot be used: a_bomb.png" in record.getMessage()
    assert "and 1 more" in record.getMessage()
    with pytest.raises(DataError, match=r"config.data.max_skipped=5: .* 6 of 26 images") as caught:
        opened(root, max_skipped=5, min_side=4)
    assert "\n" not in str(caught.value)
    assert "b_cut.jpg (" in str(caught.value)


def test_a_scan_is_cached_until_files_change(tmp_path, monkeypatch):
    root = write_images(tmp_path / "set", 5, size=16)
    spoil(root)
    files = scan.listing(root, "").files
    first = scan.scanned(root, files)

    def never(path):
        raise AssertionError(f"{path} was decoded again")

    with monkeypatch.context() as patched:
        patched.setattr(scan, "decode_image", never)
        again = scan.scanned(root, files)
        np.testing.assert_array_equal(first.shapes, again.shapes)
        assert first[1:] == again[1:]
        for module, name in ((PIL, "__version__"), (scan, "VERSION")):
            with monkeypatch.context() as newer:
                newer.setattr(module, name, "0")
                with pytest.raises(AssertionError, match="was decoded again"):
                    scan.scanned(root, files)
    Image.new("L", (16, 16)).save(root / "d_empty.png")
    changed = scan.scanned(root, files)
    assert changed.shapes[files.index("d_empty.png")].tolist() == [16, 16, 1]
    assert changed.digest != first.digest


def test_a_failure_that_may_be_gone_at_the_next_try_is_not_cached(tmp_path, monkeypatch):
    root = write_images(tmp_path / "set", 4, size=16)
    for error, reason in (
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (MemoryError(), "not enough memory to decode it"),
    ):

        def fail(file, formats, error=error):
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(Image, "open", fail)
            with pytest.raises(DataError, match=rf"4 of 4 images .*000.png \({reason}\)"):
                opened(root)
        assert opened(root).size == 3
        for path in root.iterdir():  # Another state, which is not known yet.
            os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize("content", ["[]", "7", "{", '{"shapes": [], "reasons": 3}', "null"])
def test_a_damaged_cache_is_ignored(tmp_path, monkeypatch, content):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = write_images(tmp_path / "set", 4, size=16)
    assert opened(root).size == 3
    (path,) = tmp_path.glob("cache/ganjax/folders/*.json")
    path.write_text(content)
    assert opened(root).size == 3


def test_links_to_nowhere_and_closed_folders_are_skipped(tmp_path, monkeypatch):
    root = write_images(tmp_path / "set", 4, size=16)
    os.symlink(tmp_path / "gone.png", root / "zz.png")
    (root / "closed").mkdir()
    scandir = os.scandir

    def guarded(path):  # As for whoever is not root.
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    source = opened(root, max_skipped=2)
    assert source.skipped == (
        ("closed/", "Permission denied"),
        ("zz.png", "No such file or directory"),
    )
    with pytest.raises(DataError, match=r"max_skipped=1: .* 2 of 6 images cannot be used: closed/"):
        opened(root, max_skipped=1)
    Image.new("L", (16, 16)).save(tmp_path / "gone.png")
    assert opened(root, max_skipped=1).size == 4


def test_the_fingerprint_depends_on_names_contents_and_labels_alone(tmp_path):
    root = write_images(tmp_path / "set", 4, size=16)
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({f"00{i}.png": i % 2 for i in range(4)}))
    known = [opened(root).fingerprint, opened(root, labels_file=str(labels)).fingerprint]
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, copy_function=shutil.copyfile)
    assert opened(copy).fingerprint == known[0]
    labels.write_text(json.dumps({f"00{i}.png": 1 - i % 2 for i in range(4)}))
    known.append(opened(root, labels_file=str(labels)).fingerprint)
    os.replace(copy / "003.png", copy / "004.png")
    known.append(opened(copy).fingerprint)
    assert len(set(known)) == 4


def test_the_label_that_is_read_changes_no_split(tmp_path):
    """Neither the held-out images nor the subset of the rest depend on it."""
    root = write_images(tmp_path / "set", 60, size=16)
    rows = "".join(f"{i:03}.png,{i % 2},{i // 20}\n" for i in range(60))
    (tmp_path / "labels.csv").write_text("file,odd,label\n" + rows)

    def drawn(split, label, classes):
        fields = {"labels_file": str(tmp_path / "labels.csv"), "num_examples": 20}
        source = opened(root, split, label=label, num_classes=classes, **fields)
        return [bytes(image) for image in source.fetch(np.arange(source.size))["image"]]

    for split in ("train", "validation"):
        plain = drawn(split, "", 1)
        assert plain == drawn(split, "odd", 2) == drawn(split, "label", 3)


def test_a_file_that_goes_bad_later_is_named(tmp_path):
    root = write_images(tmp_path / "set", 5, size=16)
    source = opened(root)
    for path in root.iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"folder:.*: 00\d.png: no PNG, .* was it changed"):
        source.fetch(np.arange(1))
    # It reaches the loop from the threads that read.
    batches = pipeline.train_batches(
        source, Phase(0, 9, 8, 16), seed=0, reals=1, start=0, sharding=make_layout().batches
    )
    with pytest.raises(DataError, match="was it changed") as caught:
        next(batches)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "there is no such folder; set --config.data.source=folder:<path>"),
        (lambda p: p.mkdir(), "no png, jpg, jpeg, webp, bmp file is in that folder$"),
        (
            lambda p: p.mkdir() or (p / "a.tiff").write_bytes(b""),
            "bmp file is in that folder, but 1 of .tiff",
        ),
        (
            lambda p: write_images(p / "train" / "cats", 4),
            "holds images in train/ only, and no validation, .* beside it; name .*/train",
        ),
        (lambda p: Image.new("L", (8, 8)).save(p, "png"), "is a file; name the folder"),
        (lambda p: write_images(p, 1), "holds 1 usable image; there must be two"),
        (
            lambda p: write_images(p, 3) and (p / "000.png").write_bytes(b""),
            "max_skipped=0: .*1 of 3 images cannot be used: 000.png",
        ),
    ],
)
def test_a_folder_that_is_no_set_is_refused_in_one_line(tmp_path, make, message):
    make(tmp_path / "set")
    with pytest.raises(DataError, match=message) as caught:
        opened(tmp_path / "set")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label": "label", "num_classes": 2}, r"config.data.label='label': .* has no labels"),
        ({"fit": "bounding_box"}, r"config.data.fit='bounding_box': .* no bounding box.*\(000.png"),
        ({"fit": "pad", "image_size": 8}, r"do not fit into config.image_size=8; .* \(000.png\)"),
    ],
)
def test_a_field_that_does_not_fit_the_folder_is_refused(tmp_path, fields, message):
    root = write_images(tmp_path / "set", 2, size=16)
    with pytest.raises(DataError, match=message):
        opened(root, **fields)


BOX = {"ymin": 0, "xmin": 0, "ymax": 9, "xmax": 9}


@pytest.mark.parametrize(
    ("third", "fields", "message"),
    [
        (
            {"label": 2},
            {"label": "label"},
            r"num_classes=2: .* has the label 2; labels count from 0 ",
        ),
        ({"label": -1}, {"label": "label"}, r"num_classes=2: .* has the label -1; labels count"),
        ({"label": 0}, {"fit": "bounding_box"}, r"an image has no bounding box; .* \(003.png\)"),
        (BOX | {"ymin": 90}, {"fit": "bounding_box"}, r"leaves nothing to crop \(003.png\)"),
        (BOX | {"ymin": "x"}, {}, r"labels_file=.*'003.png': its ymin is 'x', which is no"),
        (BOX | {"xmax": "nan"}, {}, r"labels_file=.*'003.png': its xmax is 'nan', which is no f"),
        (BOX | {"xmax": 10**400}, {}, r"'003.png': its xmax is 1(0){59}\.\.\., which is no finite"),
    ],
)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_one_wrong_image_is_found_at_once(tmp_path, split, third, fields, message):
    root = write_images(tmp_path / "set", 5, size=16)
    rows = {f"{i:03}.png": third if i == 3 else BOX | {"label": i % 2} for i in range(5)}
    (tmp_path / "labels.json").write_text(json.dumps(rows))
    classes = 2 if "label" in fields else 1
    with pytest.raises(DataError, match=message) as caught:
        opened(root, split, labels_file=f"{tmp_path}/labels.json", num_classes=classes, **fields)
    assert "\n" not in str(caught.value)


def test_one_image_too_large_to_pad_is_found_at_once(tmp_path):
    root = write_images(tmp_path / "set", 4, size=16)
    Image.new("RGB", (99, 9)).save(root / "003.png")
    for split in ("train", "validation"):
        with pytest.raises(DataError, match=r"images of 9x99 do not fit into .* \(003.png\)"):
            opened(root, split, fit="pad")


def test_a_file_beside_the_classes_is_named(classes):
    os.replace(classes / "cats" / "deep" / "3.png", classes / "stray.png")
    with pytest.raises(DataError, match=r"label='label': .* 1 of 30 images .* 'stray.png'; move"):
        opened(classes, label="label", num_classes=2)
    assert opened(classes).size == 27


def test_numbers_too_long_for_any_integer_are_no_labels(tmp_path):
    root = write_images(tmp_path / "set", 4, size=16)
    rows = "".join(f"{i:03}.png,{10**21 + i},{2**31 + i},{i}\n" for i in range(4))
    (tmp_path / "labels.csv").write_text("file,id,time,class\n" + rows)
    assert set(opened(root, labels_file=f"{tmp_path}/labels.csv").features()) == {"class"}


def test_pillow_does_not_warn_of_an_image_that_is_refused(tmp_path):
    """Pillow itself only warns of images between its limit and twice that."""
    bomb(tmp_path / "a.png", 10_000)
    code = "import sys; from pathlib import Path; from ganjax.data.decode import decode_image\n"
    code += "try: decode_image(Path(sys.argv[1]))\nexcept Exception as error: print(error)"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code, str(tmp_path / "a.png")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "10000x10000, more than 89478485 pixels\n"
    assert "Bomb" not in done.stderr
