"""Dense networks, which make and take images as flat vectors of pixels."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.config import ConfigError, Fraction, Widths
from ganjax.models import fields, layers
from ganjax.models.layers import Conditioning, Dense
from ganjax.models.norms import Norm


class GeneratorFields(fields.StagedGeneratorFields):
    """The fields of the dense generator.

    Attributes:
      widths: the number of units of each hidden layer.
      batch_norm: whether BatchNorm follows every hidden layer but the first.
      The other fields are those of `StagedGeneratorFields`.
    """

    has_blocks: ClassVar[bool] = False

    network: Literal["mlp"] = "mlp"
    widths: Widths = (128, 256, 512, 1024)
    slope: Fraction = 0.2

    @property
    def uses_batch_norm(self) -> bool:
        return self.batch_norm and len(self.widths) > 1

    def check(self, at: str, images: fields.ImageSpec, options: fields.Options) -> None:
        if options.conditioning.kind == "batch_norm" and len(self.widths) < 2:
            raise ConfigError(
                f"{at.replace('config.', 'config.conditioning.')}='batch_norm': the network 'mlp' "
                f"has no BatchNorm after its first layer, and {at}.widths={self.widths} is one; "
                "add widths, or take another kind"
            )
        super().check(at, images, options)

    def build(self, images: fields.ImageSpec, options: fields.Options) -> "Generator":
        return Generator(size=images.size, **self.common_arguments(images, options))


class DiscriminatorFields(fields.StagedDiscriminatorFields):
    """The fields of the dense discriminator, whose stages are its hidden layers."""

    has_blocks: ClassVar[bool] = False

    network: Literal["mlp"] = "mlp"
    widths: Widths = (512, 512, 512)
    batch_norm: Literal["all", "all_but_first", "none"] = "none"

    def build(self, images: fields.ImageSpec, options: fields.Options) -> "Discriminator":
        del images  # Images of any size are flattened.
        return Discriminator(**self.common_arguments(options))


class Generator(nn.Module):
    """The dense generator, which maps latents and labels to images.

    Latents are (N, Z), labels (N,) and images (N, H, W, channels).

    Attributes:
      widths: the number of units of each hidden layer.
      size: the height and width of the images in pixels.
      channels: the number of channels of the images.
      slope: the negative slope of LeakyReLU.
      init_stddev: the standard deviation of the initial kernels; 0 is Glorot's initialisation.
      norm: the BatchNorm of all hidden layers but the first, which then have no bias; None leaves
        BatchNorm out.
      conditioning: how the label enters the network.
      output: the last activation, a name in `layers.OUTPUTS`.
      dtype: the dtype of the computation; None is that of the parameters.
    """

    widths: Sequence[int]
    size: tuple[int, int]
    channels: int
    slope: float = 0.2
    init_stddev: float = 0.02
    norm: Norm | None = Norm(stddev=0.02)
    conditioning: Conditioning = Conditioning()
    output: str = "tanh"
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, z: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        options = {"dtype": self.dtype, "kernel_init": layers.kernel_init(self.init_stddev)}
        x, side_input = z, layers.label_vector(label, self.conditioning)
        for i, width in enumerate(self.widths):
            norm = self.norm if i else None
            x = Dense(width, use_bias=norm is None, **options)(x, side_input)
            side_input = None  # Only the first layer takes the label.
            if norm is not None:
                x = norm(x, label, train=train, conditioning=self.conditioning, dtype=self.dtype)
            x = nn.leaky_relu(x, self.slope)
        shape = (*self.size, self.channels)
        x = Dense(math.prod(shape), **options)(x)
        return layers.OUTPUTS[self.output](x).reshape(-1, *shape)


class Discriminator(nn.Module):
    """The dense discriminator, which maps images (N, H, W, C) and labels (N,) to scores (N,).

    A score is a logit or a critic's value.

    Attributes:
      widths: the number of units of each hidden layer.
      batch_norm: for each hidden layer, whether `norm` follows it, which then has no bias.
      dropout: for each hidden layer, the dropout rate after its activation.
      final_dropout: the dropout rate before the last layer.
      slope: the negative slope of LeakyReLU.
      init_stddev: as in `Generator`.
      norm: the BatchNorm of the layers for which `batch_norm` is True.
      conditioning: how the label enters the network.
      dtype: as in `Generator`.
    """

    widths: Sequence[int]
    batch_norm: Sequence[bool]
    dropout: Sequence[float]
    final_dropout: float = 0.0
    slope: float = 0.2
    init_stddev: float = 0.02
    norm: Norm = Norm(stddev=0.02)
    conditioning: Conditioning = Conditioning()
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        kernel_init = layers.kernel_init(self.init_stddev)
        options = {"dtype": self.dtype, "kernel_init": kernel_init}
        x, side_input = x.reshape(x.shape[0], -1), layers.label_vector(label, self.conditioning)
        for width, norm, rate in zip(self.widths, self.batch_norm, self.dropout, strict=True):
            x = Dense(width, use_bias=not norm, **options)(x, side_input)
            side_input = None  # Only the first layer takes the label.
            if norm:
                x = self.norm(x, label, train=train, dtype=self.dtype)
            x = nn.Dropout(rate, deterministic=not train)(nn.leaky_relu(x, self.slope))
        x = nn.Dropout(self.final_dropout, deterministic=not train)(x)
        x = layers.wide(x)  # The last layer computes in float32.
        output = Dense(1, kernel_init=kernel_init)(x).reshape(-1)
        return layers.add_projection(output, x, label, self.conditioning)
