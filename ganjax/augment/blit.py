"""Pixel blitting, the family of transforms that move whole pixels.

Karras et al. 2020 (arXiv:2006.06676), appendix B, algorithm 1, lines 5 to 15.

The paper composes these moves with the geometric ones and filters all of them. Here flips and
quarter turns are made beforehand, pixel by pixel (choice): a reflected image filtered is not quite
the reflection of the filtered image, since sym6 is not symmetric, and D would learn the difference.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ganjax.augment import affine
from ganjax.augment.gate import gated, only_where, uniform
from ganjax.augment.shapes import Images, Maps, Probabilities, RandomKey
from ganjax.keys import fold

# The largest translation, as a share of the image's size.
TRANSLATION = 0.125
TRANSFORMS = ("x_flip", "rotate_90", "integer_translation")


class Moves(NamedTuple):
    """The moves of n images, in this order.

    Attributes:
      flips: whether an image is flipped, left to right.
      turns: by how many quarter turns, counter-clockwise, it is rotated: 0 to 3, or 0 or 2 where it
        is not square.
      shift: by how many whole pixels it is translated, to the right and down.
    """

    flips: Bool[Array, " n"]
    turns: Int[Array, " n"]
    shift: Float[Array, "n 2"]

    def inverse_translation(self) -> Maps:
        """Returns the inverse maps (n, 3, 3) of the translations alone."""
        return affine.translate(-self.shift[:, 0], -self.shift[:, 1])


def draw(key: RandomKey, n: int, p: Probabilities, size: tuple[int, int]) -> Moves:
    """Draws the moves of n images.

    A flip happens to half of the images for which it is drawn; rotations are by 0 to 3 quarter
    turns, and translations by up to an eighth of the size. Images that are not square would not fit
    into their own frame after a quarter turn, so half of them is turned upside down instead
    (choice; the paper's images are square).

    Args:
      key: the random key of this family.
      n: the number of images.
      p: the probability of each of TRANSFORMS, for each image on its own.
      size: the (height, width) of the images, in pixels.
    """
    height, width = size
    flip_key, turn_key, shift_key = (
        fold(key, name) for name in ("x_flip", "rotate_90", "translate")
    )
    flips = jax.random.randint(fold(flip_key, "value"), (n,), 0, 2)
    turns = jax.random.randint(fold(turn_key, "value"), (n,), 0, 4)
    turns = turns if height == width else turns // 2 * 2
    x = jnp.round(width * uniform(fold(shift_key, "x"), n, -TRANSLATION, TRANSLATION))
    y = jnp.round(height * uniform(fold(shift_key, "y"), n, -TRANSLATION, TRANSLATION))
    return Moves(
        flips=gated(flip_key, p["x_flip"], flips, 0) > 0,
        turns=gated(turn_key, p["rotate_90"], turns, 0),
        shift=gated(shift_key, p["integer_translation"], jnp.stack([x, y], -1), [0, 0]),
    )


def reorient(images: Images, flips: Bool[Array, " n"], turns: Int[Array, " n"]) -> Images:
    """Flips and then rotates images (N, H, W, C), bit for bit.

    Args:
      images: the images.
      flips: as in `Moves`.
      turns: as in `Moves`.
    """
    images = only_where(flips, images[:, :, ::-1], images)
    # A quarter turn exchanges rows and columns and reverses one of the two; a half reverses both.
    if images.shape[1] == images.shape[2]:
        images = only_where(turns % 2 == 1, images.swapaxes(1, 2), images)
    images = only_where((turns == 1) | (turns == 2), images[:, ::-1], images)
    return only_where(turns >= 2, images[:, :, ::-1], images)
