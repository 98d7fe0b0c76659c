"""The networks of R3GAN (Huang et al. 2024, arXiv:2501.05441, section 4): residual, without norms.

The discriminator is the mirror image of the generator. Each resolution is a stage of two blocks,
which are 1x1, grouped 3x3 and 1x1 convolutions and begin as the identity (Fixup, Zhang et al. 2019,
arXiv:1901.09321). With widths of (768, 768, 768, 768, 384, 192, 96) the networks are the paper's
for 256x256 pixels.

Layers are named by the height of their images ("expand0_8" is the first layer of the first block at
8x8), so that a network finds the parameters of one for images of another size.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.config import ConfigError, Depth, Fraction, NonNegativeInt, PositiveInt
from ganjax.engine.pixels import ValueRange
from ganjax.engine.sizes import Size
from ganjax.models import fields, layers, stages
from ganjax.models.layers import Conditioning, Conv, Dense
from ganjax.ops import resample

# The paper's channels at 4x4, 8x8, ...
WIDTHS = (768, 768, 768, 768, 384, 192, 96)
# How many times a block's inner convolutions have its channels.
EXPANSION = 2


class _MirroredFields(fields.NetworkFields):
    """The fields that both networks share.

    Attributes:
      widths: the numbers of channels from the base on, each further one at twice the size; where
        they are (), those of the paper.
      blocks: the number of residual blocks at each size.
      group_width: the number of channels in a group of the 3x3 convolutions.
      slope: the negative slope of LeakyReLU.
      bfloat16_stages: the number of sizes, from the full size on, whose convolutions compute in
        bfloat16 whatever config.precision is; all of them if there are no more.
    """

    named_by_resolution: ClassVar[bool] = True

    widths: fields.FollowingWidths = ()
    blocks: Depth = 2
    group_width: PositiveInt = 16
    slope: Fraction = 0.2
    bfloat16_stages: NonNegativeInt = 0

    @classmethod
    def following_widths(cls, fields: Mapping[str, Any], size: Size) -> tuple[int, ...]:
        count = stages.halvings(size)
        reached: list[int] = list(fields["widths"] or WIDTHS)
        if not stages.is_small(stages.halved(size, count)):
            return ()
        while len(reached) <= count:
            narrower = reached[-1] // 2
            whole = EXPANSION * narrower % fields["group_width"] == 0
            reached.append(narrower if narrower and whole else reached[-1])
        return tuple(reached[: count + 1])

    def check(self, at: str, images: fields.ImageSpec, options: fields.Options) -> None:
        super().check(at, images, options)
        # All widths but the first double the size.
        stages.check(at, self.widths, images, doublings=len(self.widths) - 1)
        for width in self.widths:
            if EXPANSION * width % self.group_width:
                raise ConfigError(
                    f"{at}.group_width={self.group_width}: {at}.widths={self.widths} give a block "
                    f"{EXPANSION * width} inner channels, which it does not divide; set a divisor"
                )

    def common_arguments(self, options: fields.Options) -> dict[str, Any]:
        """Returns the arguments that the Flax modules of both networks share."""
        return {
            "widths": self.widths,
            "blocks": self.blocks,
            "group_width": self.group_width,
            "slope": self.slope,
            "bfloat16_stages": self.bfloat16_stages,
            "conditioning": options.conditioning,
            "remat": options.remat,
            "dtype": options.dtype,
        }


class GeneratorFields(_MirroredFields, fields.GeneratorFields):
    """The fields of R3GAN's generator, which are those of `_MirroredFields`."""

    conditionings: ClassVar[tuple[str, ...]] = ("none", "embedding")
    value_range: ClassVar[ValueRange] = layers.VALUE_RANGES["linear"]

    network: Literal["r3gan"] = "r3gan"

    def build(self, images: fields.ImageSpec, options: fields.Options) -> "Generator":
        base = stages.halved(images.size, len(self.widths) - 1)
        return Generator(base=base, channels=images.channels, **self.common_arguments(options))


