"""Conversion of images of any size and number of channels to the size and channels of a run."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image

from ganjax.data.fields import DataFields
from ganjax.engine.sizes import ImageSize, Size, size_of
from ganjax.errors import DataError

# The side of a bounding box's square crop over the longer side of the box, as in the Keras form of
# adaptive discriminator augmentation.
BOX_MARGIN = np.float32(1.25)


class Box(NamedTuple):
    """A bounding box in pixels; `ymax` and `xmax` are exclusive."""

    ymin: float
    xmin: float
    ymax: float
    xmax: float


def to_channels(
    image: np.ndarray, channels: int, background: tuple[int, int, int] = (255, 255, 255)
) -> np.ndarray:
    """Converts an image to grey or RGB.

    16-bit values are rounded to 8 bits (x / 257), a transparent image is laid over the background,
    and RGB becomes grey by its ITU-R 601 luma, as in Pillow.

    Args:
      image: uint8 or uint16 (H, W, 1 to 4): grey or RGB, with or without alpha.
      channels: 1 for grey, 3 for RGB.
      background: an RGB colour, each 0 to 255.

    Returns:
      uint8 (H, W, channels).

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
    """Resizes an image by area: each new pixel is the mean of the old pixels that it covers.

    An old pixel that is covered in part has that part as its weight, as in the "area" methods of
    TensorFlow and OpenCV; Pillow's BOX takes pixels whole or not at all. Means are exact, and
    rounded to the nearest integer, halves up.

    Args:
      image: uint8 (H, W, C).
      height: the height of the result.
      width: the width of the result.

    Returns:
      uint8 (height, width, C).
    """
    rows, columns, channels = image.shape
    if (rows, columns) == (height, width):
        return image
    factors = columns // width, rows // height
    if (width * factors[0], height * factors[1]) == (columns, rows) and all(
        factor & (factor - 1) == 0 for factor in factors
    ):
        # For halves, quarters, ... Pillow sums integers, with the same result on every machine;
        # its division by other numbers is not exact.
        reduced = _picture(image).reduce(factors)
        return np.asarray(reduced).reshape(height, width, channels)
    # Sums of whole numbers: those of a column are exact in float32 up to 2^24.
    exact = np.float32 if 255 * rows < 1 << 24 else np.float64
    sums = _overlaps(rows, height).astype(exact) @ image.reshape(rows, -1).astype(exact)
    sums = _overlaps(columns, width) @ sums.reshape(height, columns, channels).astype(np.float64)
    return np.floor(sums / (rows * columns) + 0.5).astype(np.uint8)


@lru_cache(maxsize=64)
def _overlaps(size: int, parts: int) -> np.ndarray:
    """Returns the weight of each of `size` pixels in each of `parts` equal intervals.

    Returns:
      float64 (parts, size): how much of a pixel an interval covers, as a whole number of its
      `parts`-th parts; rows sum to `size`.
    """
    edges = np.arange(parts + 1)[:, None] * size
    pixels = np.arange(size) * parts
    common = np.minimum(edges[1:], pixels + parts) - np.maximum(edges[:-1], pixels)
    return np.maximum(common, 0).astype(np.float64)


def pad(image: np.ndarray, size: ImageSize, box: Box | None = None) -> np.ndarray:
    """Centres an image on a canvas that has the colour of the image's top left pixel.

    Args:
      image: uint8 (H, W, C).
      size: the side of a square canvas, or its (height, width).
      box: ignored.

    Returns:
      uint8 (height, width, C).

    Raises:
      DataError: the image is larger than the canvas.
    """
    del box
    height, width, channels = image.shape
    check_pad(height, width, size)
    canvas = size_of(size)
    padded = np.broadcast_to(image[0, 0], (*canvas, channels)).copy()
    top, left = (canvas.height - height) // 2, (canvas.width - width) // 2
    padded[top : top + height, left : left + width] = image
    return padded


def check_pad(height: int, width: int, size: ImageSize, box: Box | None = None) -> None:
    """Raises the DataError that `pad` would raise for an image of height x width."""
    del box
    canvas = size_of(size)
    if height > canvas.height or width > canvas.width:
        raise DataError(
            f"images of {height}x{width} do not fit into config.image_size={canvas.field}; set "
            "config.data.fit=resize or a larger image_size"
        )


def resize(image: np.ndarray, size: ImageSize, box: Box | None = None) -> np.ndarray:
    """Crops the centre and resizes it, by area to shrink, by Pillow's bicubic to grow.

    Args:
      image: uint8 (H, W, C).
      size: the side of a square result, or its (height, width).
      box: ignored.

    Returns:
      uint8 (height, width, C).
    """
    del box
    new = size_of(size)
    height, width = central_crop(image.shape[0], image.shape[1], new)
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    centre = image[top : top + height, left : left + width]
    if height >= new.height and width >= new.width:
        return area(centre, *new)
    resized = _picture(centre).resize((new.width, new.height), Image.Resampling.BICUBIC)
    return np.asarray(resized).reshape(*new, -1)


