"""Pixel blitting, the family of transforms that move whole pixels.

Karras et al. 2020 (arXiv:2006.06676), appendix B, algorithm 1, lines 5 to 15.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from ganjax.augment import affine
from ganjax.augment.gate import gated, uniform
from ganjax.augment.shapes import Maps, Probabilities, RandomKey
from ganjax.keys import fold

# The largest translation, as a share of the image's size.
TRANSLATION = 0.125
TRANSFORMS = ("x_flip", "rotate_90", "integer_translation")


def inverse(key: RandomKey, n: int, p: Probabilities, size: tuple[int, int]) -> Maps:
    """Draws the inverses of n maps, each a flip, a rotation by quarter turns and a translation.

    A flip happens to half of the images for which it is drawn; rotations are by 0 to 3 quarter
    turns, and translations by up to an eighth of the size.

    Args:
      key: the random key of this family.
      n: the number of samples.
      p: the probability of each of TRANSFORMS, for each sample on its own.
      size: the (height, width) of the images, in pixels.

    Returns:
      The inverse maps (n, 3, 3).
    """
    height, width = size
    flip_key, turn_key, shift_key = (
        fold(key, name) for name in ("x_flip", "rotate_90", "translate")
    )
    flips = jax.random.randint(fold(flip_key, "value"), (n,), 0, 2).astype(jnp.float32)
    flips = gated(flip_key, p["x_flip"], flips, 0.0)
    turns = jax.random.randint(fold(turn_key, "value"), (n,), 0, 4)
    turns = gated(turn_key, p["rotate_90"], turns, 0)
    x = jnp.round(width * uniform(fold(shift_key, "x"), n, -TRANSLATION, TRANSLATION))
    y = jnp.round(height * uniform(fold(shift_key, "y"), n, -TRANSLATION, TRANSLATION))
    shift = gated(shift_key, p["integer_translation"], jnp.stack([x, y], -1), [0, 0])
    return affine.compose(
        affine.scale(1 - 2 * flips, jnp.ones(n)),
        quarter_turns(turns),
        affine.translate(-shift[:, 0], -shift[:, 1]),
    )


def quarter_turns(turns: Int[Array, " n"]) -> Maps:
    """Returns rotations by `turns` * 90 degrees clockwise, (n,) -> (n, 3, 3), free of rounding."""
    cos = jnp.array([1.0, 0.0, -1.0, 0.0])[turns]
    sin = jnp.array([0.0, 1.0, 0.0, -1.0])[turns]
    return affine.matrix(((cos, -sin, 0.0), (sin, cos, 0.0)))
