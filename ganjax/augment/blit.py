"""Pixel blitting: transforms that move whole pixels.

Karras et al. 2020 (arXiv:2006.06676), appendix B, algorithm 1, lines 5 to 15.
"""

import jax
import jax.numpy as jnp

from ganjax.augment import affine
from ganjax.augment.gate import Probabilities, gated, uniform
from ganjax.keys import fold

# Of the image's size.
TRANSLATION = 0.125
TRANSFORMS = ("x_flip", "rotate_90", "integer_translation")


def inverse(key: jax.Array, n: int, p: Probabilities, size: tuple[int, int]) -> jax.Array:
    """x-flip, rotation by quarter turns, integer translation, in turn -> (n, 3, 3), inverted.

    Each of each sample with probability p, the flip being one in half of those and the turns
    0 to 3.

    Args:
      key: of this family.
      n: samples.
      p: probability of each of TRANSFORMS.
      size: (height, width) of the image.
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


def quarter_turns(turns: jax.Array) -> jax.Array:
    """int (N,) -> (N, 3, 3): the rotation by turns * 90 degrees clockwise, free of rounding."""
    cos = jnp.array([1.0, 0.0, -1.0, 0.0])[turns]
    sin = jnp.array([0.0, 1.0, 0.0, -1.0])[turns]
    return affine.matrix(((cos, -sin, 0.0), (sin, cos, 0.0)))