class DiscriminatorFields(_MirroredFields):
    """The fields of R3GAN's discriminator, which are those of `_MirroredFields`."""

    conditionings: ClassVar[tuple[str, ...]] = ("none", "projection")
    homogeneous_with: ClassVar[tuple[str, ...]] = ("bias",)

    network: Literal["r3gan"] = "r3gan"

    def build(self, images: fields.ImageSpec, options: fields.Options) -> "Discriminator":
        del images  # The first layer takes any number of channels, and the last any base.
        return Discriminator(**self.common_arguments(options))


def scaled_normal(gain: float = 1.0) -> layers.Initializer:
    """Returns an initialiser that draws from N(0, gain^2 / fan-in)."""
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


def block_gain(slope: float, blocks: int) -> float:
    """Returns the gain of a block's first two convolutions, by the number of blocks in the network.

    sqrt(2 / (1 + slope^2)) keeps the scale through LeakyReLU. The factor blocks^(-1/4) is Fixup's
    L^(-1 / (2m - 2)) for m = 3 convolutions: an update then changes the output of any number of
    blocks by about as much (Zhang et al. 2019, section 3).
    """
    return math.sqrt(2 / (1 + slope**2)) * blocks**-0.25


class _Mirrored(nn.Module):
    """The attributes and the blocks that both networks share.

    Attributes:
      widths: the numbers of channels from the base on.
      blocks: the number of residual blocks at each size.
      group_width: the number of channels in a group of the 3x3 convolutions.
      slope: the negative slope of LeakyReLU.
      bfloat16_stages: the number of sizes, from the full size on, that compute in bfloat16.
      conditioning: how the label enters the network.
      remat: whether the backward pass computes the insides of blocks anew.
      dtype: the dtype of the other sizes' computation; None is that of the parameters.
    """

    widths: Sequence[int]
    blocks: int = 2
    group_width: int = 16
    slope: float = 0.2
    bfloat16_stages: int = 0
    conditioning: Conditioning = Conditioning()
    remat: bool = False
    dtype: jnp.dtype | None = None

    def _dtype(self, stage: int) -> jnp.dtype | None:
        low = stage >= len(self.widths) - self.bfloat16_stages
        return jnp.dtype(jnp.bfloat16) if low else self.dtype

    def _pointwise(self, x: jax.Array, width: int, stage: int, name: str) -> jax.Array:
        """Returns the 1x1 convolution to `width` channels, without a bias."""
        options = {"use_bias": False, "kernel_init": scaled_normal(), "name": name}
        return Conv(width, (1, 1), dtype=self._dtype(stage), **options)(x)

    def _rewidened(self, x: jax.Array, stage: int, height: int) -> jax.Array:
        """Returns x with the channels of a stage, by `_pointwise` if it has others.

        Args:
          x: the images (N, H, W, C).
          stage: the stage.
          height: the larger of the two heights between which the layer stands, for its name.
        """
        width = self.widths[stage]
        if x.shape[-1] == width:
            return x
        return self._pointwise(x, width, stage, f"width_{height}")

    def _stage(self, x: jax.Array, stage: int) -> jax.Array:
        """Returns the images (N, H, W, widths[stage]) after the blocks of one size."""
        dtype = self._dtype(stage)
        x = x if dtype is None else x.astype(dtype)
        for i in range(self.blocks):
            x = layers.BLOCKS[self.remat](self, type(self)._block, x, i=i, dtype=dtype)
        return x

    def _block(self, x: jax.Array, *, i: int, dtype: jnp.dtype | None) -> jax.Array:
        height, width = x.shape[1], x.shape[3]
        inner, groups = EXPANSION * width, EXPANSION * width // self.group_width
        start = scaled_normal(block_gain(self.slope, self.blocks * len(self.widths)))
        expand = Conv(inner, (1, 1), dtype=dtype, kernel_init=start, name=f"expand{i}_{height}")
        grouped = Conv(
            inner,
            (3, 3),
            dtype=dtype,
            kernel_init=start,
            name=f"grouped{i}_{height}",
            feature_group_count=groups,
        )
        zeros = nn.initializers.zeros
        options = {"use_bias": False, "kernel_init": zeros, "name": f"project{i}_{height}"}
        h = nn.leaky_relu(expand(x), self.slope)
        h = nn.leaky_relu(grouped(h), self.slope)
        return x + Conv(width, (1, 1), dtype=dtype, **options)(h)


