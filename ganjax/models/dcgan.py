"""The convolutional networks of DCGAN (Radford et al. 2015, arXiv:1511.06434) and of its kin.

Each stage doubles the size from the base on or halves it down to it: the base, such as 4x4, is the
images' size divided by 2**len(widths) (`ganjax.models.stages`). There is no pooling and no hidden
dense layer.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.config import ConfigError
from ganjax.engine.sizes import Size
from ganjax.models import fields, layers, stages
from ganjax.models.layers import Conditioning, Conv, ConvTranspose
from ganjax.models.norms import Norm

# From the full size to the base, for 64x64.
WIDTHS = (64, 128, 256, 512)


class GeneratorFields(fields.StagedGeneratorFields):
    """The fields of the DCGAN generator.

    Attributes:
      widths: the numbers of channels at the base, such as 4x4, at twice its size, and so on; each
        width doubles the size of the images. Where they are (), they follow that size.
      upsample: how a layer doubles the size: by a transposed convolution, "transpose" (paper), or
        by repeated pixels and then a convolution, "nearest", which leaves no checkerboard.
      batch_norm: whether BatchNorm follows every layer but the last.
      first_norm: whether the BatchNorm at the base has statistics of each "channel", as after a
        convolution, or of each "unit", as after a dense layer.
      output_bias: whether the last layer has a bias.
      The other fields are those of `StagedGeneratorFields`.
    """

    network: Literal["dcgan"] = "dcgan"
    widths: fields.FollowingWidths = ()
    upsample: Literal["transpose", "nearest"] = "transpose"
    first_norm: Literal["channel", "unit"] = "channel"
    output_bias: bool = False

    @classmethod
    def following_widths(cls, fields: Mapping[str, Any], size: Size) -> tuple[int, ...]:
        return stages.following(fields["widths"][::-1] or WIDTHS, size)[::-1]

    def check(self, at: str, images: fields.ImageSpec, options: fields.Options) -> None:
        super().check(at, images, options)
        stages.check(at, self.widths, images)
        if self.first_norm == "unit" and not self.batch_norm:
            raise ConfigError(
                f"{at}.first_norm='unit': with batch_norm=False there is no norm of the first "
                "layer; set 'channel', or batch_norm=True"
            )

    def build(self, images: fields.ImageSpec, options: fields.Options) -> "Generator":
        return Generator(
            base=stages.halved(images.size, len(self.widths)),
            upsample=self.upsample,
            first_norm=self.first_norm,
            output_bias=self.output_bias,
            remat=options.remat,
            **self.common_arguments(images, options),
        )


class DiscriminatorFields(fields.StagedDiscriminatorFields):
    """The fields of the DCGAN discriminator, whose stages each halve the size, down to the base.

    Attributes:
      use_bias: whether layers without BatchNorm, such as the last one, have a bias.
      Others as in `StagedDiscriminatorFields`.
    """

    network: Literal["dcgan"] = "dcgan"
    use_bias: bool = True

    @classmethod
    def following_widths(cls, fields: Mapping[str, Any], size: Size) -> tuple[int, ...]:
        return stages.following(fields["widths"] or WIDTHS, size)

    def check(self, at: str, images: fields.ImageSpec, options: fields.Options) -> None:
        super().check(at, images, options)
        stages.check(at, self.widths, images)

    def build(self, images: fields.ImageSpec, options: fields.Options) -> "Discriminator":
        del images  # The first layer takes any number of channels.
        return Discriminator(
            use_bias=self.use_bias, remat=options.remat, **self.common_arguments(options)
        )


class Generator(nn.Module):
    """The DCGAN generator, which maps latents (N, Z) and labels (N,) to images.

    The first layer makes the base, such as 4x4 pixels, of widths[0] channels. Each further layer
    doubles the size; the last one and `output` make the image, (N, H, W, channels), whose height
    and width are those of the base times 2**len(widths). BatchNorm follows every layer but the
    last, so that none needs a bias (DCGAN, figure 1).

    Attributes:
      widths: the numbers of channels at the base, at twice its size, ...: (8F, 4F, 2F, F) for
        64x64.
      channels: the number of channels of the images.
      base: the height and width of the first layer's output in pixels.
      slope: the negative slope of LeakyReLU; 0 is the ReLU of the paper.
      upsample: how a layer doubles the size: "transpose", by a transposed convolution of stride 2
        (paper), or "nearest", by repeated pixels and then a convolution of stride 1, which leaves
        no checkerboard (Odena et al. 2016).
      init_stddev: the standard deviation of the initial kernels (DCGAN, section 4); 0 is Glorot's
        initialisation.
      norm: the BatchNorm after all layers but the last; None gives these layers biases instead.
      conditioning: how the label enters the network.
      output: the last activation, a name in `layers.OUTPUTS`.
      first_norm: whether the norm at the base has statistics of each "channel", as after a
        convolution, or of each "unit", of which 4x4 pixels have 16 * widths[0], as after a dense
        layer, which the first layer is.
      output_bias: whether the last layer has a bias.
      remat: whether the backward pass computes each layer but the last anew (rematerialisation).
      dtype: the dtype of the computation; None is that of the parameters.
    """

    widths: Sequence[int]
    channels: int
    base: tuple[int, int] = (4, 4)
    slope: float = 0.0
    upsample: str = "transpose"
    init_stddev: float = 0.02
    norm: Norm | None = Norm(stddev=0.02)
    conditioning: Conditioning = Conditioning()
    output: str = "tanh"
    first_norm: str = "channel"
    output_bias: bool = False
    remat: bool = False
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, z: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        side_input = layers.label_vector(label, self.conditioning)
        x = z.reshape(z.shape[0], 1, 1, -1)
        run = layers.BLOCKS[self.remat]
        for i in range(len(self.widths)):
            x = run(self, type(self)._stage, x, label, side_input, i=i, train=train)
        return layers.OUTPUTS[self.output](self._double(x, self.channels, self.output_bias))

    def _stage(self, x, label, side_input, *, i: int, train: bool):
        """Computes layer i with its norm and its activation."""
        use_bias = self.norm is None
        if i == 0:  # 1x1 -> the base
            kernel_init = layers.kernel_init(self.init_stddev, dense="outputs")
            options = {"use_bias": use_bias, "dtype": self.dtype, "kernel_init": kernel_init}
            x = ConvTranspose(self.widths[i], self.base, 1, "VALID", **options)(x, side_input)
        else:
            x = self._double(x, self.widths[i], use_bias)
        if self.norm is not None:
            shape = x.shape
            if i == 0 and self.first_norm == "unit":
                x = x.reshape(shape[0], -1)
            x = self.norm(
                x, label, train=train, conditioning=self.conditioning, dtype=self.dtype
            ).reshape(shape)
        return nn.leaky_relu(x, self.slope)

    def _double(self, x, features: int, use_bias: bool):
        kernel_init = layers.kernel_init(self.init_stddev)
        options = {"use_bias": use_bias, "dtype": self.dtype, "kernel_init": kernel_init}
        if self.upsample == "transpose":
            return ConvTranspose(features, (4, 4), 2, "SAME", **options)(x)
        return Conv(features, (4, 4), resample="up", **options)(x)


class Discriminator(nn.Module):
    """The DCGAN discriminator, which maps images (N, H, W, C) and labels (N,) to scores (N,).

    Convolutions of stride 2 lead down to the base, and one of its size to the score, a logit or a
    critic's value.

    Attributes:
      widths: the numbers of channels after each halving: (F, 2F, 4F, 8F) for 64x64.
      batch_norm: for each stage, whether `norm` follows its convolution, which then has no bias.
      dropout: for each stage, the dropout rate after its activation.
      final_dropout: the dropout rate before the last layer.
      slope: the negative slope of LeakyReLU.
      init_stddev: as in `Generator`.
      norm: the BatchNorm of the stages for which `batch_norm` is True.
      conditioning: how the label enters the network.
      use_bias: whether convolutions without BatchNorm have a bias.
      remat: as in `Generator`.
      dtype: the dtype of the computation; None is that of the parameters.
    """

    widths: Sequence[int]
    batch_norm: Sequence[bool]
    dropout: Sequence[float]
    final_dropout: float = 0.0
    slope: float = 0.2
    init_stddev: float = 0.02
    norm: Norm = Norm(stddev=0.02)
    conditioning: Conditioning = Conditioning()
    use_bias: bool = True
    remat: bool = False
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        side_input = layers.label_vector(label, self.conditioning)
        run = layers.BLOCKS[self.remat]
        for i in range(len(self.widths)):
            x = run(self, type(self)._stage, x, label, side_input, i=i, train=train)
            side_input = None  # Only the first layer takes the label.
        x = nn.Dropout(self.final_dropout, deterministic=not train)(x)
        x = layers.wide(x)  # The last layer computes in float32: see `layers.wide`.
        kernel_init = layers.kernel_init(self.init_stddev, dense="inputs")
        options = {"use_bias": self.use_bias, "kernel_init": kernel_init}
        output = Conv(1, x.shape[1:3], 1, "VALID", **options)(x).reshape(x.shape[0])
        return layers.add_projection(output, x.sum((1, 2)), label, self.conditioning)

    def _stage(self, x, label, side_input, *, i: int, train: bool):
        """Computes layer i with its norm, its activation and its dropout."""
        norm, kernel_init = self.batch_norm[i], layers.kernel_init(self.init_stddev)
        use_bias = self.use_bias and not norm
        options = {"use_bias": use_bias, "dtype": self.dtype, "kernel_init": kernel_init}
        x = Conv(self.widths[i], (4, 4), 2, 1, **options)(x, side_input)
        if norm:
            x = self.norm(x, label, train=train, dtype=self.dtype)
        x = nn.leaky_relu(x, self.slope)
        return nn.Dropout(self.dropout[i], deterministic=not train)(x)
