"""The growing networks of ProGAN (Karras et al. 2017, arXiv:1710.10196, table 2).

The networks of a lower resolution are the inner layers of those of a higher one. Layers are named
by their resolution ("conv0_8"), so that a network finds the parameters with which a smaller one was
trained. With widths of 16384 / size, at most 512, the networks are the paper's.

Every kernel starts from N(0, 1) and is scaled whenever it is used (equalised learning rate), with a
gain of sqrt(2), or of 1 in layers without an activation. Biases start at 0 and are not scaled.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.config import ConfigError, Fraction
from ganjax.engine.pixels import ValueRange
from ganjax.engine.sizes import Size
from ganjax.models import fields, layers
from ganjax.models.layers import Conditioning, Conv, ConvTranspose, Dense

# The name of the Flax collection that holds the alphas, one for each resolution.
FADE = "fade"
GROUP_SIZE = 4  # The number of samples of a minibatch standard deviation.
EPSILON = 1e-8


def image_size(widths: Sequence[int]) -> int:
    """Returns the size in pixels of the images that networks of these widths make or take."""
    return 4 * 2 ** (len(widths) - 1)


def resolutions(size: Size) -> int:
    """Returns how many resolutions there are from 4x4 to a size; 0 where none of them is it."""
    count = (size.height // 4).bit_length()
    made = 4 << count >> 1
    return count if size == (made, made) else 0


class _GrowingFields(fields.NetworkFields):
    """The fields that both networks share.

    Attributes:
      widths: the numbers of channels at 4x4, 8x8, ...; where they are (), those of the paper.
      slope: the negative slope of LeakyReLU.
    """

    named_by_resolution: ClassVar[bool] = True

    widths: fields.FollowingWidths = ()
    slope: Fraction = 0.2

    @classmethod
    def following_widths(cls, fields: Mapping[str, Any], size: Size) -> tuple[int, ...]:
        count = resolutions(size)
        if not fields["widths"]:
            return tuple(min(512, 4_096 >> i) for i in range(count))
        widths = list(fields["widths"])
        while len(widths) < count:
            before = widths[-2] if len(widths) > 1 else widths[-1]
            widths.append(max(1, min(widths[-1], widths[-1] ** 2 // before)))
        return tuple(widths[:count])

    def check(self, at: str, images: fields.ImageSpec, options: fields.Options) -> None:
        super().check(at, images, options)
        made = image_size(self.widths)
        if not resolutions(images.size):
            raise ConfigError(
                f"config.image_size={images.size.field}: {at}.network='progan' doubles squares "
                "from 4x4; set 4, 8, 16 or another power of 2"
            )
        if images.size != (made, made):
            raise ConfigError(
                f"config.image_size={images.size.field}: {len(self.widths)} widths in {at}.widths="
                f"{self.widths} make {made} pixels a side; set image_size={made} or add "
                "or take away widths (each but the first doubles the size, from 4)"
            )

    def common_arguments(self, options: fields.Options) -> dict[str, Any]:
        """Returns the arguments that the Flax modules of both networks share."""
        return {
            "widths": self.widths,
            "slope": self.slope,
            "conditioning": options.conditioning,
            "remat": options.remat,
            "dtype": options.dtype,
        }


class GeneratorFields(_GrowingFields, fields.GeneratorFields):
    """The fields of ProGAN's generator, which are those of `_GrowingFields`."""

    conditionings: ClassVar[tuple[str, ...]] = ("none", "embedding", "one_hot")
    value_range: ClassVar[ValueRange] = layers.VALUE_RANGES["linear"]

    network: Literal["progan"] = "progan"

    def build(self, images: fields.ImageSpec, options: fields.Options) -> "Generator":
        return Generator(channels=images.channels, **self.common_arguments(options))


class DiscriminatorFields(_GrowingFields):
    """The fields of ProGAN's discriminator, which are those of `_GrowingFields`."""

    conditionings: ClassVar[tuple[str, ...]] = ("none", "embedding", "one_hot", "projection")
    group_size: ClassVar[int] = GROUP_SIZE

    network: Literal["progan"] = "progan"

    def build(self, images: fields.ImageSpec, options: fields.Options) -> "Discriminator":
        del images  # The first layer takes any number of channels.
        return Discriminator(**self.common_arguments(options))


def alpha_name(size: int) -> str:
    """Returns the name, in the collection "fade", of the alpha of the layers of a resolution."""
    return f"alpha_{size}"


def lerp(old: jax.Array, new: jax.Array, alpha: jax.Array) -> jax.Array:
    """Computes (1 - alpha) old + alpha new.

    At an alpha of 0 or 1 this is `old` or `new` to the bit, and so are the gradients.
    """
    return (1.0 - alpha) * old + alpha * new


def fade_reals(image: jax.Array, alpha: jax.Array) -> jax.Array:
    """Interpolates reals (N, H, W, C) between two resolutions as fakes are, by alpha in [0, 1].

    At an alpha of 0 they are as sharp as images of half their size, and at 1 they are unchanged.
    Karras et al. 2017, appendix A.
    """
    return lerp(layers.repeat(layers.mean_pool(image)), image, alpha)


def pixel_norm(x: jax.Array) -> jax.Array:
    """Divides features (..., C) by sqrt(mean of x^2 over C + 1e-8), which makes their norm sqrt(C).

    It computes in float32, since 1e-8 would vanish in half precision. Karras et al. 2017, section
    4.2.
    """
    y = layers.wide(x)
    y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + EPSILON)
    return y.astype(x.dtype)


