"""How images of any size and kind become S x S x C uint8."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image

from ganjax.errors import DataError

# The side of a bounding box's crop over the longer side of the box (spec of the Keras form of
# adaptive discriminator augmentation: a quarter more).
BOX_MARGIN = np.float32(1.25)


class Box(NamedTuple):
    """A bounding box in pixels; the far edges lie outside of it."""

    ymin: float
    xmin: float
    ymax: float
    xmax: float


def to_channels(
    image: np.ndarray, channels: int, background: tuple[int, int, int] = (255, 255, 255)
) -> np.ndarray:
    """Grey, RGB or either with alpha, 8 or 16 bits -> uint8 (H, W, channels).

    Args:
      image: uint8 or uint16 (H, W, 1 to 4). 16 bits are rounded to 8 (x / 257); alpha lays the
        image over the background; grey is ITU-R 601 luma, as Pillow's.
      channels: 1 or 3.
      background: RGB.

    Raises:
      DataError: the image has another shape or type.
    """
    if image.ndim != 3 or image.shape[-1] not in (1, 2, 3, 4):
        raise DataError(f"images of shape {image.shape} are not read; only 1 to 4 channels are")
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if image.dtype != np.uint8:
        raise DataError(f"images of {image.dtype} are not read; only uint8 and uint16 are")
    if image.shape[-1] in (2, 4):
        alpha = image[..., -1:].astype(np.uint32)
        over = image[..., :-1] * alpha + np.array(background, np.uint32) * (255 - alpha)
        image = ((over + 127) // 255).astype(np.uint8)
    if image.shape[-1] == channels:
        return image
    if image.shape[-1] == 1:
        return np.repeat(image, 3, axis=-1)
    return np.asarray(_picture(image).convert("L"))[..., None]


def area(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes by area: a pixel is the mean of what it covers, parts of pixels included.

    It is what TensorFlow and OpenCV call "area"; Pillow's BOX takes pixels whole or not at
    all. Rounded to the nearest level, halves up.

    Args:
      image: uint8 (H, W, C).
      height: of the result.
      width: of the result.
    """
    rows, columns, channels = image.shape
    if (rows, columns) == (height, width):
        return image
    factors = columns // width, rows // height
    if (width * factors[0], height * factors[1]) == (columns, rows) and all(
        factor & (factor - 1) == 0 for factor in factors
    ):
        # Halves, quarters, ...: Pillow's sums of integers, the same on every machine. By other
        # numbers Pillow divides a little wrong.
        reduced = _picture(image).reduce(factors)
        return np.asarray(reduced).reshape(height, width, channels)
    mean = _overlaps(rows, height) @ image.reshape(rows, -1).astype(np.float32)
    mean = _overlaps(columns, width) @ mean.reshape(height, columns, channels)
    return np.floor(mean + 0.5).astype(np.uint8)


@lru_cache(maxsize=64)
def _overlaps(size: int, parts: int) -> np.ndarray:
    """(parts, size): which share of each of `parts` equal lengths each pixel of `size` covers."""
    edges = np.arange(parts + 1)[:, None] * size / parts
    pixels = np.arange(size)
    common = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return (np.maximum(common, 0) * parts / size).astype(np.float32)


def check(fit: str, height: int, width: int, size: int, box: Box | None = None) -> None:
    """Raises what FITS[fit] would of an image of that extent.

    Raises:
      DataError: it cannot be padded to `size`, or has no box, or its box leaves nothing.
    """
    if fit == "pad" and max(height, width) > size:
        raise DataError(
            f"images of {height}x{width} do not fit into config.image_size={size}; set "
            "config.data.fit=resize or a larger image_size"
        )
    if fit != "bounding_box":
        return
    if box is None:
        raise DataError(
            "config.data.fit='bounding_box': an image has no bounding box; give it one, or set "
            "resize or pad"
        )
    if min(box_crop(height, width, box)[:2]) < 1:
        raise DataError(f"{box} in an image of {height}x{width} leaves nothing to crop")


def pad(image: np.ndarray, size: int, box: Box | None = None) -> np.ndarray:
    """Centres an image on its own top-left colour.

    Raises:
      DataError: it is larger than `size`.
    """
    del box
    height, width, channels = image.shape
    check("pad", height, width, size)
    padded = np.broadcast_to(image[0, 0], (size, size, channels)).copy()
    top, left = (size - height) // 2, (size - width) // 2
    padded[top : top + height, left : left + width] = image
    return padded


def resize(image: np.ndarray, size: int, box: Box | None = None) -> np.ndarray:
    """Crops the central square and resizes it: by area downwards, Pillow's bicubic upwards."""
    del box
    height, width, _ = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    if side >= size:
        return area(square, size, size)
    resized = _picture(square).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(resized).reshape(size, size, -1)


def _picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def bounding_box(image: np.ndarray, size: int, box: Box | None = None) -> np.ndarray:
    """Crops a square around the bounding box (`box_crop`) and resizes it by area.

    Raises:
      DataError: the image has no box, or the box is outside of it.
    """
    height, width, _ = image.shape
    check("bounding_box", height, width, size, box)
    crop_height, crop_width, top, left = box_crop(height, width, box)
    return area(image[top : top + crop_height, left : left + crop_width], size, size)


def box_crop(height: int, width: int, box: Box) -> tuple[int, int, int, int]:
    """The crop of the Keras form of adaptive discriminator augmentation.

    A square of 1.25 times the longer side of the box around its centre c; each axis is cut
    down by itself, to min(side, 2c, 2(extent - c)), so that the crop stays both centred and
    within the image (and may be no square). Numbers are truncated, and float32 throughout, as
    there: in float64 a border of 139 / 500 * 500 pixels would be 138.

    Returns:
      (height, width, top, left) in pixels.
    """
    extent = np.array([height, width], np.float32)
    low = np.array([box.ymin, box.xmin], np.float32)
    high = np.array([box.ymax, box.xmax], np.float32)
    centre = np.float32(0.5) * (low + high)
    side = (BOX_MARGIN * (high - low)).max()
    two = np.float32(2)
    shape = np.minimum(side, np.minimum(two * centre, two * (extent - centre)))
    corner = centre - np.float32(0.5) * shape
    return *shape.astype(np.int32).tolist(), *corner.astype(np.int32).tolist()


FITS = {"pad": pad, "resize": resize, "bounding_box": bounding_box}
