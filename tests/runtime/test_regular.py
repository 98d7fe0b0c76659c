"""Pipes, sockets and devices in the place of files: nobody waits for them."""

import os
import signal
import socket
from pathlib import Path

import numpy as np
import pytest
from small import write_images

from ganjax.analysis import image_sets, progress
from ganjax.config import ConfigError
from ganjax.data import annotations, records, scan
from ganjax.data.decode import TransientError, decode_image
from ganjax.data.fields import DataFields
from ganjax.data.sources import open_source
from ganjax.errors import DataError, UserError
from ganjax.metrics import efflite0, weights
from ganjax.runtime import memory, regular
from ganjax.training import workdir
from ganjax.training.writer import read_metrics


@pytest.fixture(autouse=True)
def impatient():
    """Makes a test that waits for a pipe fail."""

    def give_up(number, frame):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def strange(tmp_path):
    """A folder of images, with a pipe, a socket and a link to a device that are named like some."""
    folder = write_images(tmp_path / "images", 20, 8)
    os.mkfifo(folder / "pipe.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(folder / "socket.png"))
        yield folder


def test_a_listing_of_images_leaves_them_out_and_says_so(strange):
    found = scan.listing(strange, str(strange))
    assert len(found.files) == 20
    assert found.others == {"pipes, sockets and devices": 3}
    source = open_source(DataFields(source=f"folder:{strange}", channels=1), "train", image_size=8)
    assert source.fetch(np.arange(source.size))["image"].shape == (18, 8, 8, 1)
    assert dict(source.ignored) == found.others
    assert image_sets.from_folder(strange).count == 20


def test_a_folder_of_nothing_else_has_no_image(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match="but 1 of pipes, sockets and devices"):
        scan.listing(tmp_path, "here")


def test_a_link_to_nowhere_is_still_an_image_that_cannot_be_read(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    assert scan.listing(tmp_path, "here").files == ["a.png"]
    assert scan.scanned(tmp_path, ["a.png"]).reasons == {0: "No such file or directory"}


@pytest.mark.parametrize(
    ("name", "read", "error", "reason"),
    [
        ("a.png", decode_image, TransientError, "it is no regular file"),
        ("a.npz", image_sets.read_npz, UserError, "it is no regular file"),
        ("a.csv", annotations.read_annotations, DataError, "cannot be read: it is no regular file"),
        ("a.pth", lambda p: weights.load(efflite0.FILE, p), UserError, "it is no regular file"),
        ("config.json", lambda p: workdir.read(p.parent), OSError, "it is no regular file"),
        ("metrics.jsonl", read_metrics, OSError, "it is no regular file"),
        (
            "manifest.json",
            lambda p: records.read_manifest(p.parent, ""),
            OSError,
            "no regular file",
        ),
        ("step_0.png", progress._read, OSError, "it is no regular file"),
    ],
)
def test_a_reader_answers_a_pipe_at_once(name, read, error, reason, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(error, match=reason):
        read(tmp_path / name)


def test_a_file_that_memory_cannot_hold_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(regular, "UNSUSPICIOUS", 0)
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # Nothing of it takes space.
    for read in (regular.read_bytes, regular.read_text, lambda p: workdir.read(p.parent)):
        with pytest.raises(OSError, match=r"it has 1,024.0 GiB; at most .* are read"):
            read(path)
    path.write_bytes(b"a" * 100)
    monkeypatch.setattr(memory, "total", lambda: 800)
    assert regular.read_text(path) == "a" * 100
    monkeypatch.setattr(memory, "total", lambda: 799)
    with pytest.raises(OSError, match="at most"):
        regular.read_text(path)


def test_regular_files_and_links_to_them_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r")
    (tmp_path / "b").symlink_to("a")
    assert regular.read_text(tmp_path / "b", "utf-8-sig") == "one\ntwo\n"
    with pytest.raises(IsADirectoryError):
        regular.read_bytes(tmp_path)
    with pytest.raises(FileNotFoundError, match="none"):
        regular.read_bytes(Path(tmp_path / "none"))
    with pytest.raises(ConfigError, match="no run is there"):
        workdir.read(tmp_path)
