"""BatchNorm, and the form of it that conditions a generator on its label."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from ganjax.models.layers import Conditioning, Initializer


class Norm(NamedTuple):
    """BatchNorm's settings, and whether each class has its own. Hashable.

    Under jit and sharding its statistics are of the global batch.

    Attributes:
      use_scale: whether it has a scale; not under spectral normalisation, which a scale undoes.
      stddev: of the initial scales around 1.
      momentum: decay of the running averages.
      epsilon: added to the variance.
    """

    use_scale: bool = True
    stddev: float = 0.0
    momentum: float = 0.9
    epsilon: float = 1e-5

    def __call__(
        self,
        x: jax.Array,
        label: jax.Array,
        *,
        train: bool,
        conditioning: Conditioning = Conditioning(),  # noqa: B008
        dtype: jnp.dtype | None = None,
    ) -> jax.Array:
        """x (..., F), normalised. Inside a module's `@nn.compact`."""
        common = {
            "use_running_average": not train,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "dtype": dtype,
        }
        if conditioning.kind != "batch_norm":
            return BatchNorm(
                use_scale=self.use_scale, scale_init=scale_init(self.stddev), **common
            )(x)
        x = BatchNorm(use_scale=False, use_bias=False, **common)(x)
        return ClassAffine(conditioning.num_classes, self.use_scale, self.stddev)(x, label)


class BatchNorm(nn.Module):
    """`flax.linen.BatchNorm` over all axes but the last, of the same parameters and variables.

    Of x (..., F) it returns x * factor + shift, vectors (F,) that make it (x - mean) * scale /
    sqrt(variance + epsilon) + bias. So the backward pass sums cotangents, and cotangents times x:
    where there are a scale and a bias, nothing more goes round over devices than these two's
    gradients. Flax's sums cotangents times x - mean, which XLA's CPU keeps beside x from one pass
    to the other, an array of each layer's size: of batch 128 a fifth of the temporaries of DCGAN's
    step. All is computed in float32 or wider.

    Attributes:
      use_running_average: whether it normalises by the running averages, not by the batch.
      momentum: decay of the running averages.
      epsilon: added to the variance.
      dtype: of the result; None takes it from x and the parameters.
      use_scale: whether there is a scale.
      use_bias: whether there is a bias.
      scale_init: initialiser of the scale; the bias starts at 0.
    """

    use_running_average: bool
    momentum: float
    epsilon: float
    dtype: jnp.dtype | None = None
    use_scale: bool = True
    use_bias: bool = True
    scale_init: Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        features, axes = x.shape[-1:], tuple(range(x.ndim - 1))
        average = self.variable("batch_stats", "mean", jnp.zeros, features, jnp.float32)
        average_var = self.variable("batch_stats", "var", jnp.ones, features, jnp.float32)
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if self.use_running_average:
            mean, var = average.value, average_var.value
        else:
            mean = jnp.mean(wide, axes)
            # Not by jnp.maximum, whose gradient is several operations: it is split at ties.
            var = nn.relu(jnp.mean(lax.square(wide), axes) - lax.square(mean))
            if not self.is_initializing():
                for kept, now in ((average, mean), (average_var, var)):
                    kept.value = self.momentum * kept.value + (1 - self.momentum) * now
        factor, shift, params = lax.rsqrt(var + self.epsilon), 0, []
        if self.use_scale:
            params.append(self.param("scale", self.scale_init, features, jnp.float32))
            factor *= params[-1]
        if self.use_bias:
            params.append(self.param("bias", nn.initializers.zeros, features, jnp.float32))
            shift = params[-1]
        y = wide * jnp.expand_dims(factor, axes) + jnp.expand_dims(shift - mean * factor, axes)
        return y.astype(self.dtype or jnp.result_type(x, *params))


class ClassAffine(nn.Module):
    """x (N, ..., F) * scale[label] + bias[label]: what conditional BatchNorm adds to BatchNorm.

    Dumoulin et al. 2017 (arXiv:1610.07629), equation 5; Miyato & Koyama 2018, appendix.

    Attributes:
      num_classes: of the labels.
      use_scale: as in `Norm`.
      stddev: as in `Norm`.
    """

    num_classes: int
    use_scale: bool
    stddev: float

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array) -> jax.Array:
        shape = (self.num_classes, x.shape[-1])
        per_sample = (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1])
        if self.use_scale:
            scale = self.param("scale", scale_init(self.stddev), shape)
            x = x * scale[label].reshape(per_sample).astype(x.dtype)
        bias = self.param("bias", nn.initializers.zeros, shape)
        return x + bias[label].reshape(per_sample).astype(x.dtype)


def scale_init(stddev: float) -> Initializer:
    """N(1, stddev), DCGAN's initialisation of BatchNorm's scale."""

    def init(key, shape, dtype=jnp.float32):
        return 1.0 + stddev * jax.random.normal(key, shape, dtype)

    return init