def central_crop(height: int, width: int, size: ImageSize) -> Size:
    """Returns the size of the largest crop of an image that has the proportions of another size.

    The side of which something is cut away is rounded to whole pixels, halves up.

    Args:
      height: the image's height.
      width: the image's width.
      size: the other size, the side of a square or (height, width).
    """
    new = size_of(size)
    if height * new.width <= width * new.height:
        return Size(height, max(1, (2 * height * new.width + new.height) // (2 * new.height)))
    return Size(max(1, (2 * width * new.height + new.width) // (2 * new.width)), width)


def check_resize(height: int, width: int, size: ImageSize, box: Box | None = None) -> None:
    """Accepts every image: `resize` takes them all."""


def bounding_box(image: np.ndarray, size: ImageSize, box: Box | None = None) -> np.ndarray:
    """Crops an image around its bounding box (see `box_crop`) and resizes it by area.

    Args:
      image: uint8 (H, W, C).
      size: the side of a square result, or its (height, width).
      box: the image's bounding box.

    Returns:
      uint8 (height, width, C).

    Raises:
      DataError: the image has no box, or the box lies outside of it.
    """
    height, width, _ = image.shape
    check_bounding_box(height, width, size, box)
    assert box is not None  # As has just been checked.
    crop_height, crop_width, top, left = box_crop(height, width, box, size)
    return area(image[top : top + crop_height, left : left + crop_width], *size_of(size))


def check_bounding_box(height: int, width: int, size: ImageSize, box: Box | None = None) -> None:
    """Raises the DataError that `bounding_box` would raise for an image of height x width."""
    if box is None:
        raise DataError(
            "config.data.fit='bounding_box': an image has no bounding box; give it one, or set "
            "resize or pad"
        )
    if min(box_crop(height, width, box, size)[:2]) < 1:
        raise DataError(f"{box} in an image of {height}x{width} leaves nothing to crop")


def box_crop(height: int, width: int, box: Box, size: ImageSize = 1) -> tuple[int, int, int, int]:
    """Computes the crop around a bounding box, as in the Keras form of ADA.

    The crop is a square of 1.25 times the longer side of the box around the box's centre c; for
    another size, the smallest crop of that size's proportions that is 1.25 times as large as the
    box along both axes. Each axis is then reduced separately to min(side, 2c, 2(extent - c)), so
    that the crop stays both centred and within the image (and may lose its proportions). As in
    Keras' example, numbers are float32, and the corner c - side / 2 and the side are each rounded
    to the nearest integer, halves to even. Where both are rounded up and the crop would end a pixel
    outside of the image, the side gives way.

    Args:
      height: the image's height.
      width: the image's width.
      box: a bounding box in the image.
      size: the size whose proportions the crop has, the side of a square or (height, width).

    Returns:
      (height, width, top, left) of the crop in pixels.
    """
    extent = np.array([height, width], np.float32)
    low = np.array([box.ymin, box.xmin], np.float32)
    high = np.array([box.ymax, box.xmax], np.float32)
    centre = np.float32(0.5) * (low + high)
    # Of a square both are exactly 1.
    proportions = np.array(size_of(size), np.float32) / np.float32(max(size_of(size)))
    sides = (BOX_MARGIN * (high - low) / proportions).max() * proportions
    two = np.float32(2)
    sides = np.minimum(sides, np.minimum(two * centre, two * (extent - centre)))
    corner = np.rint(centre - np.float32(0.5) * sides)
    sides = np.minimum(np.rint(sides), extent - corner)
    return *sides.astype(np.int32).tolist(), *corner.astype(np.int32).tolist()


def _picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


class Fit(NamedTuple):
    """A way of bringing images of any size to one size.

    Attributes:
      apply: returns an image of the size that is asked for, given (image, size, box).
      check: raises the DataError that `apply` would raise, given (height, width, size, box).
    """

    apply: Callable[[np.ndarray, ImageSize, Box | None], np.ndarray]
    check: Callable[[int, int, ImageSize, Box | None], None]


# The values of config.data.fit.
FITS = {
    "pad": Fit(pad, check_pad),
    "resize": Fit(resize, check_resize),
    "bounding_box": Fit(bounding_box, check_bounding_box),
}


class Fitting(NamedTuple):
    """The conversion of a set's images to the size and channels that a run asks for.

    Attributes:
      data: the run's fields; `channels`, `background` and `fit` are used.
      image_size: the side of square results in pixels, or their (height, width).
    """

    data: DataFields
    image_size: ImageSize

    def __call__(self, image: np.ndarray, box: Box | None = None) -> np.ndarray:
        """Converts an image.

        Args:
          image: uint8 or uint16 (H, W, 1 to 4), as `to_channels` takes it.
          box: the image's bounding box, if it has one.

        Returns:
          uint8 (height, width, data.channels) of `image_size`.

        Raises:
          DataError: the image does not fit.
        """
        try:
            channelled = to_channels(image, self.data.channels, self.data.background)
            return FITS[self.data.fit].apply(channelled, self.image_size, box)
        except DataError as error:
            raise self._named(error) from None

    def check(self, height: int, width: int, box: Box | None = None) -> None:
        """Raises the DataError that converting an image of height x width would raise."""
        try:
            FITS[self.data.fit].check(height, width, self.image_size, box)
        except DataError as error:
            raise self._named(error) from None

    def _named(self, error: DataError) -> DataError:
        return DataError(f"config.data.source={self.data.source!r}: {error}")
