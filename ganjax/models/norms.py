"""BatchNorm, and the conditional BatchNorm by which labels enter a generator."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from ganjax.models.layers import Conditioning, Initializer
from ganjax.ops.lowering import by_platform

# The name of BatchNorm's sum of weights in the collection "batch_stats".
WEIGHT = "weight"


class Norm(NamedTuple):
    """The BatchNorm of a network, which is hashable and a function of features and labels.

    Under jit and sharding the statistics are those of the global batch.

    Attributes:
      use_scale: whether it has a scale, which would undo spectral normalisation.
      stddev: the standard deviation of the initial scales around 1.
      momentum: the decay of the running averages in each update.
      epsilon: a small number that is added to the variance.
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
        """Normalises features; to be called in a module's `@nn.compact` method.

        With the conditioning "batch_norm" each class has a scale and a bias of its own.

        Args:
          x: the features (N, ..., F).
          label: the labels (N,).
          train: whether the statistics are those of the batch; otherwise the running averages.
          conditioning: how the label enters the network.
          dtype: as in `BatchNorm`.

        Returns:
          The normalised features (N, ..., F).
        """
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
    """A BatchNorm over all axes but the last, with the parameters of Flax's.

    It maps x (..., F) to x * factor + shift, with vectors (F,) for which this is (x - mean) * scale
    / sqrt(variance + epsilon) + bias. So the backward pass sums cotangents, and cotangents times x;
    Flax's sums cotangents times x - mean, an array that it keeps besides x (docs/memory.md). All is
    computed in float32 or wider.

    The running averages are corrected for their start, as Adam's moments are (Kingma & Ba 2014,
    arXiv:1412.6980, section 3): the collection "batch_stats" holds `mean` and `var` (F,), which
    start at 0, and `weight` (), the sum of the weights of all batches in them. The averages are
    mean / weight and var / weight, so that any average of these three is corrected too. Before the
    first batch they are 0 and 1.

    Attributes:
      use_running_average: whether the statistics are the running averages, not the batch's.
      momentum: the decay of the running averages in each update.
      epsilon: a small number that is added to the variance.
      dtype: the dtype of the result; None takes it from x and the parameters.
      use_scale: whether there is a scale.
      use_bias: whether there is a bias.
      scale_init: the initialiser of the scale; the bias starts at 0.
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
        sums = [
            self.variable("batch_stats", name, jnp.zeros, shape, jnp.float32)
            for name, shape in (("mean", features), ("var", features), (WEIGHT, ()))
        ]
        mean, var = averages(*(each.value for each in sums))
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if not self.use_running_average:
            mean, var = moments(wide, near=mean)
            if not self.is_initializing():
                for running, batch in zip(sums, (mean, var, 1.0), strict=True):
                    running.value = self.momentum * running.value + (1 - self.momentum) * batch
        factor, shift, params = lax.rsqrt(var + self.epsilon), 0, []
        if self.use_scale:
            params.append(self.param("scale", self.scale_init, features, jnp.float32))
            factor *= params[-1]
        if self.use_bias:
            params.append(self.param("bias", nn.initializers.zeros, features, jnp.float32))
            shift = params[-1]
        y = wide * jnp.expand_dims(factor, axes) + jnp.expand_dims(shift - mean * factor, axes)
        return y.astype(self.dtype or jnp.result_type(x, *params))


def averages(mean: jax.Array, var: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the averages of means and variances that a `BatchNorm`'s variables stand for.

    Args:
      mean: (F,), the sum of the batches' means times their weights.
      var: (F,), the same of their variances.
      weight: (), the sum of their weights; 0 before the first batch, when the averages are 0 and 1.
    """
    measured = weight > 0
    total = jnp.where(measured, weight, 1.0)
    return mean / total, jnp.where(measured, var / total, 1.0)


def moments(x: jax.Array, near: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes the mean and the variance of x (..., F) over all axes but the last, both (F,).

    The variance is the mean square of x - c less the square of its mean. This is so for any c; but
    with c far from the mean, in deviations of x, the difference cancels. On CPUs c is the first
    value of x, which is near from the first update on. Elsewhere c is `near`, which every device
    holds: the first value would cost a second collective in every layer.

    Args:
      x: float32 or wider.
      near: (F,), a guess of the mean, such as a running average.
    """
    axes = tuple(range(x.ndim - 1))
    mean = jnp.mean(x, axes)
    centre = by_platform(
        lax.stop_gradient(x[(0,) * len(axes)]),
        lax.stop_gradient(near),
        cpu=lambda first, near: first,
        default=lambda first, near: near,
    )
    return mean, variance(x, mean, centre)


def variance(x: jax.Array, mean: jax.Array, centre: jax.Array) -> jax.Array:
    """Computes the variance (F,) of x (..., F), given its mean (F,) and constants (F,) near it."""
    axes = tuple(range(x.ndim - 1))
    square = jnp.mean(lax.square(x - jnp.expand_dims(centre, axes)), axes)
    # jnp.maximum splits its gradient at ties, which would take several operations.
    return nn.relu(square - lax.square(mean - centre))


class ClassAffine(nn.Module):
    """The last step of conditional BatchNorm, which computes x * scale[label] + bias[label].

    It maps features x (N, ..., F) and labels (N,) to features. Dumoulin et al. 2017
    (arXiv:1610.07629), equation 5; Miyato & Koyama 2018 (arXiv:1802.05637), appendix.

    Attributes:
      num_classes: the number of classes; labels are 0 .. num_classes - 1.
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
    """Returns DCGAN's initialiser of BatchNorm's scales, which draws from N(1, stddev^2)."""

    def init(key, shape, dtype=jnp.float32):
        return 1.0 + stddev * jax.random.normal(key, shape, dtype)

    return init