class Generator(_Mirrored):
    """The generator, which maps latents (N, Z) and labels (N,) to images (N, H, W, channels).

    A dense layer scales a learned image of the base's size, and each further stage doubles the
    size. The last layer is linear.

    Attributes:
      base: the size at which the generator begins.
      channels: the number of the images' channels.
      The other attributes are those of `_Mirrored`.
    """

    base: Size = Size(4, 4)
    channels: int = 3

    @nn.compact
    def __call__(self, z: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        del train  # Nothing differs.
        dense = Dense(self.widths[0], use_bias=False, kernel_init=scaled_normal(), name="latent")
        basis_shape = (*self.base, self.widths[0])
        basis = self.param("basis", nn.initializers.normal(1.0), basis_shape)
        x = dense(z, self._label_vector(label))[:, None, None, :] * basis[None]
        for stage in range(len(self.widths)):
            if stage:
                # The 1x1 convolution commutes with the filter, and before it is a quarter of the
                # work.
                x = resample.upsample(self._rewidened(x, stage, 2 * x.shape[1]))
            x = self._stage(x, stage)
        last = len(self.widths) - 1
        return layers.wide(self._pointwise(x, self.channels, last, f"image_{x.shape[1]}"))

    def _label_vector(self, label: jax.Array) -> jax.Array | None:
        if self.conditioning.kind == "none":
            return None
        # The fan-in of a one-hot label is the number of classes.
        stddev = self.conditioning.embedding_stddev or self.conditioning.num_classes**-0.5
        return nn.Embed(
            self.conditioning.num_classes,
            self.conditioning.embedding_dim,
            embedding_init=nn.initializers.normal(stddev),
            name="label",
        )(label)


class Discriminator(_Mirrored):
    """The discriminator, which maps images (N, H, W, C) and labels (N,) to scores (N,).

    A stage for each size, each but the last of which is followed by halving, then a weighted sum
    over the base's pixels of each channel, and a dense layer. With labels that layer's vector is
    multiplied by one of the label. The attributes are those of `_Mirrored`.
    """

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        del train  # Nothing differs.
        last = len(self.widths) - 1
        x = self._pointwise(x, self.widths[last], last, f"image_{x.shape[1]}")
        for stage in range(last, -1, -1):
            x = self._stage(x, stage)
            if stage:
                x = self._rewidened(resample.downsample(x), stage - 1, x.shape[1])
        # Sums over pixels and scores are computed in float32.
        x = layers.wide(x)
        pixels = math.prod(x.shape[1:3])
        weights = self.param("pixels", nn.initializers.normal(pixels**-0.5), x.shape[1:])
        x = jnp.einsum("nhwc,hwc->nc", x, weights)
        if self.conditioning.kind == "none":
            dense = Dense(1, use_bias=False, kernel_init=scaled_normal(), name="score")
            return dense(x).reshape(-1)
        classes, width = self.conditioning.num_classes, self.widths[0]
        stddev = (width * classes) ** -0.5
        embed = nn.Embed(
            classes, width, embedding_init=nn.initializers.normal(stddev), name="label"
        )
        x = Dense(width, use_bias=False, kernel_init=scaled_normal(), name="score")(x)
        return jnp.sum(x * embed(label), axis=-1)
