"""Halves and doubles images by the filter [1, 3, 3, 1] / 8 along both axes.

Karras et al. 2019 (arXiv:1912.04958), section 4, and Huang et al. 2024 (arXiv:2501.05441). The two
maps are linear, and each is the transpose of the other but for a factor. As JAX primitives they are
computed in the same way in every mode and order of differentiation: as sums of neighbouring pixels
that XLA makes in one pass over the image. A depthwise convolution by the same filter takes tens of
times as long on CPUs (docs/speed.md). Merged into a convolution of 1x1 pixels, the filter would
multiply its products by 16 in the smaller image.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float


def upsample(x: Float[Array, "n h w c"]) -> Float[Array, "n 2*h 2*w c"]:
    """Doubles images: sets zeros between all pixels, then filters with a gain of 4.

    The image is 0 beyond its edges. A new pixel lies a quarter of the old pixels' distance from the
    nearest one and is 3 / 4 of that and 1 / 4 of the next, in each direction.
    """
    return UPSAMPLE.bind(x)


def downsample(x: Float[Array, "n h w c"]) -> Float[Array, "n h//2 w//2 c"]:
    """Halves images: filters them and drops every second row and column.

    The image is 0 beyond its edges. A new pixel lies in the middle of 2x2 old ones.

    Raises:
      ValueError: a height or width is odd.
    """
    if any(size % 2 for size in x.shape[1:3]):
        raise ValueError(f"downsample: an image of {x.shape[1:3]} has no 2x2 pixels throughout")
    return DOWNSAMPLE.bind(x)


def _double(x, axis: int):
    even = (_shift(x, axis, 1) + 3 * x) / 4
    odd = (3 * x + _shift(x, axis, -1)) / 4
    shape = list(x.shape)
    shape[axis] *= 2
    return jnp.stack([even, odd], axis + 1).reshape(shape)


def _halve(x, axis: int):
    x = x.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
    even, odd = (lax.index_in_dim(x, i, axis + 1, keepdims=False) for i in (0, 1))
    return (3 * (even + odd) + _shift(odd, axis, 1) + _shift(even, axis, -1)) / 8


def _shift(x, axis: int, by: int):
    """Moves an image by one pixel along an axis, 0 taking its place."""
    padding = [(0, 0, 0)] * x.ndim
    padding[axis] = (by, -by, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), padding)


def _primitive(name: str, size, along) -> Primitive:
    """Makes the primitive of a map, but for its transpose.

    It takes any number of leading axes, which `jax.vmap` adds to.

    Args:
      name: the name of the map.
      size: the function of an old height or width that returns the new one.
      along: the function (image, axis) that computes the map along one axis.
    """
    primitive = Primitive(f"ganjax_{name}")

    def compute(x):
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return along(along(wide, x.ndim - 3), x.ndim - 2).astype(x.dtype)

    def abstract(x):
        height, width = map(size, x.shape[-3:-1])
        return x.update(shape=(*x.shape[:-3], height, width, x.shape[-1]), weak_type=False)

    def batch(arrays, axes):
        return primitive.bind(jnp.moveaxis(arrays[0], axes[0], 0)), 0

    primitive.def_impl(jax.jit(primitive.bind))
    primitive.def_abstract_eval(abstract)
    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, mlir.lower_fun(compute, multiple_results=False))
    return primitive


UPSAMPLE = _primitive("upsample", lambda n: 2 * n, _double)
DOWNSAMPLE = _primitive("downsample", lambda n: n // 2, _halve)
ad.deflinear2(UPSAMPLE, lambda g, _: [4 * DOWNSAMPLE.bind(g)])
ad.deflinear2(DOWNSAMPLE, lambda g, _: [UPSAMPLE.bind(g) / 4])
