"""What `ganjax.data.show` shows of a set before a run."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from small import shipped, write_images

from ganjax.data import pipeline, show
from ganjax.data.sources import open_source
from ganjax.engine.phases import Phase
from ganjax.errors import DataError, UserError
from ganjax.parallel.sharding import make_layout
from ganjax.training import schema


def give(monkeypatch, **values):
    """The command's flags."""
    given = SimpleNamespace(**{"out": None, "overwrite": False} | values)
    monkeypatch.setattr(show, "flags", SimpleNamespace(FLAGS=given))


def test_the_first_batch_of_a_run_is_shown(tmp_path, capsys, monkeypatch):
    """The picture and the figures are those of the batch that a run begins with."""
    config = shipped("cwgan_gp")
    config.data.mirror = True
    out = tmp_path / "batch.png"
    give(monkeypatch, config=config, out=str(out))
    show.main([])
    lines = capsys.readouterr().out.splitlines()
    loaded = schema.load(config).config
    source = open_source(loaded.data, "train", image_size=32)
    batch = show.first_batch(loaded, source)
    first = next(
        pipeline.train_batches(
            source,
            Phase(0, 9, 32, 32),
            seed=0,
            reals=2,  # n_critic: its first is the first batch.
            start=0,
            sharding=make_layout().batches,
            mirror=True,
        )
    )
    for name, leaf in first.items():
        np.testing.assert_array_equal(batch[name], leaf[0])
    assert lines[0] == "embedded:mnist5k: 4500 training images, 500 held out"
    assert lines[1].startswith("image: uint8 (32, 32, 32, 1), 0 .. 255; by channel, mean ")
    counts = np.bincount(batch["label"], minlength=10)
    assert [line.split() for line in lines[4:14]] == [
        [str(i), "450", "50", str(counts[i])] for i in range(10)
    ]
    picture = np.asarray(Image.open(out))
    cell = (picture.shape[0] + 2) // 6, (picture.shape[1] + 2) // 6
    enlarged = picture[cell[0] - 98 : cell[0] - 2, :96]
    np.testing.assert_array_equal(enlarged[::3, ::3], batch["image"][0, ..., 0])
    # A second time it is replaced only if that is asked for; by default another name is taken.
    shown = out.read_bytes()
    with pytest.raises(UserError, match=r"--out=.*batch.png is there already: add --overwrite"):
        show.main([])
    out.write_text("old")
    give(monkeypatch, config=config, out=str(out), overwrite=True)
    show.main([])
    assert out.read_bytes() == shown
    monkeypatch.chdir(tmp_path)
    give(monkeypatch, config=config)
    show.main([])
    assert (tmp_path / "batch_2.png").read_bytes() == shown
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == "batch_2.png (in this folder; --out=<path> takes another)"


def test_ignored_files_are_counted(tmp_path, capsys, monkeypatch):
    config = shipped("cwgan_gp")
    root = write_images(tmp_path / "set", 40, size=8)
    for name in ("a.tiff", "b.TIFF", "c.jpe", "none"):
        (root / name).write_bytes(b"")
    rows = {f"{i:03}.png": {"label": i % 10, "weight": i / 2} for i in range(40)}
    (tmp_path / "labels.json").write_text(json.dumps(rows))
    config.data.source = f"folder:{root}"
    config.data.labels_file = str(tmp_path / "labels.json")
    give(monkeypatch, config=config, out=str(tmp_path / "batch.png"), overwrite=True)
    show.main([])
    lines = capsys.readouterr().out.splitlines()
    assert "  weight: '0.5' of '001.png' is no whole number" in lines
    assert "files that are not read: 1 of .jpe, 2 of .tiff, 1 of no suffix" in lines
    (tmp_path / "labels.json").write_text(
        json.dumps(rows | {"007.png": {"label": -1, "weight": 0}})
    )
    with pytest.raises(
        DataError, match=r"has the label -1; labels count from 0 to num_classes - 1"
    ):
        show.main([])


def test_a_path_where_no_picture_can_be_is_refused(tmp_path, monkeypatch):
    give(monkeypatch, config=shipped("cwgan_gp"), out=str(tmp_path / "no" / "a.png"))
    with pytest.raises(UserError, match=r"--out=.*a.png: name a .png file in a folder that is"):
        show.main([])
