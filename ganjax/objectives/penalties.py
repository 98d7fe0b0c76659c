"""Penalties on the gradient of a critic, which are pure functions, and their config fields.

Penalties are computed in float32, whatever the critic computes in. A critic is a function of
samples (N, ...) to scores (N,), and the score of a sample depends on that sample alone: a critic
has no BatchNorm.

To add a penalty, write its function, its weight in `PenaltyFields` and its line in `PENALTIES`.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import NonNegativeFloat

from ganjax.config import ConfigError, Fields, OneOf, PositiveInt, may_change_if_named
from ganjax.engine.algorithm import Batch, Context, Metrics, Penalty, no_penalty
from ganjax.engine.meanings import Meaning
from ganjax.engine.schedules import Reals, ScheduledNonNegative, number_at
from ganjax.keys import fold

Samples = Float[Array, "n ..."]
Norms = Float[Array, " n"]
Scalar = Float[Array, ""]
Critic = Callable[[Samples], Float[Array, " n"]]
MEANINGS = {
    "c_gp": Meaning(
        "the gradient penalty without its weight: the mean squared distance of the norms of the "
        "critic's gradients from config.penalty.target",
        least=0,
        reading="far below 1 where the critic has the Lipschitz constant 1 that is asked of it",
    ),
    "r1": Meaning("half the mean squared norm of D's gradients at reals, without its weight", 0),
    "r2": Meaning("half the mean squared norm of D's gradients at fakes, without its weight", 0),
}


def uniform_alpha(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Draws interpolation weights from U[0, 1), whose points lie between real and fake.

    Gulrajani et al. 2017 (arXiv:1704.00028), algorithm 1.
    """
    return jax.random.uniform(key, shape)


