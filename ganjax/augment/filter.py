"""Image-space filtering, which amplifies or damps four octaves of frequency at random.

Karras et al. 2020 (arXiv:2006.06676), appendix B, "image-space filtering".
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ganjax.augment import wavelets
from ganjax.augment.gate import differs, gated, lognormal, only_where
from ganjax.augment.shapes import Images, Probabilities, RandomKey
from ganjax.engine.pixels import ValueRange
from ganjax.keys import fold

# The standard deviation of log2 of a gain.
GAIN = 1.0
# The expected share of power in each octave, the lowest first: natural images fall as 1 / f.
POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)
TRANSFORMS = ("filter",)


def gains(key: RandomKey, n: int, p: Probabilities) -> Float[Array, "n 4"]:
    """Draws the gains (n, 4) of the four octaves, each in turn with probability p["filter"].

    After each draw all four gains are scaled such that the expected power of an image stays.

    Args:
      key: the random key of this family.
      n: the number of samples.
      p: the probability of each of TRANSFORMS.
    """
    total, power = jnp.ones((n, 4)), jnp.array([POWER])
    for octave in range(4):
        octave_key = fold(key, octave)
        drawn = jnp.ones((n, 4)).at[:, octave].set(lognormal(fold(octave_key, "value"), n, GAIN))
        drawn = drawn / jnp.sqrt(jnp.sum(power * drawn**2, axis=-1, keepdims=True))
        total = total * gated(octave_key, p["filter"], drawn, jnp.ones(4))
    return total


def apply(images: Images, gains: Float[Array, "n 4"], value_range: ValueRange) -> Images:
    """Multiplies the octaves of images by their gains, along both axes.

    Images are mirrored at their edges, and mid-grey counts as 0, as for values in [-1, 1]. Images
    whose gains are all 1 stay bit for bit as they are.

    Args:
      images: (N, H, W, C).
      gains: (N, 4), the factors of the octaves, the lowest first.
      value_range: the values of black and of white in the images.
    """
    middle = sum(value_range) / 2

    def along(size):
        matrices = jnp.asarray(wavelets.band_matrices(size), jnp.float32)
        return jnp.einsum("ni,iab->nab", gains, matrices, precision="highest").astype(images.dtype)

    rows, columns = (along(size) for size in images.shape[1:3])
    filtered = jnp.einsum("nab,nbwc->nawc", rows, images - middle, precision="highest")
    filtered = jnp.einsum("nab,nhbc->nhac", columns, filtered, precision="highest") + middle
    return only_where(differs(gains, jnp.ones(4)), filtered, images)
