"""The residual networks of SNGAN (Miyato et al. 2018, arXiv:1802.05957, appendix B.4).

For 32x32 pixels, widths of (256, 256, 256) in the generator and of (128, 128, 128, 128) in the
discriminator give the networks of the paper's table 4.
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from pydantic import NonNegativeFloat

from ganjax.config import ConfigError, PositiveInt, Widths
from ganjax.models import dcgan, fields, layers
from ganjax.models.layers import Conditioning, Conv, ConvTranspose, Dense
from ganjax.models.norms import Norm


class GeneratorFields(fields.StagedGeneratorFields):
    """The fields of the residual generator.

    Attributes:
      widths: the number of channels after each block; each block doubles the size, from 4x4 on.
      upsample: how a block doubles the size: by repeated pixels and then a convolution, "nearest"
        (paper), or by a transposed convolution, "transpose".
      batch_norm: whether BatchNorm precedes every activation.
      output_bias: whether the last layer has a bias.
      The other fields are those of `StagedGeneratorFields`.
    """

    network: Literal["resnet"] = "resnet"
    widths: Widths = (256, 256, 256)
    upsample: Literal["transpose", "nearest"] = "nearest"
    output_bias: bool = True
    init_stddev: NonNegativeFloat = 0.0

    def check(self, at: str, images: fields.ImageSpec, options: fields.Options) -> None:
        super().check(at, images, options)
        fields.check_size(at, self.widths, images, dcgan.image_size(self.widths))

    def build(self, images: fields.ImageSpec, options: fields.Options) -> "Generator":
        return Generator(
            upsample=self.upsample,
            output_bias=self.output_bias,
            remat=options.remat,
            **self.common_arguments(images, options),
        )


class DiscriminatorFields(fields.StagedDiscriminatorFields):
    """The fields of the residual discriminator.

    Attributes:
      final_size: the size in pixels at which the blocks stop halving.
      The other fields are those of `StagedDiscriminatorFields`.
    """

    network: Literal["resnet"] = "resnet"
    final_size: PositiveInt = 4

    def check(self, at: str, images: fields.ImageSpec, options: fields.Options) -> None:
        super().check(at, images, options)
        blocks, size = len(self.widths), images.size
        ratio = size // self.final_size
        if size % self.final_size or ratio & (ratio - 1) or 2**blocks < ratio:
            sizes = [size // 2**i for i in range(blocks + 1) if size % 2**i == 0]
            raise ConfigError(
                f"{at}.final_size={self.final_size}: {blocks} blocks cannot halve "
                f"image_size={size} to it, but to {', '.join(map(str, sizes))}"
            )

    def build(self, images: fields.ImageSpec, options: fields.Options) -> "Discriminator":
        del images  # The first block takes any number of channels.
        return Discriminator(
            final_size=self.final_size, remat=options.remat, **self.common_arguments(options)
        )


class Generator(nn.Module):
    """The residual generator, which maps latents (N, Z) and labels (N,) to images.

    The images are (N, S, S, channels) with S = 4 * 2**len(widths). A dense layer makes 4x4 pixels,
    and each residual block doubles the size. BatchNorm, the activation, a 3x3 convolution and
    `output` make the image.

    Attributes:
      widths: the number of channels after each block.
      upsample: how a block doubles the size, "nearest" (paper) or "transpose".
      The other attributes are those of `ganjax.models.dcgan.Generator`.
    """

    widths: Sequence[int]
    channels: int
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
        x = Dense(16 * self.widths[0], **options)(z, side_input).reshape(-1, 4, 4, self.widths[0])
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
    """The residual discriminator, which maps images (N, S, S, C) and labels (N,) to scores (N,).

    It consists of residual blocks, the first of which halve the size until `final_size`, an
    activation, the sum over pixels, and a dense layer. A score is a logit or a critic's value.

    Attributes:
      widths: the number of channels after each block.
      batch_norm: for each block, whether `norm` precedes its activations.
      dropout: for each block, the dropout rate after it.
      final_dropout: the dropout rate before the last layer.
      final_size: the size in pixels at which the blocks stop halving.
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
        for i in range(len(self.widths)):
            x = run(self, type(self)._block, x, label, side_input, i=i, train=train)
            side_input = None  # Only the first block takes the label.
        x = layers.wide(nn.leaky_relu(x, self.slope)).sum((1, 2))
        x = nn.Dropout(self.final_dropout, deterministic=not train)(x)
        # The last layer computes in float32, as the sum does.
        output = Dense(1, kernel_init=layers.kernel_init(self.init_stddev))(x).reshape(-1)
        return layers.add_projection(output, x, label, self.conditioning)

    def _options(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "kernel_init": layers.kernel_init(self.init_stddev)}

    def _block(self, x, label, side_input, *, i: int, train: bool):
        options, width = self._options(), self.widths[i]

        def activate(x):
            x = self.norm(x, label, train=train, dtype=self.dtype) if self.batch_norm[i] else x
            return nn.leaky_relu(x, self.slope)

        halve = x.shape[1] > self.final_size
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
