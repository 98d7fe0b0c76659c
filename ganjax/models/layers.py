"""Layers that Flax lacks, or whose derivatives this project lowers its own way."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

from ganjax.ops import conv as ops

Initializer = nn.initializers.Initializer


class Conv(nn.Module):
    """`flax.linen.Conv` in two dimensions, closed under differentiation (`ganjax.ops.conv`).

    The parameters have the names and shapes of Flax's own: `kernel` (h, w, I, O) and
    `bias` (O,). Input (N, H, W, I), output (N, H', W', O). A second input (N, E) is as if
    each of its values were one more channel, the same at every pixel; I then is C + E.

    Attributes:
      features: O.
      kernel_size: (h, w).
      strides: an int or (vertical, horizontal).
      padding: "SAME", "VALID", an int, or ((top, bottom), (left, right)).
      use_bias: whether a bias is added.
      dtype: of the computation; None takes it from the arguments.
      kernel_init: initialiser of the kernel; the bias starts at 0.
      gain: the kernel is multiplied by gain / sqrt(fan-in) whenever it is used, so that with
        an initialisation of N(0, 1) an optimiser like Adam, whose steps do not know a kernel's
        scale, moves all layers at one speed (equalised learning rate, Karras et al. 2017,
        arXiv:1710.10196, section 4.1). None uses it as it is.
      resample: "up" repeats every pixel of the input to 2x2 before, "down" takes the means of 2x2
        pixels after (stride 1, "SAME"); as one convolution of fewer products.
    """

    features: int
    kernel_size: Sequence[int]
    strides: int | Sequence[int] = 1
    padding: ops.Padding = "SAME"
    use_bias: bool = True
    dtype: jnp.dtype | None = None
    kernel_init: Initializer = nn.initializers.lecun_normal()
    gain: float | None = None
    resample: str = ""

    inputs_axis = 2  # Of the kernel.

    def _function(self, x, kernel):
        if self.resample:
            if self.resample not in RESAMPLED or (self.strides, self.padding) != (1, "SAME"):
                raise ValueError(
                    f"Conv: resample={self.resample!r}, strides={self.strides}, padding="
                    f"{self.padding!r}: there are {', '.join(RESAMPLED)}, of stride 1 and 'SAME'"
                )
            return RESAMPLED[self.resample](x, kernel)
        return ops.conv(x, kernel, self.strides, self.padding)

    @nn.compact
    def __call__(self, x: jax.Array, beside: jax.Array | None = None) -> jax.Array:
        channels = x.shape[-1]
        shape = [*self.kernel_size, self.features, self.features]
        shape[self.inputs_axis] = channels + _width(beside)
        kernel = self.param("kernel", self.kernel_init, tuple(shape))
        kernel = equalised(kernel, self.gain, self.features)
        width = (self.features,)
        bias = self.param("bias", nn.initializers.zeros, width) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        kernel, rest = jnp.split(kernel, [channels], axis=self.inputs_axis)
        y = self._function(x, kernel)
        if beside is not None:
            # Of one image of ones for all samples: no gradient is taken of channels that are
            # nobody's pixels.
            shape = [*self.kernel_size, -1, -1]
            shape[self.inputs_axis] = 1
            ones = jnp.ones_like(x[:1, :, :, :1])
            maps = self._function(ones, rest.reshape(shape))
            maps = maps.reshape(*maps.shape[1:3], *rest.shape[2:])
            y = y + jnp.tensordot(beside.astype(y.dtype), maps, axes=((1,), (self.inputs_axis,)))
        return y if bias is None else y + bias.reshape(1, 1, 1, -1)


class ConvTranspose(Conv):
    """`flax.linen.ConvTranspose(transpose_kernel=True)` in two dimensions, likewise closed.

    Attributes as `Conv`, without `resample`, and `kernel` is (h, w, O, I); "SAME" gives
    H' = H * stride. See `ganjax.ops.conv.conv_transpose` for numeric padding.
    """

    inputs_axis = 3

    def _function(self, x, kernel):
        return ops.conv_transpose(x, kernel, self.strides, self.padding)


class Dense(nn.Module):
    """`flax.linen.Dense`, with a second input (N, E) as if beside the first one's features.

    The parameters have the names and shapes of Flax's own: `kernel` (F + E, O) and `bias`
    (O,). Input (N, F), output (N, O).

    Attributes:
      features: O.
      use_bias: whether a bias is added.
      dtype: of the computation; None takes it from the arguments.
      kernel_init: initialiser of the kernel; the bias starts at 0.
      gain: as in `Conv`.
    """

    features: int
    use_bias: bool = True
    dtype: jnp.dtype | None = None
    kernel_init: Initializer = nn.initializers.lecun_normal()
    gain: float | None = None

    @nn.compact
    def __call__(self, x: jax.Array, beside: jax.Array | None = None) -> jax.Array:
        width = x.shape[-1]
        shape = (width + _width(beside), self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        kernel = equalised(kernel, self.gain, self.features)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:]) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        # Apart: the gradient by a label must not drag along that by all pixels.
        kernel, rest = jnp.split(kernel, [width])
        y = x @ kernel
        if beside is not None:
            y = y + beside.astype(y.dtype) @ rest
        return y if bias is None else y + bias.reshape(1, -1)


def _width(beside: jax.Array | None) -> int:
    return 0 if beside is None else beside.shape[-1]


def equalised(kernel: jax.Array, gain: float | None, features: int) -> jax.Array:
    """A kernel times gain / sqrt(fan-in), or as it is; see `Conv`.

    The fan-in is the window times the input's channels. Of a transposed convolution from 1x1 too:
    with a window of 4x4 a gain of sqrt(2) is what a dense layer's of sqrt(2) / 4 would be.
    """
    return kernel if gain is None else kernel * (gain / math.sqrt(kernel.size // features))


class Conditioning(NamedTuple):
    """How a network learns the label. Hashable.

    Attributes:
      kind: "none"; "embedding" or "one_hot", a learned vector or a one-hot one beside the
        input; "batch_norm" (generators), a scale and bias of BatchNorm for each class; or
        "projection" (discriminators).
      num_classes: labels are 0 .. num_classes - 1.
      embedding_dim: of "embedding".
    """

    kind: str = "none"
    num_classes: int = 1
    embedding_dim: int = 1


def label_vector(label: jax.Array, conditioning: Conditioning) -> jax.Array | None:
    """label (N,) -> (N, E), what a first layer takes `beside` its input.

    Mirza & Osindero 2014 (arXiv:1411.1784). None for another kind of conditioning. Inside a
    module's `@nn.compact`.
    """
    if conditioning.kind == "one_hot":
        return jax.nn.one_hot(label, conditioning.num_classes)
    if conditioning.kind == "embedding":
        # Flax's initialisation, of unit length as one-hot vectors are: with PyTorch's N(0, 1) a
        # dense generator listens to the label alone and makes one image a class.
        return nn.Embed(conditioning.num_classes, conditioning.embedding_dim)(label)
    return None


def add_projection(
    output: jax.Array, features: jax.Array, label: jax.Array, conditioning: Conditioning
) -> jax.Array:
    """output (N,) + <embedding of the label, features (N, F)>.

    Miyato & Koyama 2018 (arXiv:1802.05637), equation 3. output itself for another kind of
    conditioning. Inside a module's `@nn.compact`.
    """
    if conditioning.kind != "projection":
        return output
    embed = nn.Embed(
        conditioning.num_classes,
        features.shape[-1],
        dtype=features.dtype,
        embedding_init=nn.initializers.glorot_uniform(),
    )
    return output + jnp.sum(embed(label) * features, axis=-1)


def kernel_init(stddev: float, dense: str = "") -> Initializer:
    """N(0, stddev), or Glorot's uniform initialisation for a stddev of 0.

    Args:
      stddev: around 0.
      dense: of a convolution to 1x1 ("inputs") or a transposed one from it ("outputs"), which
        are dense layers in truth: what their kernel's pixels count as, to Glorot's.
    """
    if stddev:
        return nn.initializers.normal(stddev)
    axes = {
        "": {},
        "inputs": {"in_axis": (0, 1, 2), "out_axis": 3},
        "outputs": {"in_axis": 3, "out_axis": (0, 1, 2)},
    }[dense]
    return nn.initializers.glorot_uniform(**axes)


def kept(module: nn.Module, method: Callable, *arrays, **options):
    """method(module, *arrays, **options), as it is."""
    return method(module, *arrays, **options)


def rematerialised(module: nn.Module, method: Callable, *arrays, **options):
    """The same, but the backward pass is given the arrays alone and computes the method anew.

    Chen et al. 2016 (arXiv:1604.06174). Parameters, variables and random numbers are as without.
    """

    def again(module, *arrays):
        return method(module, *arrays, **options)

    return nn.remat(again)(module, *arrays)


def wide(x: jax.Array) -> jax.Array:
    """x in float32, or as it is where it is wider."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def repeat(x: jax.Array) -> jax.Array:
    """(N, H, W, C) -> (N, 2H, 2W, C), every pixel four times."""
    return x.repeat(2, axis=1).repeat(2, axis=2)


def mean_pool(x: jax.Array) -> jax.Array:
    """(N, H, W, C) -> (N, H/2, W/2, C), the means of 2x2 pixels."""
    n, height, width, channels = x.shape
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))


RESAMPLED = {"up": ops.upsample_conv, "down": ops.conv_downsample}
# How a network runs its blocks, by its attribute `remat`.
BLOCKS = {False: kept, True: rematerialised}
# From the last layer to pixels (float32 whatever the layer computes in), and the values of black
# and white there.
OUTPUTS = {"tanh": lambda x: jnp.tanh(wide(x)), "sigmoid": lambda x: nn.sigmoid(wide(x))}
VALUE_RANGES = {"tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0), "linear": (-1.0, 1.0)}