def normal_alpha(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Draws interpolation weights from N(0, 1), whose points may lie beyond real and fake.

    This is not the paper's choice, but that of widespread tutorials.
    """
    return jax.random.normal(key, shape)


def interpolates(
    real: Samples,
    fake: Samples,
    key: Key[Array, ""],
    alpha: Callable[[Key[Array, ""], tuple[int, ...]], Array] = uniform_alpha,
) -> Samples:
    """Draws one point between each real and its fake: real_i + a_i (fake_i - real_i).

    Gulrajani et al. 2017 (arXiv:1704.00028), algorithm 1.

    Args:
      real: (N, ...) samples of the data.
      fake: (N, ...) samples of the generator.
      key: the key by which the a_i are drawn, one for each sample.
      alpha: `uniform_alpha` or `normal_alpha`.

    Returns:
      (N, ...) points.

    Raises:
      ValueError: real and fake differ in shape.
    """
    if real.shape != fake.shape:
        raise ValueError(f"interpolates: real is {real.shape} but fake is {fake.shape}")
    shape = (real.shape[0],) + (1,) * (real.ndim - 1)
    weight = alpha(fold(key, "alpha"), shape).astype(real.dtype)
    return real + weight * (fake - real)


def perturbed(real: Samples, fake: Samples, key: Key[Array, ""]) -> Samples:
    """Draws the points around the reals, real + a s u / 2, at which DRAGAN penalises.

    s is the standard deviation over all values of the batch, u ~ U[0, 1) for each value, and
    a ~ U[0, 1) for each sample. Kodali et al. 2017 (arXiv:1705.07215), algorithm 1, with the
    noise of its authors' code.

    Args:
      real: (N, ...) samples of the data.
      fake: ignored.
      key: the key by which u and a are drawn.

    Returns:
      (N, ...) points.
    """
    del fake
    noise = jax.random.uniform(fold(key, "noise"), real.shape, real.dtype)
    return interpolates(real, real + 0.5 * jnp.std(real) * noise, key)


def two_sided(norms: Norms, target: float) -> Norms:
    """Computes (norm - target)^2 for each sample. Gulrajani et al. 2017, equation 3."""
    return jnp.square(norms - target)


def one_sided(norms: Norms, target: float) -> Norms:
    """Computes max(0, norm - target)^2 for each sample. Gulrajani et al. 2017, section 4."""
    return jnp.square(jnp.maximum(norms - target, 0.0))


def gradient_norms(critic: Critic, x: Samples, eps: float = 1e-12) -> Norms:
    """Computes the L2 norms of the critic's gradients with respect to each sample.

    Args:
      critic: (N, ...) -> (N,).
      x: (N, ...) points.
      eps: a small number that is added under the square root, whose derivative at 0 is infinite.

    Returns:
      (N,) float32 norms.
    """
    return jnp.sqrt(_squared_norms(critic, x) + eps)


def _squared_norms(critic: Critic, x: Samples) -> Norms:
    return _squares(jax.grad(lambda x: jnp.sum(critic(x).astype(jnp.float32)))(x))


def _squares(gradients: Samples) -> Norms:
    wide = gradients.astype(jnp.float32)
    return jnp.sum(jnp.square(wide), axis=tuple(range(1, wide.ndim)))


def gradient_penalty(
    critic: Critic,
    points: Samples,
    *,
    target: float = 1.0,
    side: Callable[[Norms, float], Norms] = two_sided,
) -> Scalar:
    """Computes mean_i side(||grad D(x_i)||_2, target), unweighted.

    Gulrajani et al. 2017 (arXiv:1704.00028), equation 3.

    Args:
      critic: (N, ...) -> (N,).
      points: (N, ...) the x_i, from `interpolates` or `perturbed`.
      target: the norm at which the penalty is 0.
      side: `two_sided` or `one_sided`.

    Returns:
      A float32 scalar.
    """
    return jnp.mean(side(gradient_norms(critic, points), target))


def zero_centred(critic: Critic, x: Samples) -> Scalar:
    """Computes mean_i ||grad D(x_i)||^2 / 2, unweighted: R1 at reals, R2 at fakes.

    Mescheder et al. 2018 (arXiv:1801.04406), equations 9 and 10.

    Args:
      critic: (N, ...) -> (N,).
      x: (N, ...) the x_i, reals or fakes.

    Returns:
      A float32 scalar.
    """
    # No eps is needed, since there is no square root.
    return 0.5 * jnp.mean(_squared_norms(critic, x))


def half_mean_square(slopes: Samples) -> Scalar:
    """Computes `zero_centred` from the critic's gradients (N, ...) at the samples."""
    return 0.5 * jnp.mean(_squares(slopes))


def zero_centred_difference(critic: Critic, x: Samples, key: Key[Array, ""], step: float) -> Scalar:
    """Estimates `zero_centred` by finite differences, which need no second derivative.

    It computes mean_i (D(x_i + step n_i) - D(x_i))^2 / (2 step^2), n_i ~ N(0, I), whose expectation
    is that of `zero_centred` for a critic that is linear within a few steps of x_i. Lin et al. 2025
    (arXiv:2511.22475), as a form of R1 and R2.

    Args:
      critic: (N, ...) -> (N,), in float32.
      x: (N, ...) the x_i, reals or fakes.
      key: the key by which the n_i are drawn.
      step: the deviation of the difference in each value of x_i, above 0.

    Returns:
      A float32 scalar.
    """
    moved = x + step * jax.random.normal(fold(key, "difference"), x.shape, x.dtype)
    slopes = (critic(moved).astype(jnp.float32) - critic(x).astype(jnp.float32)) / step
    return 0.5 * jnp.mean(jnp.square(slopes))


SIDES = {"two": two_sided, "one": one_sided}
POINTS = {
    "uniform": interpolates,
    "normal": partial(interpolates, alpha=normal_alpha),
    "dragan": perturbed,
}


class PenaltyFields(Fields):
    """Penalties on D's gradient with respect to images.

    Attributes:
      weight: the factor of the gradient penalty, >= 0, a number or a schedule; 0 leaves it out.
      target: the norm of the gradient at which the gradient penalty is 0.
      side: whether norms on "two" sides of the target are penalised, or on "one": above it.
      points: where the gradient is taken: between reals and fakes by "uniform" weights (paper) or
        "normal" ones, or around the reals ("dragan").
      r1: gamma of R1, which adds gamma / 2 times the squared norm of the gradient at reals
        (Mescheder et al. 2018), a number or a schedule; 0 leaves it out.
      r2: gamma of R2, which adds the same at fakes; 0 leaves it out.
      difference: the step of finite differences that take the place of gradients in R1 and R2, in
        units of images in [-1, 1], such as .01; 0 takes the gradients (`zero_centred_difference`).
      interval: the number of steps from one penalty to the next; a penalty is then that many times
        as large (lazy regularisation, `ganjax.engine.algorithm.Algorithm.penalty_interval`).
    """

    weight: ScheduledNonNegative = may_change_if_named(0.0)
    target: NonNegativeFloat = 1.0
    side: Annotated[str, OneOf(SIDES)] = "two"
    points: Annotated[str, OneOf(POINTS)] = "uniform"
    r1: ScheduledNonNegative = may_change_if_named(0.0)
    r2: ScheduledNonNegative = may_change_if_named(0.0)
    difference: NonNegativeFloat = 0.0
    interval: PositiveInt = may_change_if_named(1)

    def check(
        self,
        *,
        uses_batch_norm: bool,
        batch_norm: str | bool,
        fake_labels: str | None,
        precision: str,
    ) -> None:
        """Refuses penalties that do not go with each other or with other fields of the config.

        Args:
          uses_batch_norm: whether D has BatchNorm.
          batch_norm: the value of config.discriminator.batch_norm, for the message.
          fake_labels: config.conditioning.fake_labels where D takes labels, else None.
          precision: the value of config.precision.

        Raises:
          ConfigError: the fields do not go together.
        """
        weights = {penalty.weight: getattr(self, penalty.weight) for penalty in PENALTIES}
        for name, value in weights.items():
            if value and uses_batch_norm:
                raise ConfigError(
                    f"config.penalty.{name}={value}: it holds each sample's own gradient, but "
                    f"config.discriminator.batch_norm={batch_norm!r} ties the samples of a batch "
                    "together; set batch_norm='none' or the penalty to 0"
                )
        for name in ("points", "side", "target"):
            value, default = getattr(self, name), PenaltyFields.model_fields[name].default
            if value != default and not self.weight:
                raise ConfigError(
                    f"config.penalty.{name}={value!r}: it does nothing where config.penalty.weight "
                    f"is 0; set a weight, such as 10, or {name}={default!r}"
                )
        if self.weight and self.points != "dragan" and fake_labels not in (None, "reals"):
            raise ConfigError(
                f"config.conditioning.fake_labels={fake_labels!r}: points between a real and a "
                "fake need one label for both; set 'reals', or config.penalty.points='dragan'"
            )
        if self.difference and not (self.r1 or self.r2):
            raise ConfigError(
                f"config.penalty.difference={self.difference}: it is of R1 and R2, which are 0; "
                "set config.penalty.r1 or r2, or difference=0.0"
            )
        if self.difference and precision != "float32":
            raise ConfigError(
                f"config.precision={precision!r}: differences of scores over a step of "
                f"config.penalty.difference={self.difference} would be its rounding; set "
                "'float32', or difference=0.0"
            )
        if self.interval > 1 and not any(weights.values()):
            raise ConfigError(
                f"config.penalty.interval={self.interval}: there is no penalty; set weight, r1 or "
                "r2, or interval=1"
            )

    def build(
        self,
        *,
        prepare: Callable[[Any, Any], tuple[Any, Any]],
        discriminate: Callable[..., tuple[jax.Array, Any]],
        reals: Reals,
        augment: Callable[[jax.Array, Context], jax.Array] | None = None,
    ) -> Penalty:
        """Returns the weighted sum of all penalties whose weight is not 0.

        With an augmentation T, the gradient is that of D(T(x)) with respect to x.

        Args:
          prepare: (params, vars) of D -> the params and vars that `discriminate` takes.
          discriminate: (params, vars, images, label, key) -> (scores (N,), vars) of D in training.
          reals: the number of reals that D has seen, for weights that are schedules.
          augment: (images, context) -> images as D sees them; None for unchanged images.

        Returns:
          The penalty, whose metrics are the unweighted values.
        """
        weights = {p: getattr(self, p.weight) for p in PENALTIES if getattr(self, p.weight)}
        if not weights:
            return no_penalty

        def weighted_sum(params, vars, fake, context) -> tuple[Any, Metrics]:
            params, vars = prepare(params, vars)
            key = fold(context.key, "dropout")

            def critic(label):
                def scores(x):
                    seen = x if augment is None else augment(x, context)
                    return discriminate(params, vars, seen, label, key)[0]

                return scores

            values = {
                penalty.metric: penalty.compute(self, critic, context.batch, fake, context.key)
                for penalty in weights
            }
            seen = reals.at(context.step)
            weighted = [number_at(w, seen) * values[p.metric] for p, w in weights.items()]
            return sum(weighted), values

        return weighted_sum


class PenaltyGroup(Fields):
    """The fields of algorithms that build their penalty by `PenaltyFields.build`.

    Attributes:
      penalty: penalties on D's gradient.
    """

    penalty: PenaltyFields = PenaltyFields()


class CriticOfLabel(Protocol):
    """A function that makes the critic of an update from the labels of its images."""

    def __call__(self, label: jax.Array) -> Critic:
        """Returns D as a function of images (N, H, W, C) that have the labels (N,)."""
        ...


class WeightedPenalty(NamedTuple):
    """A kind of penalty, with the names of its metric and of its weight.

    Attributes:
      metric: the name of the unweighted penalty in the metrics.
      weight: the name of the field of `PenaltyFields` that holds its weight.
      compute: (fields, critic of label, real, fake, key) -> the unweighted penalty, a float32
        scalar.
    """

    metric: str
    weight: str
    compute: Callable[[PenaltyFields, CriticOfLabel, Batch, Batch, jax.Array], Scalar]


def _gradient_penalty(fields, critic, real, fake, key):
    points = POINTS[fields.points](real["image"], fake["image"], key)
    side = SIDES[fields.side]
    return gradient_penalty(critic(real["label"]), points, target=fields.target, side=side)


def _r1(fields, critic, real, fake, key):
    return _zero_centred(fields, critic(real["label"]), real["image"], fold(key, "r1"))


def _r2(fields, critic, real, fake, key):
    return _zero_centred(fields, critic(fake["label"]), fake["image"], fold(key, "r2"))


def _zero_centred(fields, critic, x, key):
    """Computes R1 or R2 by the gradients, or by differences where these have a step."""
    if fields.difference:
        return zero_centred_difference(critic, x, key, fields.difference)
    return zero_centred(critic, x)


PENALTIES = (
    WeightedPenalty("c_gp", "weight", _gradient_penalty),
    WeightedPenalty("r1", "r1", _r1),
    WeightedPenalty("r2", "r2", _r2),
)
