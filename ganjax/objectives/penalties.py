"""Penalties on the critic's gradient: pure functions, always computed in float32.

A critic is a function of samples (N, ...) whose score of a sample depends on that sample alone: it
has no BatchNorm.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ganjax.keys import fold

Samples = Float[Array, "n ..."]
Norms = Float[Array, " n"]
Scalar = Float[Array, ""]
Critic = Callable[[Samples], Float[Array, " n"]]
Alpha = Callable[[Key[Array, ""], tuple[int, ...]], Array]


def uniform_alpha(key: Key[Array, ""], shape: tuple[int, ...]) -> Array:
    """Draws interpolation weights from U[0, 1), for points between real and fake.

    Gulrajani et al. 2017 (arXiv:1704.00028), algorithm 1.
    """
    return jax.random.uniform(key, shape)


def normal_alpha(key: Key[Array, ""], shape: tuple[int, ...]) -> Array:
    """Draws interpolation weights from N(0, 1), as widespread tutorials do; they extrapolate."""
    return jax.random.normal(key, shape)


def two_sided(norms: Norms, target: float) -> Norms:
    """Computes (norm - target)^2 of each sample. Gulrajani et al. 2017, equation 3."""
    return jnp.square(norms - target)


def one_sided(norms: Norms, target: float) -> Norms:
    """Computes max(0, norm - target)^2 of each sample. Gulrajani et al. 2017, section 4."""
    return jnp.square(jnp.maximum(norms - target, 0.0))


def gradient_norms(critic: Critic, x: Samples, eps: float = 1e-12) -> Norms:
    """Computes the L2 norm of each sample's gradient, over all its axes.

    Args:
      critic: (N, ...) -> (N,).
      x: (N, ...) points.
      eps: added under the square root, whose derivative at 0 is infinite.

    Returns:
      (N,) float32 norms.
    """
    return jnp.sqrt(_squared_norms(critic, x) + eps)


def _squared_norms(critic: Critic, x: Samples) -> Norms:
    gradients = jax.grad(lambda x: jnp.sum(critic(x).astype(jnp.float32)))(x)
    return jnp.sum(jnp.square(gradients.astype(jnp.float32)), axis=tuple(range(1, x.ndim)))


def interpolates(
    real: Samples, fake: Samples, key: Key[Array, ""], alpha: Alpha = uniform_alpha
) -> Samples:
    """Draws one point between each real and its fake: real_i + a_i (fake_i - real_i).

    Gulrajani et al. 2017 (arXiv:1704.00028), algorithm 1.

    Args:
      real: (N, ...) samples of the data.
      fake: (N, ...) samples of the generator.
      key: draws the a_i, one a sample.
      alpha: `uniform_alpha` or `normal_alpha`.

    Raises:
      ValueError: real and fake differ in shape.
    """
    if real.shape != fake.shape:
        raise ValueError(f"interpolates: real is {real.shape} but fake is {fake.shape}")
    shape = (real.shape[0],) + (1,) * (real.ndim - 1)
    weight = alpha(fold(key, "alpha"), shape).astype(real.dtype)
    return real + weight * (fake - real)


def perturbed(real: Samples, fake: Samples, key: Key[Array, ""]) -> Samples:
    """Draws points around the reals, real + a s u / 2, where DRAGAN penalises.

    s is the standard deviation over all values of the batch, u ~ U[0, 1) for each value,
    a ~ U[0, 1) for each sample. Kodali et al. 2017 (arXiv:1705.07215), algorithm 1, with the
    noise of its authors' code. `fake` is not looked at.
    """
    noise = jax.random.uniform(fold(key, "noise"), real.shape, real.dtype)
    return interpolates(real, real + 0.5 * jnp.std(real) * noise, key)


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
      points: (N, ...) the x_i, `interpolates` or `perturbed`.
      target: the norm aimed at.
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
      x: (N, ...).

    Returns:
      A float32 scalar.
    """
    # Without eps: there is no square root to protect.
    return 0.5 * jnp.mean(_squared_norms(critic, x))
