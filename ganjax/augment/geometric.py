"""General geometric transforms, and the resampling that they share with blitting.

Karras et al. 2020 (arXiv:2006.06676), appendix B, algorithm 1, lines 16 to 47.
"""

import jax
import jax.numpy as jnp
from jax import lax

from ganjax.augment import affine, wavelets
from ganjax.augment.gate import differs, gated, lognormal, only_where, uniform
from ganjax.augment.shapes import Images, Maps, Probabilities, RandomKey
from ganjax.keys import fold
from ganjax.ops.chunks import count_chunks, map_chunks

# The standard deviation of log2 of both scalings.
SCALE = 0.2
# The standard deviation of the translation, as a share of the image's size.
TRANSLATION = 0.125
# Pixels of the doubled images, which hold a period of their reflections, over those of the images.
DOUBLED = 16
# Bytes of the doubled images of one chunk, which should fit a CPU's cache (docs/speed.md).
CHUNK_BYTES = 4 << 20
TRANSFORMS = ("isotropic_scaling", "rotation", "anisotropic_scaling", "fractional_translation")


def inverse(key: RandomKey, n: int, p: Probabilities, size: tuple[int, int]) -> Maps:
    """Draws the inverses of n maps, each composed of the four transforms.

    The order is isotropic scaling, rotation, anisotropic scaling, rotation again, and translation.
    Each of the two rotations has probability 1 - sqrt(1 - p), so that at least one happens with p.

    Args:
      key: the random key of this family.
      n: the number of samples.
      p: the probability of each of TRANSFORMS, for each sample on its own.
      size: the (height, width) of the images, in pixels.

    Returns:
      The inverse maps (n, 3, 3).
    """
    height, width = size
    keys = {
        name: fold(key, name)
        for name in ("isotropic", "pre_rotate", "anisotropic", "post_rotate", "translate")
    }
    p_rotate = 1 - jnp.sqrt(1 - jnp.asarray(p["rotation"], jnp.float32))

    def scaling(name):
        factors = lognormal(fold(keys[name], "value"), n, SCALE)
        return gated(keys[name], p[f"{name}_scaling"], factors, 1.0)

    def angle(name):
        angles = uniform(fold(keys[name], "value"), n, -jnp.pi, jnp.pi)
        return gated(keys[name], p_rotate, angles, 0.0)

    isotropic, anisotropic = scaling("isotropic"), scaling("anisotropic")
    shift = TRANSLATION * jax.random.normal(fold(keys["translate"], "value"), (n, 2), jnp.float32)
    shift = shift * jnp.array([[width, height]], jnp.float32)
    shift = gated(keys["translate"], p["fractional_translation"], shift, [0, 0])
    return affine.compose(
        affine.scale(1 / isotropic, 1 / isotropic),
        affine.rotate(angle("pre_rotate")),
        affine.scale(1 / anisotropic, anisotropic),
        affine.rotate(angle("post_rotate")),
        affine.translate(-shift[:, 0], -shift[:, 1]),
    )


def apply(images: Images, inverse: Maps) -> Images:
    """Moves images by maps of the given inverses, without aliasing.

    Images are upsampled twofold with the wavelet sym6, looked up bilinearly, and downsampled with
    sym6. Beyond its edges an image continues with its own reflection, d c b | a b c d | c b a,
    however far a map reaches. Images whose map is the identity stay bit for bit as they are.

    Args:
      images: (N, H, W, C).
      inverse: (N, 3, 3), the inverse maps in pixels, from the images' centre.
    """

    def in_chunks(images, inverse):
        count = count_chunks(len(images), 4 * images.size * DOUBLED, CHUNK_BYTES)
        return map_chunks(lambda chunk: _apply(*chunk), (images, inverse), count)

    return lax.platform_dependent(images, inverse, cpu=in_chunks, default=_apply)


def _apply(images: Images, inverse: Maps) -> Images:
    n, height, width, channels = images.shape

    def filtered(x, rows, columns):
        for matrix in (rows, columns):  # Each product takes axis 1 and makes it the last.
            x = jnp.tensordot(x, jnp.asarray(matrix, x.dtype), ((1,), (1,)), precision="highest")
        return jnp.moveaxis(x, 1, -1)

    doubled = filtered(images, wavelets.upsampling(height), wavelets.upsampling(width))
    # Right to left: from pixels of the output's doubled grid to pixels from the images' centre, the
    # inverse, and back to pixels of the doubled images.
    first = wavelets.SHIFT - 0.5
    half, corner = jnp.array([0.5]), -wavelets.REACH - first
    doubled_inverse = affine.compose(
        affine.translate(jnp.array([width + first]), jnp.array([height + first])),
        affine.scale(2 * jnp.ones(1), 2 * jnp.ones(1)),
        inverse,
        affine.scale(half, half),
        affine.translate(jnp.array([corner - width]), jnp.array([corner - height])),
    )
    across, down = (2 * (size + wavelets.REACH) for size in (width, height))
    x, y = affine.positions(doubled_inverse, across, down)
    x, y = (
        affine.periodic(at, size - 1) for at, size in ((x, doubled.shape[2]), (y, doubled.shape[1]))
    )
    moved = affine.bilinear(doubled, x, y).reshape(n, down, across, channels)
    moved = filtered(moved, wavelets.downsampling(height), wavelets.downsampling(width))
    return only_where(differs(inverse, jnp.eye(3)), moved, images)
