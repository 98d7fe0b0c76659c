"""Layers that Flax lacks, and layers whose derivatives ganjax lowers in its own way."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

from ganjax.ops import convolutions as ops

Initializer = nn.initializers.Initializer


class Conv(nn.Module):
    """A convolution as `flax.linen.Conv`, but closed under differentiation.

    `ganjax.ops.convolutions` computes it.

    It maps images (N, H, W, C) to (N, H', W', O), and its parameters have Flax's names and shapes:
    `kernel` (h, w, I, O) and `bias` (O,), with I = C / feature_group_count. An optional second
    input (N, E), the side input, acts as if each of its values were one more channel, the same at
    every pixel; I is then C + E. It needs a single group.

    Attributes:
      features: the number of output channels, O.
      kernel_size: the (height, width) of the kernel.
      strides: an int or (vertical, horizontal).
      padding: "SAME", "VALID", an int, or ((top, bottom), (left, right)).
      use_bias: whether the layer has a bias.
      dtype: the dtype of the computation; None takes it from the arguments and parameters.
      kernel_init: the initialiser of the kernel; the bias starts at 0.
      gain: the gain of the equalised learning rate (Karras et al. 2017, arXiv:1710.10196, section
        4.1): the kernel is multiplied by gain / sqrt(fan-in) whenever it is used. With kernels
        initialised from N(0, 1), Adam, whose steps do not depend on a kernel's scale, then moves
        all layers at the same speed. None leaves the kernel as it is.
      resample: "up" repeats every pixel of the input to 2x2 before the convolution, and "down"
        averages its output over 2x2 pixels, both for stride 1 and "SAME". Each is computed as one
        convolution of fewer products. "" does neither.
      feature_group_count: the number of groups of channels, each of which is convolved by itself;
        C of them make a depthwise convolution.
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
    feature_group_count: int = 1

    inputs_axis = 2  # The axis of the kernel that runs over input channels.

    def _convolve(self, x, kernel):
        if self.resample:
            if self.resample not in RESAMPLED or (self.strides, self.padding) != (1, "SAME"):
                raise ValueError(
                    f"Conv: resample={self.resample!r}, strides={self.strides}, padding="
                    f"{self.padding!r}: there are {', '.join(RESAMPLED)}, of stride 1 and 'SAME'"
                )
            return RESAMPLED[self.resample](x, kernel, self.feature_group_count)
        return ops.conv(x, kernel, self.strides, self.padding, self.feature_group_count)

    @nn.compact
    def __call__(self, x: jax.Array, side_input: jax.Array | None = None) -> jax.Array:
        channels, groups = x.shape[-1], self.feature_group_count
        shape = [*self.kernel_size, self.features, self.features]
        shape[self.inputs_axis] = channels + _width(side_input)
        if groups > 1:
            self._check_groups(channels, side_input)
            shape[2] //= groups
        kernel = self.param("kernel", self.kernel_init, tuple(shape))
        kernel = equalised(kernel, self.gain, self.features)
        width = (self.features,)
        bias = self.param("bias", nn.initializers.zeros, width) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        if side_input is None:
            y = self._convolve(x, kernel)
        else:
            kernel, side_kernel = jnp.split(kernel, [channels], axis=self.inputs_axis)
            y = self._convolve(x, kernel)
            # One image of ones serves all samples, so that no gradient with respect to the pixels
            # of constant channels is computed.
            shape = [*self.kernel_size, -1, -1]
            shape[self.inputs_axis] = 1
            ones = jnp.ones_like(x[:1, :, :, :1])
            maps = self._convolve(ones, side_kernel.reshape(shape))
            maps = maps.reshape(*maps.shape[1:3], *side_kernel.shape[2:])
            side = side_input.astype(y.dtype)
            y = y + jnp.tensordot(side, maps, axes=((1,), (self.inputs_axis,)))
        return y if bias is None else y + bias.reshape(1, 1, 1, -1)

    def _check_groups(self, channels, side_input):
        given = f"{type(self).__name__}: feature_group_count={self.feature_group_count}"
        if channels % self.feature_group_count or self.features % self.feature_group_count:
            raise ValueError(f"{given} divides not both {channels} and {self.features} channels")
        if side_input is not None:
            raise ValueError(f"{given}: a side input belongs to no group; set 1 or leave it out")


class ConvTranspose(Conv):
    """A transposed convolution, closed under differentiation.

    It computes what `flax.linen.ConvTranspose(transpose_kernel=True)` computes, with a kernel
    (h, w, O, I). "SAME" gives H' = H * stride; numeric padding is explained by
    `ganjax.ops.convolutions.conv_transpose`. The attributes are those of `Conv` without `resample`.
    """

    inputs_axis = 3

    def _convolve(self, x, kernel):
        return ops.conv_transpose(x, kernel, self.strides, self.padding, self.feature_group_count)


class Dense(nn.Module):
    """A dense layer as `flax.linen.Dense`, with an optional side input.

    It maps features (N, F) to (N, O). The side input (N, E) acts as further features. The
    parameters have Flax's names and shapes: `kernel` (F + E, O) and `bias` (O,).

    Attributes:
      features: the number of output features, O.
      use_bias: whether the layer has a bias.
      dtype: the dtype of the computation; None takes it from the arguments and parameters.
      kernel_init: the initialiser of the kernel; the bias starts at 0.
      gain: as in `Conv`.
    """

    features: int
    use_bias: bool = True
    dtype: jnp.dtype | None = None
    kernel_init: Initializer = nn.initializers.lecun_normal()
    gain: float | None = None

    @nn.compact
    def __call__(self, x: jax.Array, side_input: jax.Array | None = None) -> jax.Array:
        width = x.shape[-1]
        shape = (width + _width(side_input), self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        kernel = equalised(kernel, self.gain, self.features)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:]) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        # Two products, so that a gradient with respect to the label alone needs none of the pixels.
        kernel, side_kernel = jnp.split(kernel, [width])
        y = x @ kernel
        if side_input is not None:
            y = y + side_input.astype(y.dtype) @ side_kernel
        return y if bias is None else y + bias.reshape(1, -1)


