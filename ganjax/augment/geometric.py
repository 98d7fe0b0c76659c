"""General geometric transforms, and the resampling that they and blitting share.

Karras et al. 2020 (arXiv:2006.06676), appendix B, algorithm 1, lines 16 to 47.
"""

import jax
import jax.numpy as jnp

from ganjax.augment import affine, wavelets
from ganjax.augment.gate import differs, gated, lognormal, only_where, uniform
from ganjax.keys import fold

# log2 of both scalings.
SCALE = 0.2
# Of the image's size.
TRANSLATION = 0.125


def inverse(key: jax.Array, n: int, p: jax.Array | float, size: tuple[int, int]) -> jax.Array:
    """Isotropic scaling, rotation, anisotropic scaling, rotation, translation -> (n, 3, 3),
    inverted.

    Each of each sample with probability p, but each of the two rotations with 1 - sqrt(1 - p):
    that either happens has probability p.

    Args:
      key: of this family.
      n: samples.
      p: probability of each transform.
      size: (height, width) of the image.
    """
    height, width = size
    keys = {
        name: fold(key, name)
        for name in ("isotropic", "pre_rotate", "anisotropic", "post_rotate", "translate")
    }
    p_rotate = 1 - jnp.sqrt(1 - jnp.asarray(p, jnp.float32))

    def scaling(name):
        return gated(keys[name], p, lognormal(fold(keys[name], "value"), n, SCALE), 1.0)

    def angle(name):
        value = uniform(fold(keys[name], "value"), n, -jnp.pi, jnp.pi)
        return gated(keys[name], p_rotate, value, 0.0)

    isotropic, anisotropic = scaling("isotropic"), scaling("anisotropic")
    shift = TRANSLATION * jax.random.normal(fold(keys["translate"], "value"), (n, 2), jnp.float32)
    shift = gated(keys["translate"], p, shift * jnp.array([[width, height]], jnp.float32), [0, 0])
    return affine.compose(
        affine.scale(1 / isotropic, 1 / isotropic),
        affine.rotate(angle("pre_rotate")),
        affine.scale(1 / anisotropic, anisotropic),
        affine.rotate(angle("post_rotate")),
        affine.translate(-shift[:, 0], -shift[:, 1]),
    )


def apply(images: jax.Array, inverse: jax.Array) -> jax.Array:
    """images (N, H, W, C) under maps of the given inverses (N, 3, 3), free of aliasing.

    Upsampled twofold by sym6, looked up bilinearly there, downsampled by sym6. Beyond its edges
    an image is its own reflection, d c b | a b c d | c b a, however far a map reaches.
    Images whose map is the identity come out bit for bit.
    """
    n, height, width, channels = images.shape

    def filtered(x, rows, columns):
        for matrix in (rows, columns):  # Each takes the first axis but one and makes it the last.
            x = jnp.tensordot(x, jnp.asarray(matrix, x.dtype), ((1,), (1,)), precision="highest")
        return jnp.moveaxis(x, 1, -1)

    doubled = filtered(images, wavelets.upsampling(height), wavelets.upsampling(width))

    def grid(size):
        return jnp.arange(-wavelets.REACH, 2 * size + wavelets.REACH, dtype=jnp.float32)

    # The doubled grid's pixel m lies at (m - first) / 2 - size / 2 from the centre.
    first = wavelets.SHIFT - 0.5
    x, y = ((grid(size) - first - size) / 2 for size in (width, height))
    shape = (n, len(y), len(x), channels)
    x, y = (axis.reshape(-1) for axis in jnp.meshgrid(x, y))
    x, y = affine.transform(inverse, x, y)
    moved = affine.bilinear(
        doubled, 2 * x + (width + first), 2 * y + (height + first), affine.periodic
    ).reshape(shape)
    moved = filtered(moved, wavelets.downsampling(height), wavelets.downsampling(width))
    return only_where(differs(inverse, jnp.eye(3)), moved, images)
