"""Grids, captions and films, and files that are written completely or not at all."""

import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from ganjax.errors import UserError
from ganjax.pictures import images


@pytest.mark.parametrize(("n", "columns", "shape"), [(4, None, (8, 8)), (5, None, (8, 13))])
def test_a_grid_is_nearly_square_with_gaps(n, columns, shape):
    sheet = images.grid(np.full((n, 3, 3, 1), 9, np.uint8), columns)
    assert sheet.shape == (*shape, 1)


def test_a_grid_places_images_row_by_row():
    cells = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1).repeat(2, 1).repeat(2, 2) + 1
    sheet = images.grid(cells, columns=3, gap=1)[..., 0]
    assert sheet.shape == (5, 8)
    assert sheet[0].tolist() == [1, 1, 0, 2, 2, 0, 3, 3]
    assert not sheet[2].any()
    assert sheet[4].tolist() == [4, 4, 0, 5, 5, 0, 6, 6]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_holds_the_pixels(tmp_path, channels):
    picture = np.random.RandomState(0).randint(0, 256, (5, 7, channels)).astype(np.uint8)
    images.save_png(tmp_path / "a.png", picture)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image).reshape(5, 7, channels), picture)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_enlarged_images_repeat_their_pixels():
    small = np.random.RandomState(0).randint(0, 256, (2, 3, 3, 3)).astype(np.uint8)
    large = images.enlarge(small, 7)
    assert large.shape == (2, 9, 9, 3)
    for i in range(3):
        np.testing.assert_array_equal(large[:, i::3, i::3], small)
    np.testing.assert_array_equal(images.enlarge(small, 3), small)


@pytest.mark.parametrize(
    ("n", "side", "columns", "factor"),
    [(64, 4, 8, 12), (64, 32, 8, 2), (3, 200, 1, 1), (1, 1, 1, 512)],
)
def test_a_sheet_has_at_least_512_pixels_by_the_least_whole_factor(n, side, columns, factor):
    cells = np.random.RandomState(0).randint(0, 256, (n, side, side, 1)).astype(np.uint8)
    sheet, small = images.sheet(cells, columns), images.grid(cells, columns)
    np.testing.assert_array_equal(sheet, small.repeat(factor, 0).repeat(factor, 1))
    assert max(sheet.shape) >= 512
    assert factor == 1 or (factor - 1) * max(small.shape) < 512


@pytest.mark.parametrize(("columns", "factor"), [(1, 43), (2, 64), (10, 24)])
def test_images_of_a_captioned_sheet_are_enlarged_and_letters_are_not(columns, factor):
    cells = np.random.RandomState(0).randint(0, 256, (3, 4, 4, 3)).astype(np.uint8)
    sheet = images.sheet(cells, columns, above=["a", "b", "c"])
    strip = images.text_strips(["a"], 4 * factor, 3)[0]
    np.testing.assert_array_equal(sheet[: len(strip), : 4 * factor], strip)
    first = sheet[len(strip) : len(strip) + 4 * factor, : 4 * factor]
    np.testing.assert_array_equal(first, cells[0].repeat(factor, 0).repeat(factor, 1))
    assert max(sheet.shape) >= 512


def test_pictures_of_several_sizes_are_shown_as_large_as_the_largest():
    large = np.random.RandomState(0).randint(1, 256, (6, 6, 1)).astype(np.uint8)
    small, flat = large[:2, :2], large[:1, :2]
    together = images.alike([large, small, flat])
    np.testing.assert_array_equal(together[0], large)
    np.testing.assert_array_equal(together[1], small.repeat(3, 0).repeat(3, 1))
    # What has another shape is centred: 1x2 becomes 3x6, with 3 rows left over.
    assert together[2].any((1, 2)).tolist() == [False, True, True, True, False, False]
    np.testing.assert_array_equal(together[2, 1:4], flat.repeat(3, 0).repeat(3, 1))