def _width(side_input: jax.Array | None) -> int:
    return 0 if side_input is None else side_input.shape[-1]


def equalised(kernel: jax.Array, gain: float | None, features: int) -> jax.Array:
    """Multiplies a kernel by gain / sqrt(fan-in), or returns it unchanged for a gain of None.

    The fan-in is the number of the window's pixels times the input's channels, also in a transposed
    convolution from 1x1 pixels. With a window of 4x4 a gain of sqrt(2) there is what sqrt(2) / 4
    would be for a dense layer.

    Args:
      kernel: a kernel of any shape.
      gain: the gain, or None.
      features: the number of the layer's outputs.
    """
    return kernel if gain is None else kernel * (gain / math.sqrt(kernel.size // features))


class Conditioning(NamedTuple):
    """The way in which the label enters a network. It is hashable.

    Attributes:
      kind: "none"; "embedding" or "one_hot", a learned or a one-hot vector as the side input of the
        first layer; "batch_norm" (generators), a scale and bias of BatchNorm for each class; or
        "projection" (discriminators), see `add_projection`.
      num_classes: the number of classes; labels are 0 .. num_classes - 1.
      embedding_dim: the length of the vectors of "embedding".
      embedding_stddev: the standard deviation of their initial numbers; 0 is Flax's initialisation,
        of vectors of about unit length.
    """

    kind: str = "none"
    num_classes: int = 1
    embedding_dim: int = 1
    embedding_stddev: float = 0.0


def label_vector(label: jax.Array, conditioning: Conditioning) -> jax.Array | None:
    """Returns the vectors (N, E) of labels (N,) that a first layer takes as its side input.

    It returns None for kinds of conditioning without such vectors. Call it in a module's
    `@nn.compact` method. Mirza & Osindero 2014 (arXiv:1411.1784), section 3.2.
    """
    if conditioning.kind == "one_hot":
        return jax.nn.one_hot(label, conditioning.num_classes)
    if conditioning.kind == "embedding":
        stddev, options = conditioning.embedding_stddev, {}
        if stddev:
            options["embedding_init"] = nn.initializers.normal(stddev)
        return nn.Embed(conditioning.num_classes, conditioning.embedding_dim, **options)(label)
    return None


def add_projection(
    output: jax.Array, features: jax.Array, label: jax.Array, conditioning: Conditioning
) -> jax.Array:
    """Adds <embedding of the label, features (N, F)> to a discriminator's output (N,).

    For kinds of conditioning other than "projection" it returns the output unchanged. Call it in a
    module's `@nn.compact` method. Miyato & Koyama 2018 (arXiv:1802.05637), equation 3.
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
    """Returns an initialiser that draws from N(0, stddev^2), or Glorot's uniform one.

    Args:
      stddev: the standard deviation; 0 is Glorot's initialisation.
      dense: whether Glorot's fans count a kernel's pixels as "inputs", in a convolution to 1x1, or
        as "outputs", in a transposed one from 1x1: both are dense layers. "" counts them as both.
    """
    if stddev:
        return nn.initializers.normal(stddev)
    axes = {
        "": {},
        "inputs": {"in_axis": (0, 1, 2), "out_axis": 3},
        "outputs": {"in_axis": 3, "out_axis": (0, 1, 2)},
    }[dense]
    return nn.initializers.glorot_uniform(**axes)


def run_block(module: nn.Module, method: Callable, *arrays, **options):
    """Returns method(module, *arrays, **options)."""
    return method(module, *arrays, **options)


def rematerialise_block(module: nn.Module, method: Callable, *arrays, **options):
    """Returns what `run_block` does, but keeps only the arrays for the backward pass.

    The backward pass computes the rest anew, with the same parameters, variables and random
    numbers. Chen et al. 2016 (arXiv:1604.06174).
    """

    def again(module, *arrays):
        return method(module, *arrays, **options)

    return nn.remat(again)(module, *arrays)


def wide(x: jax.Array) -> jax.Array:
    """Returns x in float32, or unchanged if its dtype is wider."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def repeat(x: jax.Array) -> jax.Array:
    """Repeats every pixel to 2x2: (N, H, W, C) -> (N, 2H, 2W, C)."""
    return x.repeat(2, axis=1).repeat(2, axis=2)


def mean_pool(x: jax.Array) -> jax.Array:
    """Averages over 2x2 pixels: (N, H, W, C) -> (N, H/2, W/2, C), for even H and W."""
    n, height, width, channels = x.shape
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))


RESAMPLED = {"up": ops.upsample_conv, "down": ops.conv_downsample}
# The function that runs a network's blocks, by the network's attribute `remat`.
BLOCKS = {False: run_block, True: rematerialise_block}
# The map from the last layer to pixels, which are float32 whatever the layer's dtype.
OUTPUTS = {"tanh": lambda x: jnp.tanh(wide(x)), "sigmoid": lambda x: nn.sigmoid(wide(x))}
# The values of black and of white in these pixels.
VALUE_RANGES = {"tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0), "linear": (-1.0, 1.0)}
