"""Dense networks: images are made and taken as flat vectors of pixels."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from pydantic import NonNegativeFloat

from ganjax.config import ConfigError, Fraction, Widths
from ganjax.models import fields, layers
from ganjax.models.layers import Conditioning, Dense
from ganjax.models.norms import Norm


class GeneratorFields(fields.GeneratorFields):
    """How the dense generator is built.

    Attributes:
      widths: units of the hidden layers.
      slope: of LeakyReLU.
      batch_norm: whether BatchNorm follows every hidden layer but the first.
      spectral_norm: whether every kernel is divided by its spectral norm; BatchNorm then has no
        scale.
      init_stddev: standard deviation of the initial kernels and of BatchNorm's scales around 1;
        0 is Glorot's initialisation.
      output: the last activation: "tanh" (images in [-1, 1]) or "sigmoid" (in [0, 1]).
    """

    has_blocks: ClassVar[bool] = False

    network: Literal["mlp"] = "mlp"
    widths: Widths = (128, 256, 512, 1024)
    slope: Fraction = 0.2
    batch_norm: bool = True
    spectral_norm: bool = False
    init_stddev: NonNegativeFloat = 0.02
    output: Literal["tanh", "sigmoid"] = "tanh"

    @property
    def uses_batch_norm(self) -> bool:
        return self.batch_norm

    def check(self, at: str, images: fields.Images, options: fields.Options) -> None:
        super().check(at, images, options)
        if options.conditioning.kind == "batch_norm" and len(self.widths) < 2:
            raise ConfigError(
                f"{at.replace('config.', 'config.conditioning.')}='batch_norm': the network 'mlp' "
                f"has no BatchNorm after its first layer, and {at}.widths={self.widths} is one; "
                "add widths, or take another kind"
            )

    def build(self, images: fields.Images, options: fields.Options) -> "Generator":
        return Generator(
            widths=self.widths,
            size=images.size,
            channels=images.channels,
            slope=self.slope,
            init_stddev=self.init_stddev,
            norm=self.norm(options),
            conditioning=options.conditioning,
            output=self.output,
            dtype=options.dtype,
        )


class DiscriminatorFields(fields.StagedDiscriminatorFields):
    """How the dense discriminator is built: its stages are the hidden layers."""

    has_blocks: ClassVar[bool] = False

    network: Literal["mlp"] = "mlp"
    widths: Widths = (512, 512, 512)
    batch_norm: Literal["all", "all_but_first", "none"] = "none"

    def build(self, images: fields.Images, options: fields.Options) -> "Discriminator":
        del images  # They are flattened, whatever their size.
        return Discriminator(**self.stages(options))


class Generator(nn.Module):
    """z (N, Z), label (N,) -> images (N, size, size, channels).

    Attributes:
      widths: of the hidden layers.
      size: pixels a side.
      channels: of the image.
      slope: of LeakyReLU.
      init_stddev: of kernels; 0 is Glorot's.
      norm: BatchNorm of all hidden layers but the first, which then have no bias; None
        leaves it out.
      conditioning: how the label enters.
      output: a name in `layers.OUTPUTS`.
      dtype: of the computation.
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
        x, beside = z, layers.label_vector(label, self.conditioning)
        for i, width in enumerate(self.widths):
            norm = self.norm if i else None
            x = Dense(width, use_bias=norm is None, **options)(x, beside)
            beside = None  # The first layer alone takes the label.
            if norm is not None:
                x = norm(x, label, train=train, conditioning=self.conditioning, dtype=self.dtype)
            x = nn.leaky_relu(x, self.slope)
        x = Dense(self.size * self.size * self.channels, **options)(x)
        return layers.OUTPUTS[self.output](x).reshape(-1, self.size, self.size, self.channels)


class Discriminator(nn.Module):
    """Images (N, S, S, C), label (N,) -> one output each (N,).

    Attributes:
      widths: of the hidden layers.
      batch_norm: for each, whether `norm` (and then no bias) follows it.
      dropout: for each, the rate after its activation.
      final_dropout: rate before the last layer.
      slope: of LeakyReLU.
      init_stddev: as in `Generator`.
      norm: BatchNorm's settings.
      conditioning: how the label enters.
      dtype: of the computation.
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
        options = {"dtype": self.dtype, "kernel_init": layers.kernel_init(self.init_stddev)}
        x, beside = x.reshape(x.shape[0], -1), layers.label_vector(label, self.conditioning)
        for width, norm, rate in zip(self.widths, self.batch_norm, self.dropout, strict=True):
            x = Dense(width, use_bias=not norm, **options)(x, beside)
            beside = None  # The first layer alone takes the label.
            if norm:
                x = self.norm(x, label, train=train, dtype=self.dtype)
            x = nn.Dropout(rate, deterministic=not train)(nn.leaky_relu(x, self.slope))
        x = nn.Dropout(self.final_dropout, deterministic=not train)(x)
        x = layers.wide(x)  # The last layer computes in float32.
        output = Dense(1, **options | {"dtype": None})(x).reshape(-1)
        return layers.add_projection(output, x, label, self.conditioning)
