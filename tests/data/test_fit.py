"""How images get to a size and channels, against Pillow and numbers computed by hand."""

from typing import get_args

import numpy as np
import pytest
from PIL import Image

from ganjax.data.fields import DataFields
from ganjax.data.fit import (
    FITS,
    Box,
    area,
    bounding_box,
    box_crop,
    central_crop,
    pad,
    resize,
    to_channels,
)
from ganjax.errors import DataError

RANDOM = np.random.RandomState(0)


@pytest.mark.parametrize("shape", [(12, 8), (7, 5), (3, 40), (16, 24), (2, 3), (66_000, 1)])
@pytest.mark.parametrize("levels", [256, 2])  # Of two levels, many means are halves.
def test_area_is_the_mean_of_what_a_pixel_covers_and_halves_go_up(shape, levels):
    image = RANDOM.randint(0, levels, (*shape, 3), np.uint8)
    height, width = 4, 6
    # Every pixel of both divides into whole parts of this.
    fine = image.repeat(height, axis=0).repeat(width, axis=1)
    cells = fine.reshape(height, shape[0], width, shape[1], 3).sum((1, 3), dtype=np.int64)
    whole = shape[0] * shape[1]
    np.testing.assert_array_equal(area(image, height, width), (2 * cells + whole) // (2 * whole))


@pytest.mark.parametrize("factor", [2, 4, 8, 32])
def test_resizing_to_a_half_or_a_quarter_is_exact(factor):
    image = RANDOM.randint(0, 256, (64, 32, 3), np.uint8)
    cells = image.reshape(64 // factor, factor, 32 // factor, factor, 3).sum((1, 3), dtype=int)
    expected = (2 * cells + factor**2) // (2 * factor**2)
    np.testing.assert_array_equal(area(image, 64 // factor, 32 // factor), expected)


# (height, width), box in pixels -> (height, width, top, left), computed by hand.
BOXES = [
    # In the middle: a square of 1.25 * 40 = 50 around (50, 60).
    ((100, 120), Box(30, 50, 70, 70), (50, 50, 25, 35)),
    # At the left border: c_x = 10, so at most 20 wide, from 0; 50 high.
    ((100, 120), Box(30, 0, 70, 20), (50, 20, 25, 0)),
    # At the right: c_x = 110, 2 (120 - 110) = 20 wide, from 100.
    ((100, 120), Box(30, 100, 70, 120), (50, 20, 25, 100)),
    # At the top: c_y = 20, at most 40 high, from 0; 50 wide around 60.
    ((100, 120), Box(0, 50, 40, 70), (40, 50, 0, 35)),
    # At the bottom: c_y = 80, 2 (100 - 80) = 40 high, from 60.
    ((100, 120), Box(60, 50, 100, 70), (40, 50, 60, 35)),
    # In a corner: 20 and 20.
    ((100, 120), Box(80, 100, 100, 120), (20, 20, 80, 100)),
    # The whole image: 1.25 * 120 = 150, cut to what there is.
    ((100, 120), Box(0, 0, 100, 120), (100, 120, 0, 0)),
    # Rounded to the nearest: side 40 around (46, 45), and side 41.25 from (25.875, 24.875).
    ((100, 120), Box(30, 32, 62, 58), (40, 40, 26, 25)),
    ((100, 120), Box(30, 32, 63, 59), (41, 41, 26, 25)),
    # Halves to even: side 2.5 from (8.75, 10.25), side 17.5 from (2.5, 3.5).
    ((100, 120), Box(9, 11, 11, 12), (2, 2, 9, 10)),
    ((100, 120), Box(4.25, 5.25, 18.25, 19.25), (18, 18, 2, 4)),
    # At the lower right both would be rounded up, to 96 + 6 > 101: the height gives way.
    ((101, 120), Box(95, 50, 101.5, 56.5), (5, 8, 96, 49)),
]


@pytest.mark.parametrize(("extent", "box", "crop"), BOXES)
def test_a_bounding_box_is_cropped_as_computed_by_hand(extent, box, crop):
    assert box_crop(*extent, box) == crop
    image = RANDOM.randint(0, 256, (*extent, 3), np.uint8)
    height, width, top, left = crop
    expected = area(image[top : top + height, left : left + width], 16, 16)
    np.testing.assert_array_equal(bounding_box(image, 16, box), expected)


def crop_of_the_source(height, width, box):
    """The Keras form's formula, a number at a time, as (height, width, top, left)."""
    f = np.float32
    ymin, xmin, ymax, xmax = map(f, box)
    size = max(f(1.25) * (ymax - ymin), f(1.25) * (xmax - xmin))
    found = []
    for low, high, extent in ((ymin, ymax, f(height)), (xmin, xmax, f(width))):
        centre = f(0.5) * (low + high)
        side = min(size, f(2.0) * centre, f(2.0) * (extent - centre))
        offset = centre - f(0.5) * side
        assert offset.dtype == side.dtype == np.float32
        found.append((round(float(side)), round(float(offset))))  # Python's halves go to even.
    return found[0][0], found[1][0], found[0][1], found[1][1]


@pytest.mark.parametrize("parts", [1, 2, 4, 1000])  # Of pixels that are whole, halves, ...
def test_boxes_are_cropped_as_the_source_crops_them(parts):
    """A pixel that would lie outside of the image apart, which TensorFlow refuses."""
    random, overruns = np.random.RandomState(parts), 0
    for _ in range(500):
        extent = random.randint(20, 200, 2)
        corners = np.sort(random.randint(0, extent * parts + 1, (2, 2)) / parts, axis=0)
        if (corners[1] - corners[0]).min() < 1:
            continue
        box = Box(*corners.ravel())
        crop, expected = box_crop(*extent, box), crop_of_the_source(*extent, box)
        assert crop[2:] == expected[2:]
        over = np.maximum(np.add(expected[2:], expected[:2]) - extent, 0)
        assert over.max() <= 1
        assert crop[:2] == tuple(expected[:2] - over)
        overruns += over.any()
    assert overruns or parts in (1, 1000)  # Only halves are rounded up together.


def test_relative_boxes_are_of_float32():
    """In float32 500 times 139 / 500, rounded down, is 139; halves depend on it."""
    corners = np.array([139 / 500, 39 / 500, 239 / 500, 119 / 500], np.float32) * np.float32(500)
    assert box_crop(500, 500, Box(*corners)) == crop_of_the_source(500, 500, Box(139, 39, 239, 119))


@pytest.mark.parametrize("box", [Box(0, 0, 0, 0), Box(120, 120, 140, 140), Box(50, 5, 40, 3)])
def test_a_box_outside_of_the_image_is_refused(box):
    with pytest.raises(DataError, match="leaves nothing to crop"):
        bounding_box(np.zeros((100, 100, 3), np.uint8), 8, box)


def test_an_image_without_a_box_is_refused():
    with pytest.raises(
        DataError, match=r"config.data.fit='bounding_box': an image has no bounding box"
    ):
        bounding_box(np.zeros((100, 100, 3), np.uint8), 8)


def test_resize_crops_the_central_square():
    image = np.zeros((20, 10, 3), np.uint8)
    image[5:15] = 200
    assert np.all(resize(image, 5) == 200)
    up = resize(image, 20)
    expected = Image.fromarray(image[5:15]).resize((20, 20), Image.Resampling.BICUBIC)
    assert np.array_equal(up, np.asarray(expected))


# An image, the size that it gets to, and the (height, width) that is kept of it, by hand.
CROPS = [
    ((40, 100), (10, 20), (40, 80)),
    ((100, 40), (10, 20), (20, 40)),
    ((30, 40), (24, 32), (30, 40)),
    ((5, 9), (2, 3), (5, 8)),  # 7.5, halves up.
    ((9, 5), (3, 2), (8, 5)),
    ((50, 70), 32, (50, 50)),
    ((3, 1), (1, 400), (1, 1)),
]


@pytest.mark.parametrize(("extent", "size", "kept"), CROPS)
def test_the_largest_centre_of_the_proportions_that_are_asked_for_is_kept(extent, size, kept):
    assert central_crop(*extent, size) == kept
    image = RANDOM.randint(0, 256, (*extent, 3), np.uint8)
    top, left = ((whole - part) // 2 for whole, part in zip(extent, kept, strict=True))
    centre = image[top : top + kept[0], left : left + kept[1]]
    height, width = (size, size) if isinstance(size, int) else size
    made = resize(image, size)
    if kept[0] >= height and kept[1] >= width:
        np.testing.assert_array_equal(made, area(centre, height, width))
    else:
        pil = Image.fromarray(centre).resize((width, height), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(made, np.asarray(pil))


def test_an_image_that_is_not_square_is_resized_as_pillow_does():
    """By whole factors, where Pillow's means are exact, and bicubically to grow."""
    image = RANDOM.randint(0, 256, (40, 100, 3), np.uint8)
    small = Image.fromarray(image).crop((10, 0, 90, 40)).reduce(4)
    np.testing.assert_array_equal(resize(image, (10, 20)), np.asarray(small))
    large = Image.fromarray(image).crop((23, 0, 76, 40)).resize((128, 96), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(resize(image, (96, 128)), np.asarray(large))


def test_an_image_is_padded_along_either_axis():
    image = RANDOM.randint(0, 256, (3, 6, 3), np.uint8)
    image[0, 0] = 7
    padded = pad(image, (7, 9))
    np.testing.assert_array_equal(padded[2:5, 1:7], image)
    assert (padded.sum(-1) == 21).sum() >= 7 * 9 - 3 * 6 + 1
    with pytest.raises(DataError, match=r"3x6 do not fit into config.image_size=\(9, 5\)"):
        pad(image, (9, 5))


def test_a_crop_around_a_box_has_the_proportions_that_are_asked_for():
    """Of a box of 40x20: 50x25 for the margin, so 50x100 for images twice as wide as high."""
    box, image = Box(30, 50, 70, 70), RANDOM.randint(0, 256, (100, 120, 3), np.uint8)
    assert box_crop(100, 120, box, (16, 32)) == (50, 100, 25, 10)
    assert box_crop(100, 120, box, (20, 10)) == (50, 25, 25, 48)  # From 47.5, halves to even.
    expected = area(image[25:75, 10:110], 16, 32)
    np.testing.assert_array_equal(bounding_box(image, (16, 32), box), expected)


def test_pad_centres_on_the_background():
    image = np.full((2, 2, 3), 7, np.uint8)
    image[1, 1] = 9
    padded = pad(image, 4)
    assert np.all(padded[0] == 7)
    assert np.all(padded[2, 2] == 9)


def test_an_image_is_enlarged_bicubically():
    image = RANDOM.randint(0, 256, (9, 9, 3), np.uint8)
    expected = Image.fromarray(image).resize((16, 16), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(resize(image, 16), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_transparent_image_lies_over_the_background(mode):
    channels = len(mode)
    image = RANDOM.randint(0, 256, (20, 20, channels), np.uint8)
    over = Image.new("RGBA", (20, 20), (10, 200, 30))
    expected = Image.alpha_composite(over, Image.fromarray(image, mode).convert("RGBA"))
    made = to_channels(image, 3, (10, 200, 30))
    assert np.abs(made.astype(int) - np.asarray(expected.convert("RGB"))).max() <= 1


def test_sixteen_bits_are_rounded_to_eight():
    image = np.array([0, 128, 129, 257, 65_535, 32_896], np.uint16).reshape(2, 3, 1)
    assert to_channels(image, 1).ravel().tolist() == [0, 0, 1, 1, 255, 128]


@pytest.mark.parametrize("image", [np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_arrays_that_are_no_images_are_refused(image):
    with pytest.raises(DataError, match="are not read"):
        to_channels(image, 3)


def test_a_config_can_name_every_way_of_fitting_and_no_other():
    assert get_args(DataFields.model_fields["fit"].annotation) == tuple(FITS)
