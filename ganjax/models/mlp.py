"""Dense networks: images are made and taken as flat vectors of pixels."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.models import layers
from ganjax.models.layers import Conditioning, Dense
from ganjax.models.norms import Norm


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
