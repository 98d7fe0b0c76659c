"""Dense networks, which make and take images as flat vectors of pixels."""

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
    """How the dense generator is built.

    Attributes:
      widths: units of the hidden layers.
      batch_norm: whether BatchNorm follows every hidden layer but the first.
      Others as in `StagedGeneratorFields`.
    """

    has_blocks: ClassVar[bool] = False

    network: Literal["mlp"] = "mlp"
    widths: Widths = (128, 256, 512, 1024)
    slope: Fraction = 0.2

    def check(self, at: str, images: fields.Images, options: fields.Options) -> None:
        super().check(at, images, options)
        if options.conditioning.kind == "batch_norm" and len(self.widths) < 2:
            raise ConfigError(
                f"{at.replace('config.', 'config.conditioning.')}='batch_norm': the network 'mlp' "
                f"has no BatchNorm after its first layer, and {at}.widths={self.widths} is one; "
                "add widths, or take another kind"
            )

    def build(self, images: fields.Images, options: fields.Options) -> "Generator":
        return Generator(size=images.size, **self.common_arguments(images, options))


class DiscriminatorFields(fields.StagedDiscriminatorFields):
    """How the dense discriminator is built: its stages are the hidden layers."""

    has_blocks: ClassVar[bool] = False

    network: Literal["mlp"] = "mlp"
    widths: Widths = (512, 512, 512)
    batch_norm: Literal["all", "all_but_first", "none"] = "none"

    def build(self, images: fields.Images, options: fields.Options) -> "Discriminator":
        del images  # They are flattened, whatever their size.
        return Discriminator(**self.common_arguments(options))


class Generator(nn.Module):
    """Makes images (N, size, size, channels) of latents (N, Z) and labels (N,).

    Attributes:
      widths: units of the hidden layers.
      size: pixels a side.
      channels: channels of the image.
      slope: of LeakyReLU.
      init_stddev: standard deviation of the initial kernels; 0 is Glorot's initialisation.
      norm: BatchNorm of all hidden layers but the first, which then have no bias; None
        leaves it out.
      conditioning: how the label enters.
      output: the last activation, a name in `layers.OUTPUTS`.
      dtype: what is computed in; None is the parameters' own.
    """

    widths: Sequence[int]
    size: int
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
            side_input = None  # The first layer alone takes the label.
            if norm is not None:
                x = norm(x, label, train=train, conditioning=self.conditioning, dtype=self.dtype)
            x = nn.leaky_relu(x, self.slope)
        x = Dense(self.size * self.size * self.channels, **options)(x)
        return layers.OUTPUTS[self.output](x).reshape(-1, self.size, self.size, self.channels)


class Discriminator(nn.Module):
    """Scores images (N, S, S, C) with labels (N,): one logit or critic's value each, (N,).

    Attributes:
      widths: units of the hidden layers.
      batch_norm: for each layer, whether `norm` (and then no bias) follows it.
      dropout: for each layer, the rate after its activation.
      final_dropout: rate before the last layer.
      slope: of LeakyReLU.
      init_stddev: as in `Generator`.
      norm: BatchNorm of these layers.
      conditioning: how the label enters.
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
            side_input = None  # The first layer alone takes the label.
            if norm:
                x = self.norm(x, label, train=train, dtype=self.dtype)
            x = nn.Dropout(rate, deterministic=not train)(nn.leaky_relu(x, self.slope))
        x = nn.Dropout(self.final_dropout, deterministic=not train)(x)
        x = layers.wide(x)  # The last layer computes in float32.
        output = Dense(1, kernel_init=kernel_init)(x).reshape(-1)
        return layers.add_projection(output, x, label, self.conditioning)
