"""The residual networks of SNGAN (Miyato et al. 2018, arXiv:1802.05957, appendix B.4).

For 32x32 pixels, widths of (256, 256, 256) in the generator and of (128, 128, 128, 128) in the
discriminator give the networks of the paper's table 4.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from pydantic import NonNegativeFloat

from ganjax.config import ConfigError, PositiveInt
from ganjax.engine.sizes import Size
from ganjax.models import fields, layers, stages
from ganjax.models.layers import Conditioning, Conv, ConvTranspose, Dense
from ganjax.models.norms import Norm

# From the full size to the base: the generator's for 32x32, and the discriminator's for 64x64.
GENERATOR_WIDTHS, DISCRIMINATOR_WIDTHS = (256, 256, 256), (64, 128, 256, 512)


class GeneratorFields(fields.StagedGeneratorFields):
    """The fields of the residual generator.

    Attributes:
      widths: the number of channels after each block; each block doubles the size, from the base
        on (`ganjax.models.stages`). Where they are (), they follow the size of the images.
      upsample: how a block doubles the size: by repeated pixels and then a convolution, "nearest"
        (paper), or by a transposed convolution, "transpose".
      batch_norm: whether BatchNorm precedes every activation.
      output_bias: whether the last layer has a bias.
      The other fields are those of `StagedGeneratorFields`.
    """

    network: Literal["resnet"] = "resnet"
    widths: fields.FollowingWidths = ()
    upsample: Literal["transpose", "nearest"] = "nearest"
    output_bias: bool = True
    init_stddev: NonNegativeFloat = 0.0

    @classmethod
    def following_widths(cls, fields: Mapping[str, Any], size: Size) -> tuple[int, ...]:
        return stages.following(fields["widths"][::-1] or GENERATOR_WIDTHS, size)[::-1]

    def check(self, at: str, images: fields.ImageSpec, options: fields.Options) -> None:
        super().check(at, images, options)
        stages.check(at, self.widths, images)

    def build(self, images: fields.ImageSpec, options: fields.Options) -> "Generator":
        return Generator(
            base=stages.halved(images.size, len(self.widths)),
            upsample=self.upsample,
            output_bias=self.output_bias,
            remat=options.remat,
            **self.common_arguments(images, options),
        )


class DiscriminatorFields(fields.StagedDiscriminatorFields):
    """The fields of the residual discriminator.

    Attributes:
      final_size: the least number of pixels that the shorter side keeps; blocks stop halving before
        it would have fewer.
      The other fields are those of `StagedDiscriminatorFields`.
    """

    network: Literal["resnet"] = "resnet"
    final_size: PositiveInt = 4

    @classmethod
    def following_widths(cls, fields: Mapping[str, Any], size: Size) -> tuple[int, ...]:
        """Returns the widths, extended if there are fewer blocks than halvings of the size."""
        widths = fields["widths"] or DISCRIMINATOR_WIDTHS
        count = stages.halvings(size, fields["final_size"])
        return stages.extended(widths, max(count, len(widths)))

    def check(self, at: str, images: fields.ImageSpec, options: fields.Options) -> None:
        super().check(at, images, options)
        blocks, size = len(self.widths), images.size
        count = stages.halvings(size, self.final_size)
        if blocks < count or not stages.is_small(stages.halved(size, count), self.final_size):
            possible = [i for i in range(blocks + 1) if stages.is_whole(size, i)]
            shown = ", ".join(str(stages.halved(size, i).field) for i in possible)
            raise ConfigError(
                f"{at}.final_size={self.final_size}: {blocks} blocks cannot halve "
                f"image_size={size.field} to it, but to {shown}"
            )

    def build(self, images: fields.ImageSpec, options: fields.Options) -> "Discriminator":
        del images  # The first block takes any number of channels.
        return Discriminator(
            final_size=self.final_size, remat=options.remat, **self.common_arguments(options)
        )


class Generator(nn.Module):
    """The residual generator, which maps latents (N, Z) and labels (N,) to images.

    A dense layer makes the base, such as 4x4 pixels, and each residual block doubles the size, to
    images (N, H, W, channels). BatchNorm, the activation, a 3x3 convolution and
    `output` make the image.

    Attributes:
      widths: the number of channels after each block.
      upsample: how a block doubles the size, "nearest" (paper) or "transpose".
      The other attributes are those of `ganjax.models.dcgan.Generator`.
    """

    widths: Sequence[int]
    channels: int
    base: tuple[int, int] = (4, 4)
    slope: float = 0.0
    upsample: str = "nearest"
    init_stddev: float = 0.0
    norm: Norm | None = Norm()
    conditioning: Conditioning = Conditioning()
    output: str = "tanh"
    output_bias: bool = True
    remat: bool = False
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, z: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        options, run = self._options(), layers.BLOCKS[self.remat]
        side_input = layers.label_vector(label, self.conditioning)
        (height, width), first = self.base, self.widths[0]
        x = Dense(height * width * first, **options)(z, side_input)
        x = x.reshape(-1, height, width, first)
        for width in self.widths:
            x = run(self, type(self)._block, x, label, width=width, train=train)
        x = self._activate(x, label, train)
        x = Conv(self.channels, (3, 3), use_bias=self.output_bias, **options)(x)
        return layers.OUTPUTS[self.output](x)

    def _options(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "kernel_init": layers.kernel_init(self.init_stddev)}

    def _activate(self, x, label, train: bool):
        if self.norm is not None:
            x = self.norm(x, label, train=train, conditioning=self.conditioning, dtype=self.dtype)
        return nn.leaky_relu(x, self.slope)

    def _block(self, x, label, *, width: int, train: bool):
        options, h = self._options(), self._activate(x, label, train)
        if self.upsample == "transpose":
            h = ConvTranspose(width, (4, 4), 2, "SAME", **options)(h)
        else:
            h = Conv(width, (3, 3), resample="up", **options)(h)
        h = Conv(width, (3, 3), **options)(self._activate(h, label, train))
        # The 1x1 convolution commutes with repeating pixels, and first it is a quarter of the work.
        return h + layers.repeat(Conv(width, (1, 1), **options)(x))


class Discriminator(nn.Module):
    """The residual discriminator, which maps images (N, H, W, C) and labels (N,) to scores (N,).

    It consists of residual blocks, the first of which halve the size, an activation, the sum over
    pixels, and a dense layer. A score is a logit or a critic's value.

    Attributes:
      widths: the number of channels after each block.
      batch_norm: for each block, whether `norm` precedes its activations.
      dropout: for each block, the dropout rate after it.
      final_dropout: the dropout rate before the last layer.
      final_size: the least number of pixels of the shorter side; the blocks stop halving before
        it would have fewer.
      The other attributes are those of `ganjax.models.dcgan.Discriminator`.
    """

    widths: Sequence[int]
    batch_norm: Sequence[bool]
    dropout: Sequence[float]
    final_dropout: float = 0.0
    final_size: int = 8
    slope: float = 0.0
    init_stddev: float = 0.0
    norm: Norm = Norm()
    conditioning: Conditioning = Conditioning()
    remat: bool = False
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        run = layers.BLOCKS[self.remat]
        side_input = layers.label_vector(label, self.conditioning)
        halvings = stages.halvings(Size(*x.shape[1:3]), self.final_size)
        for i in range(len(self.widths)):
            options = {"i": i, "halve": i < halvings, "train": train}
            x = run(self, type(self)._block, x, label, side_input, **options)
            side_input = None  # Only the first block takes the label.
        x = layers.wide(nn.leaky_relu(x, self.slope)).sum((1, 2))
        x = nn.Dropout(self.final_dropout, deterministic=not train)(x)
        # The last layer computes in float32, as the sum does.
        output = Dense(1, kernel_init=layers.kernel_init(self.init_stddev))(x).reshape(-1)
        return layers.add_projection(output, x, label, self.conditioning)

    def _options(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "kernel_init": layers.kernel_init(self.init_stddev)}

    def _block(self, x, label, side_input, *, i: int, halve: bool, train: bool):
        options, width = self._options(), self.widths[i]

        def activate(x):
            x = self.norm(x, label, train=train, dtype=self.dtype) if self.batch_norm[i] else x
            return nn.leaky_relu(x, self.slope)

        # The first block takes pixels, which need no activation.
        h = x if i == 0 else activate(x)
        h = Conv(width if i == 0 else x.shape[-1], (3, 3), **options)(h, side_input)
        h = Conv(width, (3, 3), resample="down" if halve else "", **options)(activate(h))
        if halve:
            x = layers.mean_pool(x)
        if halve or x.shape[-1] != width:
            # The 1x1 convolution commutes with the means, and after them is a quarter of the work.
            x = Conv(width, (1, 1), **options)(x, side_input)
        return nn.Dropout(self.dropout[i], deterministic=not train)(x + h)