def minibatch_stddev(x: jax.Array, group_size: int = GROUP_SIZE) -> jax.Array:
    """Appends a channel that holds how much the samples of a group differ.

    Over each group the standard deviation, sqrt(variance + 1e-8), of every feature at every pixel
    is computed, in float32. Their mean is one number for all pixels of the group's samples. Karras
    et al. 2017, section 3, with the groups of its appendix A.

    Groups are neighbours in the batch. Devices that hold whole groups send each other nothing;
    others do, with the same result.

    Args:
      x: (N, H, W, C).
      group_size: the number of samples of a group; if it does not divide N, the largest smaller
        divisor of N takes its place. In groups of 1 the channel is a constant
        (`ganjax.models.fields.check_groups` refuses such batches).

    Returns:
      (N, H, W, C + 1).
    """
    n, height, width, channels = x.shape
    size = fields.size_of_groups(n, group_size)
    groups = x.astype(jnp.float32).reshape(n // size, size, height, width, channels)
    stddev = jnp.sqrt(jnp.var(groups, axis=1) + EPSILON).mean((1, 2, 3))
    channel = jnp.repeat(stddev, size).reshape(n, 1, 1, 1).astype(x.dtype)
    return jnp.concatenate([x, jnp.broadcast_to(channel, (n, height, width, 1))], axis=-1)


class _Growing(nn.Module):
    """The attributes that both networks share.

    Attributes:
      widths: the numbers of channels at 4x4, 8x8, ...
      slope: the negative slope of LeakyReLU.
      fades: whether the layers of the highest resolution are faded in over those of the one
        below it, by the variable `alpha_name(size)` of the collection "fade".
      conditioning: how the label enters the network.
      remat: whether the backward pass computes the two layers of each resolution anew.
      dtype: the dtype of the computation; None is that of the parameters.
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
    """ProGAN's generator, which maps latents (N, Z) and labels (N,) to images.

    The images are (N, S, S, channels) with S = 4 * 2**(len(widths) - 1). No activation bounds their
    values; black is -1 and white is 1.

    Attributes:
      channels: the number of channels of the images.
      The other attributes are those of `_Growing`.
    """

    channels: int = 3

    @nn.compact
    def __call__(self, z: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        del train  # No layer behaves differently in training.
        run = layers.BLOCKS[self.remat]

        def to_rgb(x, size):
            layer = Conv(self.channels, (1, 1), **self._options(f"to_rgb_{size}", 1.0))
            return layers.wide(layer(x))

        side_input = layers.label_vector(label, self.conditioning)
        x = pixel_norm(z).reshape(z.shape[0], 1, 1, -1)
        dense = ConvTranspose(self.widths[0], (4, 4), 1, "VALID", **self._options("dense_4"))
        x = dense(x, side_input)
        x = self._conv(self._activate(x), self.widths[0], "conv_4")
        size = 4
        below = x
        for width in self.widths[1:]:
            below, size = x, 2 * size
            x = run(self, type(self)._double, x, width=width, size=size)
        image = to_rgb(x, size)
        if not self.fades:
            return image
        return lerp(layers.repeat(to_rgb(below, size // 2)), image, self._alpha())

    def _activate(self, x):
        return pixel_norm(nn.leaky_relu(x, self.slope))

    def _conv(self, x, width: int, name: str, resample: str = ""):
        layer = Conv(width, (3, 3), resample=resample, **self._options(name))
        return self._activate(layer(x))

    def _double(self, x, *, width: int, size: int):
        """Computes the two layers of a resolution, the first of which doubles the size."""
        x = self._conv(x, width, f"conv0_{size}", "up")
        return self._conv(x, width, f"conv1_{size}")


class Discriminator(_Growing):
    """ProGAN's discriminator, which maps images (N, S, S, C) and labels (N,) to scores (N,).

    S is 4 * 2**(len(widths) - 1), and a score is a logit or a critic's value. The scores of a group
    of samples depend on each other through `minibatch_stddev` at 4x4 pixels. The attributes are
    those of `_Growing`.
    """

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        del train
        run = layers.BLOCKS[self.remat]
        side_input = layers.label_vector(label, self.conditioning)

        def from_rgb(x, width, size):
            layer = Conv(width, (1, 1), **self._options(f"from_rgb_{size}"))
            return nn.leaky_relu(layer(x, side_input), self.slope)

        size = image_size(self.widths)
        image, x = x, from_rgb(x, self.widths[-1], size)
        for i in range(len(self.widths) - 1, 0, -1):
            x = run(self, type(self)._halve, x, widths=self.widths[i - 1 : i + 1], size=size)
            size //= 2
            if self.fades and i == len(self.widths) - 1:
                below = from_rgb(layers.mean_pool(image), self.widths[i - 1], size)
                x = lerp(below, x, self._alpha())
        x = self._conv(minibatch_stddev(x), self.widths[0], "conv_4")
        x = self._conv(x, self.widths[0], "dense_4", (4, 4), "VALID")
        x = layers.wide(x.reshape(x.shape[0], -1))  # The last layer computes in float32.
        options: dict[str, Any] = self._options("dense", 1.0) | {"dtype": None}
        output = Dense(1, **options)(x).reshape(-1)
        return layers.add_projection(output, x, label, self.conditioning)

    def _conv(self, x, width: int, name: str, kernel_size=(3, 3), padding="SAME"):
        layer = Conv(width, kernel_size, padding=padding, **self._options(name))
        return nn.leaky_relu(layer(x), self.slope)

    def _halve(self, x, *, widths: tuple[int, int], size: int):
        """Computes the two layers of a resolution, and averages over 2x2 pixels."""
        x = self._conv(x, widths[1], f"conv0_{size}")
        return layers.mean_pool(self._conv(x, widths[0], f"conv1_{size}"))
