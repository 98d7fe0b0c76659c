"""The convolutional networks of DCGAN (Radford et al. 2015, arXiv:1511.06434) and its kin.

Spatial sizes double or halve from or to 4x4, so that len(widths) stages make or take images
of 4 * 2**len(widths) pixels a side. No pooling, no hidden dense layer.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.models.layers import Conv, ConvTranspose, leaky_relu, scale_init


def image_size(widths: Sequence[int]) -> int:
    """Pixels a side of the images that networks of these widths make and take."""
    return 4 * 2 ** len(widths)


class Generator(nn.Module):
    """z (N, Z) -> images (N, S, S, channels) in (-1, 1), S = 4 * 2**len(widths).

    The first layer makes 4x4 with widths[0] channels; each of the others doubles the size;
    a last transposed convolution and tanh make the image. BatchNorm after every layer but
    the last, so none has a bias (DCGAN, figure 1).

    Attributes:
      widths: channels at 4x4, 8x8, ...: (8F, 4F, 2F, F) for 64x64.
      channels: of the image.
      slope: of LeakyReLU; 0 is the ReLU of the paper.
      upsample: how a layer doubles the size: "transpose", a transposed convolution of stride 2
        (paper), or "nearest", pixels repeated and then a convolution of stride 1, which
        leaves no checkerboard (Odena et al. 2016).
      init_stddev: of kernels around 0 and BatchNorm scales around 1 (DCGAN, section 4).
      momentum: decay of the running averages of BatchNorm.
      dtype: of the computation.
    """

    widths: Sequence[int]
    channels: int
    slope: float = 0.0
    upsample: str = "transpose"
    init_stddev: float = 0.02
    momentum: float = 0.9
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, z: jax.Array, *, train: bool) -> jax.Array:
        kernel_init = nn.initializers.normal(self.init_stddev)
        activate = leaky_relu(self.slope)

        options = {"use_bias": False, "dtype": self.dtype, "kernel_init": kernel_init}

        def transpose(x, features):
            return ConvTranspose(features, (4, 4), 2, "SAME", **options)(x)

        def nearest(x, features):
            x = x.repeat(2, axis=1).repeat(2, axis=2)
            return Conv(features, (4, 4), 1, "SAME", **options)(x)

        double = {"transpose": transpose, "nearest": nearest}[self.upsample]
        x = z.reshape(z.shape[0], 1, 1, -1)
        for i, width in enumerate(self.widths):
            if i == 0:  # 1x1 -> 4x4
                x = ConvTranspose(width, (4, 4), 1, "VALID", **options)(x)
            else:
                x = double(x, width)
            # Under jit and sharding the statistics are of the global batch.
            x = nn.BatchNorm(
                use_running_average=not train,
                momentum=self.momentum,
                epsilon=1e-5,
                dtype=self.dtype,
                scale_init=scale_init(self.init_stddev),
            )(x)
            x = activate(x)
        return jnp.tanh(double(x, self.channels))


class Discriminator(nn.Module):
    """Images (N, S, S, C) -> one output each (N,): a logit, or a critic's score.

    Convolutions of stride 2 down to 4x4, then one of 4x4 to a single number.

    Attributes:
      widths: channels after each halving: (F, 2F, 4F, 8F) for 64x64.
      batch_norm: for each stage, whether BatchNorm (and then no bias) follows its convolution.
      dropout: for each stage, the rate after its activation.
      slope: of LeakyReLU.
      init_stddev: as in `Generator`.
      momentum: decay of the running averages of BatchNorm.
      dtype: of the computation.
    """

    widths: Sequence[int]
    batch_norm: Sequence[bool]
    dropout: Sequence[float]
    slope: float = 0.2
    init_stddev: float = 0.02
    momentum: float = 0.9
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        kernel_init = nn.initializers.normal(self.init_stddev)
        activate = leaky_relu(self.slope)
        for width, norm, rate in zip(self.widths, self.batch_norm, self.dropout, strict=True):
            x = Conv(
                width, (4, 4), 2, 1, use_bias=not norm, dtype=self.dtype, kernel_init=kernel_init
            )(x)
            if norm:
                x = nn.BatchNorm(
                    use_running_average=not train,
                    momentum=self.momentum,
                    epsilon=1e-5,
                    dtype=self.dtype,
                    scale_init=scale_init(self.init_stddev),
                )(x)
            x = nn.Dropout(rate, deterministic=not train)(activate(x))
        x = Conv(1, (4, 4), 1, "VALID", dtype=self.dtype, kernel_init=kernel_init)(x)
        return x.reshape(x.shape[0])
