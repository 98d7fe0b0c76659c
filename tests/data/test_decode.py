"""PNG files written chunk by chunk: every depth of a transparent colour, every kind of addition."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from ganjax.data.decode import decode_image
from ganjax.data.fit import to_channels
from ganjax.errors import DataError

GREY, RGB, PALETTE = 0, 2, 3


def chunk(kind, data):
    whole = kind + data
    return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))


def written(depth, colour, row, extra=b"", after=b"", width=2):
    """Returns a PNG file of one row of pixels, with other chunks before and after them."""
    header = struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + row))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return io.BytesIO(start + extra + pixels + after + chunk(b"IEND", b""))


def shorts(*values):
    return struct.pack(f">{len(values)}H", *values)


@pytest.mark.parametrize(
    ("depth", "colour", "row", "key"),
    [
        (1, GREY, b"\x40", shorts(1)),
        (2, GREY, b"\x10", shorts(1)),
        (4, GREY, b"\x0a", shorts(10)),
        (8, GREY, b"\x00\xc8", shorts(200)),
        (16, GREY, shorts(0, 40_000), shorts(40_000)),
        (8, RGB, bytes([0, 0, 0, 4, 5, 6]), shorts(4, 5, 6)),
        (16, RGB, shorts(0, 0, 0, 4_000, 5_000, 6_000), shorts(4_000, 5_000, 6_000)),
    ],
)
def test_the_transparent_colour_of_every_depth_shows_the_background(depth, colour, row, key):
    image = decode_image(written(depth, colour, row, chunk(b"tRNS", key)))
    over = to_channels(image, 3, (1, 2, 3))
    assert over.tolist() == [[[0, 0, 0], [1, 2, 3]]]


def compressed(keyword, length, before=b"\0"):
    return keyword + b"\0" + before + zlib.compress(b"x" * length)


MEBI = 1 << 20
BROKEN = chunk(b"tEXt", b"Title\0of this")[:-1] + b"?"
ADDITIONS = {
    "a long compressed text": chunk(b"zTXt", compressed(b"k", 2 * MEBI)),
    "a long international text": chunk(b"iTXt", compressed(b"k", 2 * MEBI, b"\1\0\0\0")),
    "many texts": chunk(b"zTXt", compressed(b"k", MEBI)) * 5,
    "a long colour profile": chunk(b"iCCP", compressed(b"k", 2 * MEBI)),
    "a damaged text": BROKEN,
    "a damaged EXIF": chunk(b"eXIf", b"garbage"),
    "a cut EXIF": chunk(b"eXIf", b"II*\0\x08\0\0\0\x05\0\x12\x01"),
    "a cut resolution": chunk(b"pHYs", b""),
}


@pytest.fixture(autouse=True)
def _little_memory_for_texts(monkeypatch):
    """Pillow's own limit is 64 MiB."""
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 4 * MEBI)


@pytest.mark.parametrize("name", ADDITIONS)
@pytest.mark.parametrize("place", ["extra", "after"])
def test_an_addition_that_cannot_be_read_costs_no_pixels(name, place):
    image = decode_image(written(8, GREY, b"\x03\xc8", **{place: ADDITIONS[name]}))
    assert image.tolist() == [[[3], [200]]]


def test_an_image_is_upright_also_where_its_texts_are_too_long():
    exif = Image.Exif()
    exif[0x0112] = 3  # By 180 degrees.
    upright = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    file = written(8, GREY, b"\x03\xc8", upright + ADDITIONS["many texts"])
    assert decode_image(file).tolist() == [[[200], [3]]]


def test_a_damaged_exif_of_another_format_is_ignored():
    file = io.BytesIO()
    image = np.full((2, 2, 3), 9, np.uint8)
    Image.fromarray(image).save(file, "webp", lossless=True, exif=b"Exif\0\0garbage")
    np.testing.assert_array_equal(decode_image(file), image)


def test_damaged_pixels_are_refused_whatever_is_taken_out():
    whole = written(8, GREY, b"\x03\xc8", ADDITIONS["a damaged EXIF"]).getvalue()
    with pytest.raises(DataError, match="broken data stream"):
        decode_image(io.BytesIO(whole.replace(zlib.compress(b"\0\x03\xc8"), b"?" * 11)))
