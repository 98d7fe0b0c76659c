"""The convolutional networks of DCGAN (Radford et al. 2015, arXiv:1511.06434) and its kin.

Spatial sizes double or halve from or to 4x4, so that len(widths) stages make or take images
of 4 * 2**len(widths) pixels a side. No pooling, no hidden dense layer.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.models import layers
from ganjax.models.layers import Conditioning, Conv, ConvTranspose, Norm


def image_size(widths: Sequence[int]) -> int:
    """Pixels a side of the images that networks of these widths make and take."""
    return 4 * 2 ** len(widths)


class Generator(nn.Module):
    """z (N, Z), label (N,) -> images (N, S, S, channels), S = 4 * 2**len(widths).

    The first layer makes 4x4 with widths[0] channels; each of the others doubles the size;
    a last layer of the same kind and `output` make the image. BatchNorm after every layer but
    the last, so none has a bias (DCGAN, figure 1).

    Attributes:
      widths: channels at 4x4, 8x8, ...: (8F, 4F, 2F, F) for 64x64.
      channels: of the image.
      slope: of LeakyReLU; 0 is the ReLU of the paper.
      upsample: how a layer doubles the size: "transpose", a transposed convolution of stride 2
        (paper), or "nearest", pixels repeated and then a convolution of stride 1, which
        leaves no checkerboard (Odena et al. 2016).
      init_stddev: of kernels around 0 (DCGAN, section 4); 0 is Glorot's.
      norm: of all layers but the last; None leaves it out, and biases in.
      conditioning: how the label enters.
      output: a name in `layers.OUTPUTS`.
      first_norm: what the norm at 4x4 is of: each "channel", as of a convolution's output, or
        each "unit" of the 16 * widths[0], as of a dense layer's, which the first layer is too.
      output_bias: whether the last layer has a bias.
      dtype: of the computation.
    """

    widths: Sequence[int]
    channels: int
    slope: float = 0.0
    upsample: str = "transpose"
    init_stddev: float = 0.02
    norm: Norm | None = Norm(stddev=0.02)
    conditioning: Conditioning = Conditioning()
    output: str = "tanh"
    first_norm: str = "channel"
    output_bias: bool = False
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, z: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        activate = layers.leaky_relu(self.slope)
        options = {"dtype": self.dtype, "kernel_init": layers.kernel_init(self.init_stddev)}
        dense = options | {"kernel_init": layers.kernel_init(self.init_stddev, dense="outputs")}

        def transpose(x, features, **more):
            return ConvTranspose(features, (4, 4), 2, "SAME", **options, **more)(x)

        def nearest(x, features, **more):
            return Conv(features, (4, 4), 1, "SAME", **options, **more)(layers.repeat(x))

        double = {"transpose": transpose, "nearest": nearest}[self.upsample]
        beside = layers.label_vector(label, self.conditioning)
        x = z.reshape(z.shape[0], 1, 1, -1)
        use_bias = self.norm is None
        for i, width in enumerate(self.widths):
            if i == 0:  # 1x1 -> 4x4
                first = ConvTranspose(width, (4, 4), 1, "VALID", use_bias=use_bias, **dense)
                x = first(x, beside)
            else:
                x = double(x, width, use_bias=use_bias)
            if self.norm is not None:
                shape = x.shape
                if i == 0 and self.first_norm == "unit":
                    x = x.reshape(shape[0], -1)
                x = self.norm(
                    x, label, train=train, conditioning=self.conditioning, dtype=self.dtype
                ).reshape(shape)
            x = activate(x)
        return layers.OUTPUTS[self.output](double(x, self.channels, use_bias=self.output_bias))


class Discriminator(nn.Module):
    """Images (N, S, S, C), label (N,) -> one output each (N,): a logit, or a critic's score.

    Convolutions of stride 2 down to 4x4, then one of 4x4 to a single number.

    Attributes:
      widths: channels after each halving: (F, 2F, 4F, 8F) for 64x64.
      batch_norm: for each stage, whether `norm` (and then no bias) follows its convolution.
      dropout: for each stage, the rate after its activation.
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
        activate = layers.leaky_relu(self.slope)
        options = {"dtype": self.dtype, "kernel_init": layers.kernel_init(self.init_stddev)}
        beside = layers.label_vector(label, self.conditioning)
        for width, norm, rate in zip(self.widths, self.batch_norm, self.dropout, strict=True):
            x = Conv(width, (4, 4), 2, 1, use_bias=not norm, **options)(x, beside)
            beside = None  # The first layer alone takes the label.
            if norm:
                x = self.norm(x, label, train=train, dtype=self.dtype)
            x = nn.Dropout(rate, deterministic=not train)(activate(x))
        x = nn.Dropout(self.final_dropout, deterministic=not train)(x)
        options["kernel_init"] = layers.kernel_init(self.init_stddev, dense="inputs")
        output = Conv(1, (4, 4), 1, "VALID", **options)(x).reshape(x.shape[0])
        return layers.add_projection(output, x.sum((1, 2)), label, self.conditioning)
