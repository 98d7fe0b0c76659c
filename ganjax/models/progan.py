"""The growing networks of ProGAN (Karras et al. 2017, arXiv:1710.10196, table 2).

One pair of networks makes and takes images of every size: those of a lower resolution are the
inner layers of those of a higher one, and layers are named by the pixels a side that they work
at ("conv0_8"), so that a network finds the parameters that a smaller one was trained with. With
widths of 16384 / size, at most 512, they are the paper's.

Every kernel starts from N(0, 1) and is scaled at run time (equalised learning rate): the gain
is sqrt(2) but for the layers that are linear. Biases start at 0 and are not scaled.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.config import Fraction, Widths
from ganjax.models import fields, layers
from ganjax.models.layers import Conditioning, Conv, ConvTranspose, Dense

# The Flax collection of the alphas, and a resolution's own in it.
FADE = "fade"
GROUP_SIZE = 4
EPSILON = 1e-8


def image_size(widths: Sequence[int]) -> int:
    """Pixels a side of the images that networks of these widths make and take."""
    return 4 * 2 ** (len(widths) - 1)


class GeneratorFields(fields.GeneratorFields):
    """How ProGAN's generator is built.

    Attributes:
      widths: channels at 4x4, 8x8, ...
      slope: of LeakyReLU.
    """

    conditionings: ClassVar[tuple[str, ...]] = ("none", "embedding", "one_hot")
    value_range: ClassVar[tuple[float, float]] = layers.VALUE_RANGES["linear"]

    network: Literal["progan"] = "progan"
    widths: Widths = (512, 512, 512, 512, 256)
    slope: Fraction = 0.2

    def check(self, at: str, images: fields.Images, options: fields.Options) -> None:
        super().check(at, images, options)
        fields.check_size(at, self.widths, images, image_size(self.widths))

    def build(self, images: fields.Images, options: fields.Options) -> "Generator":
        return Generator(
            widths=self.widths,
            slope=self.slope,
            conditioning=options.conditioning,
            remat=options.remat,
            dtype=options.dtype,
            channels=images.channels,
        )


class DiscriminatorFields(fields.NetworkFields):
    """How ProGAN's discriminator is built.

    Attributes:
      widths: channels at 4x4, 8x8, ...
      slope: of LeakyReLU.
    """

    conditionings: ClassVar[tuple[str, ...]] = ("none", "embedding", "one_hot", "projection")
    group_size: ClassVar[int] = GROUP_SIZE

    network: Literal["progan"] = "progan"
    widths: Widths = (512, 512, 512, 512, 256)
    slope: Fraction = 0.2

    def check(self, at: str, images: fields.Images, options: fields.Options) -> None:
        super().check(at, images, options)
        fields.check_size(at, self.widths, images, image_size(self.widths))

    def build(self, images: fields.Images, options: fields.Options) -> "Discriminator":
        del images  # Its first layer takes as many channels as they have.
        return Discriminator(
            widths=self.widths,
            slope=self.slope,
            conditioning=options.conditioning,
            remat=options.remat,
            dtype=options.dtype,
        )


def alpha_name(size: int) -> str:
    """The name, in the collection "fade", of how far the layers of `size` are faded in."""
    return f"alpha_{size}"


def lerp(old: jax.Array, new: jax.Array, alpha: jax.Array) -> jax.Array:
    """(1 - alpha) old + alpha new: at 0 and at 1 one of them to the bit, and the gradient too."""
    return (1.0 - alpha) * old + alpha * new


def fade_reals(image: jax.Array, alpha: jax.Array) -> jax.Array:
    """Reals (N, H, W, C) as sharp as the generator makes fakes: at 0 of half their size.

    The paper's appendix A: real images are interpolated between two resolutions as fakes are.
    """
    return lerp(layers.repeat(layers.mean_pool(image)), image, alpha)


def pixel_norm(x: jax.Array) -> jax.Array:
    """x (..., C) / sqrt(mean over C of x^2 + 1e-8): vectors of length sqrt(C).

    In float32: half precision has no 1e-8, nor the squares of what it has. Karras et al. 2017,
    section 4.2.
    """
    y = layers.wide(x)
    y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + EPSILON)
    return y.astype(x.dtype)


def minibatch_stddev(x: jax.Array, group_size: int = GROUP_SIZE) -> jax.Array:
    """One more channel: how much the samples of a group differ.

    Within each group the standard deviation, sqrt(variance + 1e-8), of every feature at every
    pixel, and of them all the mean: one number a group, at all pixels of its samples. In
    float32. Karras et al. 2017, section 3; groups as in its appendix A.

    Groups are neighbours in the batch. Where a device holds whole groups nothing is sent between
    devices; else it is, and the numbers stay what they are on one.

    Args:
      x: (N, H, W, C).
      group_size: of a group; where N is no multiple of it, the largest number below that divides N.

    Returns:
      (N, H, W, C + 1).
    """
    n, height, width, channels = x.shape
    size = next(size for size in range(min(group_size, n), 0, -1) if n % size == 0)
    groups = x.astype(jnp.float32).reshape(n // size, size, height, width, channels)
    stddev = jnp.sqrt(jnp.var(groups, axis=1) + EPSILON).mean((1, 2, 3))
    channel = jnp.repeat(stddev, size).reshape(n, 1, 1, 1).astype(x.dtype)
    return jnp.concatenate([x, jnp.broadcast_to(channel, (n, height, width, 1))], axis=-1)


class _Growing(nn.Module):
    """What both networks share.

    Attributes:
      widths: channels at 4x4, 8x8, ... of the features.
      slope: of LeakyReLU.
      fades: whether the layers of the highest resolution are faded in over those of the one
        below, by the variable `alpha_name(size)` of the collection "fade".
      conditioning: how the label enters.
      remat: whether the backward pass computes the two layers of each resolution anew.
      dtype: of the computation.
    """

    widths: Sequence[int]
    slope: float = 0.2
    fades: bool = False
    conditioning: Conditioning = Conditioning()
    remat: bool = False
    dtype: jnp.dtype | None = None

    def _options(self, name: str, gain: float = math.sqrt(2)) -> dict[str, Any]:
        kernel_init = nn.initializers.normal(1.0)
        return {"name": name, "gain": gain, "kernel_init": kernel_init, "dtype": self.dtype}

    def _alpha(self) -> jax.Array:
        return self.variable(FADE, alpha_name(image_size(self.widths)), jnp.ones, ()).value


class Generator(_Growing):
    """z (N, Z), label (N,) -> images (N, S, S, channels), S = 4 * 2**(len(widths) - 1).

    Pixels are linear, of values around [-1, 1].

    Attributes:
      channels: of the image.
      Others as in `_Growing`.
    """

    channels: int = 3

    @nn.compact
    def __call__(self, z: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        del train  # It has no layer that learns from the batch.
        run = layers.BLOCKS[self.remat]

        def to_rgb(x, size):
            layer = Conv(self.channels, (1, 1), **self._options(f"to_rgb_{size}", 1.0))
            return layers.wide(layer(x))

        beside = layers.label_vector(label, self.conditioning)
        x = pixel_norm(z).reshape(z.shape[0], 1, 1, -1)
        x = ConvTranspose(self.widths[0], (4, 4), 1, "VALID", **self._options("dense_4"))(x, beside)
        x = self._conv(self._activate(x), self.widths[0], "conv_4")
        size = 4
        below = x
        for width in self.widths[1:]:
            below, size = x, 2 * size
            x = run(self, type(self)._doubled, x, width=width, size=size)
        image = to_rgb(x, size)
        if not self.fades:
            return image
        return lerp(layers.repeat(to_rgb(below, size // 2)), image, self._alpha())

    def _activate(self, x):
        return pixel_norm(nn.leaky_relu(x, self.slope))

    def _conv(self, x, width: int, name: str, resample: str = ""):
        layer = Conv(width, (3, 3), resample=resample, **self._options(name))
        return self._activate(layer(x))

    def _doubled(self, x, *, width: int, size: int):
        """The layers of a resolution."""
        x = self._conv(x, width, f"conv0_{size}", "up")
        return self._conv(x, width, f"conv1_{size}")


class Discriminator(_Growing):
    """Images (N, S, S, C), label (N,) -> one output each (N,), S = 4 * 2**(len(widths) - 1).

    Samples of one minibatch know of each other at 4x4, by `minibatch_stddev`. Attributes as in
    `_Growing`.
    """

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        del train
        run = layers.BLOCKS[self.remat]
        beside = layers.label_vector(label, self.conditioning)

        def from_rgb(x, width, size):
            layer = Conv(width, (1, 1), **self._options(f"from_rgb_{size}"))
            return nn.leaky_relu(layer(x, beside), self.slope)

        size = image_size(self.widths)
        image, x = x, from_rgb(x, self.widths[-1], size)
        for i in range(len(self.widths) - 1, 0, -1):
            x = run(self, type(self)._halved, x, widths=self.widths[i - 1 : i + 1], size=size)
            size //= 2
            if self.fades and i == len(self.widths) - 1:
                below = from_rgb(layers.mean_pool(image), self.widths[i - 1], size)
                x = lerp(below, x, self._alpha())
        x = self._conv(minibatch_stddev(x), self.widths[0], "conv_4")
        x = self._conv(x, self.widths[0], "dense_4", kernel_size=(4, 4), padding="VALID")
        x = layers.wide(x.reshape(x.shape[0], -1))  # The last layer computes in float32.
        output = Dense(1, **self._options("dense", 1.0) | {"dtype": None})(x).reshape(-1)
        return layers.add_projection(output, x, label, self.conditioning)

    def _conv(self, x, width: int, name: str, **more):
        layer = Conv(width, **{"kernel_size": (3, 3)} | more, **self._options(name))
        return nn.leaky_relu(layer(x), self.slope)

    def _halved(self, x, *, widths: tuple[int, int], size: int):
        """The layers of a resolution, and the means of their pixels."""
        x = self._conv(x, widths[1], f"conv0_{size}")
        return layers.mean_pool(self._conv(x, widths[0], f"conv1_{size}"))
