"""The sizes of images: `config.image_size`, a number for squares or a pair, as height and width."""

import ast
import contextlib
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator

LARGEST_SIDE = 16_384


class Size(NamedTuple):
    """The height and the width of images in pixels, which text shows as 96x128."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"

    @property
    def pixels(self) -> int:
        """The number of pixels of an image."""
        return self.height * self.width

    @property
    def shorter(self) -> int:
        """The number of pixels of the shorter side."""
        return min(self)

    @property
    def is_square(self) -> bool:
        """Whether the height equals the width."""
        return self.height == self.width

    @property
    def field(self) -> int | tuple[int, int]:
        """The value of config.image_size: the side of a square, or (height, width)."""
        return self.height if self.is_square else (self.height, self.width)


def checked(value: Any) -> int | tuple[int, int]:
    """Returns a value of config.image_size in its only form: the side of a square, or a pair.

    Args:
      value: the side of square images in pixels, or (height, width).

    Raises:
      ValueError: it is neither, or a side is too small or too large.
    """
    sides = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(sides) != 2 or any(type(side) is not int for side in sides):
        raise ValueError(
            "set the side of square images in pixels, such as 64, or (height, width), such as "
            "96,128"
        )
    if min(sides) < 1:
        raise ValueError("should be greater than 0")
    if max(sides) > LARGEST_SIDE:
        raise ValueError(f"should be less than or equal to {LARGEST_SIDE}")
    return Size(*sides).field


def parsed(value: Any) -> int | tuple[int, int]:
    """Returns a value of config.image_size as `checked` does, also that of a flag: "96,128".

    Raises:
      ValueError: as by `checked`.
    """
    if isinstance(value, str):
        with contextlib.suppress(ValueError, SyntaxError):
            value = ast.literal_eval(value)
    return checked(value)


# The type of config.image_size, and of arguments that name a size as it does.
ImageSize = Annotated[int | tuple[int, int], BeforeValidator(checked)]


def size_of(image_size: ImageSize) -> Size:
    """Returns the height and width that a value of config.image_size names."""
    return Size(image_size, image_size) if isinstance(image_size, int) else Size(*image_size)