def test_texts_are_centred_and_cut_to_fit():
    texts = ["", "cat", "a cat " * 30, "a dog " * 30]
    strips = images.text_strips(texts, 96, 3)
    assert strips.shape == (4, 18, 96, 3)
    assert not strips[0].any()
    assert (strips == strips[..., :1]).all(), "white"
    for strip in strips[1:]:
        (columns,) = strip.any((0, 2)).nonzero()
        assert columns[0] > 0
        assert abs(columns[0] - (95 - columns[-1])) <= 4
    assert strips[2].any((0, 2)).sum() > 60, "cut no shorter than it must be"
    assert (strips[2] != strips[3]).any()
    # The size of the letters may give way to a long name; the strip's never does.
    assert images.text_strips(["cat"], 96, 3).shape == strips[1:2].shape


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("cat 3 \u2026", "cat 3 \u2026"),
        ("\u5317\u4eac", "BeiJing"),
        ("\u0424\u043e\u0442\u043e", "Foto"),
        ("caf\u00e9, cafe\u0301", "cafe, cafe"),
        ("\ud55c\uad6d\uc5b4", "HanGugEo"),
        ("\u0e01\u0e23\u0e38\u0e07", "krung"),
        ("\u0627\u0644\u0642\u0637", "alqt"),
        ("\u0627", "a"),
        ("\u30b1\u30fc\u30ad", "keki"),
        ("\U0001f600\ufe0f smile", ":grinning: smile"),
        ("\ue000 of nobody", "? of nobody"),
        ("two\nlines\x07", "two lines"),
    ],
)
def test_texts_of_any_script_are_spelled_and_never_drawn_as_boxes(text, spelled):
    written = images.text_strips([text], 400, 1)
    np.testing.assert_array_equal(written, images.text_strips([spelled], 400, 1))
    font = images.ImageFont.load_default(20)
    box = bytes(font.getmask("\uffff"))
    assert all(bytes(font.getmask(character)) != box for character in spelled)


def test_letters_do_not_grow_with_wide_pictures():
    assert images.text_strips(["step 3"], 2_000, 1).shape == (1, 48, 2_000, 1)


def test_captions_are_on_their_own_side():
    image = np.full((2, 48, 48, 1), 7, np.uint8)
    strips = images.text_strips(["cat", "dog"], 96, 1)
    over = images.captioned(image, above=["cat", "dog"])
    np.testing.assert_array_equal(over[:, :-96], strips)
    assert (over[:, -96:] == 7).all()
    under = images.captioned(image, below=["cat", "dog"])
    np.testing.assert_array_equal(under[:, 96:], strips)
    assert images.captioned(image).shape == (2, 96, 96, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gif_plays_for_ever(tmp_path, channels):
    levels = np.array([0, 100, 255], np.uint8)[:, None, None, None]
    images.save_gif(tmp_path / "a.gif", np.broadcast_to(levels, (3, 4, 6, channels)))
    with Image.open(tmp_path / "a.gif") as film:
        assert (film.n_frames, film.size, film.info["loop"]) == (3, (6, 4), 0)
        for i, level in enumerate(levels.ravel()):
            film.seek(i)
            assert film.info["duration"] == 50
            assert (np.asarray(film.convert("RGB")) == level).all()
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]


def test_a_gif_keeps_a_colour_of_few_pixels(tmp_path):
    """The yellow of a hat, among blue buttons."""
    with np.load(ROOT / "ganjax" / "data" / "embedded" / "emoji64.npz") as arrays:
        frame = images.grid(arrays["image"][:16], 4)
    images.save_gif(tmp_path / "a.gif", frame[None])
    with Image.open(tmp_path / "a.gif") as film:
        shown = np.asarray(film.convert("RGB")).astype(int)
    assert abs(shown - frame).max() < 64
    assert abs(shown - frame).mean() < 4


def test_an_mp4_has_the_frames(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    levels = np.arange(0, 250, 25, dtype=np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (10, 65, 64, 1))
    images.save_mp4(tmp_path / "a.mp4", frames)
    command = [ffmpeg.get_ffmpeg_exe(), "-i", str(tmp_path / "a.mp4"), "-f", "rawvideo"]
    done = subprocess.run([*command, "-pix_fmt", "gray", "-"], capture_output=True, check=True)
    assert re.search(r"h264.* 64x64, .* 20 fps", done.stderr.decode()), "an odd side loses a pixel"
    read = np.frombuffer(done.stdout, np.uint8).reshape(10, 64, 64).mean((1, 2))
    np.testing.assert_allclose(read, levels, atol=4)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_without_an_encoder_the_mend_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(
        UserError, match=r"a.mp4: MP4 needs an encoder; pip install 'ganjax\[video\]'"
    ):
        images.save_mp4(tmp_path / "a.mp4", np.zeros((2, 4, 4, 1), np.uint8))
    assert not list(tmp_path.iterdir())


def test_an_npz_holds_the_arrays(tmp_path):
    image = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    images.save_npz(tmp_path / "a.npz", {"image": image})
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays.files == ["image"]
        np.testing.assert_array_equal(arrays["image"], image)
        assert arrays["image"].dtype == np.uint8


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    blank = np.zeros((1, 2, 2, 3), np.uint8)
    for name in ("a.png", "a.gif", "a.npz"):
        (tmp_path / name).write_text("old")

    def full(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", full)
    monkeypatch.setattr(np.lib.format, "write_array", full)
    for write, value in [
        (images.save_png, blank[0]),
        (images.save_gif, blank),
        (images.save_npz, {"image": blank}),
    ]:
        with pytest.raises(OSError, match="no space left"):
            write(tmp_path / f"a.{write.__name__[-3:]}", value)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == dict.fromkeys(
        ("a.png", "a.gif", "a.npz"), "old"
    )
