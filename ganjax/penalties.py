"""Penalties on the critic's gradient: pure functions, always computed in float32."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ganjax.keys import fold

Critic = Callable[[jax.Array], jax.Array]


def uniform_alpha(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Interpolation weights U[0, 1): points between real and fake.

    Gulrajani et al. 2017 (arXiv:1704.00028), algorithm 1.
    """
    return jax.random.uniform(key, shape)


def normal_alpha(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Interpolation weights N(0, 1): what widespread tutorials do; it extrapolates."""
    return jax.random.normal(key, shape)


def two_sided(norms: jax.Array, target: float) -> jax.Array:
    """(norm - target)^2 of each sample. Gulrajani et al. 2017, equation 3."""
    return jnp.square(norms - target)


def one_sided(norms: jax.Array, target: float) -> jax.Array:
    """max(0, norm - target)^2 of each sample. Gulrajani et al. 2017, section 4."""
    return jnp.square(jnp.maximum(norms - target, 0.0))


def gradient_norms(critic: Critic, x: jax.Array, eps: float = 1e-12) -> jax.Array:
    """The L2 norm of each sample's gradient, over all its axes.

    Args:
      critic: (N, ...) -> (N,), where sample i's output depends on sample i alone (so no
        BatchNorm inside).
      x: (N, ...) points.
      eps: added under the square root, whose derivative at 0 is infinite.

    Returns:
      (N,) float32 norms.
    """
    gradients = jax.grad(lambda x: jnp.sum(critic(x).astype(jnp.float32)))(x)
    squares = jnp.square(gradients.astype(jnp.float32))
    return jnp.sqrt(jnp.sum(squares, axis=tuple(range(1, x.ndim))) + eps)


def gradient_penalty(
    critic: Critic,
    real: jax.Array,
    fake: jax.Array,
    key: jax.Array,
    *,
    target: float = 1.0,
    alpha: Callable[[jax.Array, tuple[int, ...]], jax.Array] = uniform_alpha,
    side: Callable[[jax.Array, float], jax.Array] = two_sided,
) -> jax.Array:
    """The gradient penalty of WGAN-GP at one point between each real and its fake.

    mean_i side(||grad D(x_i)||_2, target), x_i = real_i + a_i (fake_i - real_i), one a_i
    per sample. Unweighted. Gulrajani et al. 2017 (arXiv:1704.00028), equation 3.

    Args:
      critic: (N, ...) -> (N,), without BatchNorm.
      real: (N, ...) samples of the data.
      fake: (N, ...) samples of the generator.
      key: draws the a_i.
      target: the norm aimed at.
      alpha: `uniform_alpha` or `normal_alpha`.
      side: `two_sided` or `one_sided`.

    Returns:
      A float32 scalar.

    Raises:
      ValueError: real and fake differ in shape.
    """
    if real.shape != fake.shape:
        raise ValueError(f"gradient_penalty: real is {real.shape} but fake is {fake.shape}")
    shape = (real.shape[0],) + (1,) * (real.ndim - 1)
    weight = alpha(fold(key, "alpha"), shape).astype(real.dtype)
    norms = gradient_norms(critic, real + weight * (fake - real))
    return jnp.mean(side(norms, target))
