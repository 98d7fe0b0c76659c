"""Layers that Flax lacks, or whose derivatives this project lowers its own way."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

from ganjax.ops import conv as ops

Initializer = nn.initializers.Initializer


class Conv(nn.Module):
    """`flax.linen.Conv` in two dimensions, closed under differentiation (`ganjax.ops.conv`).

    The parameters have the names and shapes of Flax's own: `kernel` (h, w, I, O) and
    `bias` (O,). Input (N, H, W, I), output (N, H', W', O).

    Attributes:
      features: O.
      kernel_size: (h, w).
      strides: an int or (vertical, horizontal).
      padding: "SAME", "VALID", an int, or ((top, bottom), (left, right)).
      use_bias: whether a bias is added.
      dtype: of the computation; None takes it from the arguments.
      kernel_init: initialiser of the kernel; the bias starts at 0.
    """

    features: int
    kernel_size: Sequence[int]
    strides: int | Sequence[int] = 1
    padding: ops.Padding = "SAME"
    use_bias: bool = True
    dtype: jnp.dtype | None = None
    kernel_init: Initializer = nn.initializers.lecun_normal()

    function = staticmethod(ops.conv)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:]) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = self.function(x, kernel, self.strides, self.padding)
        return y if bias is None else y + bias.reshape(1, 1, 1, -1)


class ConvTranspose(Conv):
    """`flax.linen.ConvTranspose` in two dimensions, closed under differentiation.

    Attributes as `Conv`; "SAME" gives H' = H * stride. See `ganjax.ops.conv.conv_transpose`
    for numeric padding.
    """

    function = staticmethod(ops.conv_transpose)


def scale_init(stddev: float) -> Initializer:
    """N(1, stddev), DCGAN's initialisation of BatchNorm's scale."""

    def init(key, shape, dtype=jnp.float32):
        return 1.0 + stddev * jax.random.normal(key, shape, dtype)

    return init


def leaky_relu(slope: float) -> Callable[[jax.Array], jax.Array]:
    """x -> max(x, slope * x); a slope of 0 is ReLU."""
    return lambda x: nn.leaky_relu(x, slope)
