"""Gradient penalties and losses against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import losses, penalties

RANDOM = np.random.RandomState(0)
W = RANDOM.randn(4, 3, 2).astype(np.float32)
REAL = RANDOM.randn(5, 4, 3, 2).astype(np.float32)
FAKE = RANDOM.randn(5, 4, 3, 2).astype(np.float32)
KEY = jax.random.key(0)


def linear(x):
    """Its gradient is W everywhere."""
    return jnp.sum(x * W[None], axis=(1, 2, 3))


def quadratic(x):
    """Its gradient at x is x."""
    return 0.5 * jnp.sum(x * x, axis=(1, 2, 3))


def test_norms_are_over_all_axes_of_each_sample():
    norms = penalties.gradient_norms(quadratic, REAL)
    np.testing.assert_allclose(norms, np.linalg.norm(REAL.reshape(5, -1), axis=1), rtol=1e-6)


@pytest.mark.parametrize("target", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("side", ["two", "one"])
def test_linear_critic(target, side):
    function = {"two": penalties.two_sided, "one": penalties.one_sided}[side]
    value = penalties.gradient_penalty(linear, REAL, FAKE, KEY, target=target, side=function)
    excess = np.linalg.norm(W) - target
    expected = excess**2 if side == "two" else max(0.0, excess) ** 2
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_one_alpha_a_sample_between_real_and_fake():
    seen = []

    def critic(x):
        seen.append(x)
        return linear(x)

    with jax.disable_jit():
        penalties.gradient_penalty(critic, REAL, FAKE, KEY)
    point = jax.lax.stop_gradient(seen[0])
    alpha = np.asarray(point.primal if hasattr(point, "primal") else point) - REAL
    alpha = alpha / (FAKE - REAL)
    flat = alpha.reshape(5, -1)
    np.testing.assert_allclose(flat, flat[:, :1].repeat(24, axis=1), rtol=2e-3, atol=2e-3)
    assert np.unique(flat[:, 0].round(4)).size == 5
    assert np.all((flat >= -1e-3) & (flat <= 1 + 1e-3))


def test_alpha_distributions():
    uniform = np.asarray(penalties.uniform_alpha(KEY, (20_000,)))
    normal = np.asarray(penalties.normal_alpha(jax.random.key(1), (20_000,)))
    assert 0 <= uniform.min() < 0.01 < 0.99 < uniform.max() < 1
    assert abs(uniform.std() - 12**-0.5) < 0.01
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03


def test_a_vanishing_gradient_has_a_finite_derivative():
    """The square root at 0: without eps the derivative is NaN."""

    def value(scale):
        return penalties.gradient_penalty(lambda x: scale * linear(x), REAL, FAKE, KEY)

    assert np.isfinite(jax.grad(value)(0.0))
    np.testing.assert_allclose(value(0.0), 1.0, atol=1e-5)


def test_derivative_against_finite_differences():
    def value(scale):
        return penalties.gradient_penalty(
            lambda x: jnp.sum(jnp.sin(scale * x), axis=(1, 2, 3)), REAL, FAKE, KEY
        )

    expected = (value(0.7 + 1e-2) - value(0.7 - 1e-2)) / 2e-2
    np.testing.assert_allclose(jax.grad(value)(0.7), expected, rtol=1e-2)


def test_float32_whatever_the_compute_dtype():
    """4,096 gradients of 2^-7: summed in bfloat16 their squares would stop growing early."""
    x = jnp.ones((2, 4_096), jnp.bfloat16)
    norms = penalties.gradient_norms(lambda x: jnp.sum(x * x.dtype.type(2**-7), axis=1), x)
    assert norms.dtype == jnp.float32
    np.testing.assert_allclose(norms, 0.5, rtol=1e-6)
    value = penalties.gradient_penalty(lambda x: jnp.sum(x, axis=1), x, 2 * x, KEY)
    assert value.dtype == jnp.float32


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"real is \(5, 4, 3, 2\) but fake is \(3, 4, 3, 2\)"):
        penalties.gradient_penalty(linear, REAL, FAKE[:3], KEY)


def test_wasserstein_losses():
    real, fake = np.array([1.0, 3.0]), np.array([-2.0, 5.0])
    assert losses.wasserstein_d(real, fake) == pytest.approx(1.5 - 2.0)
    assert losses.wasserstein_g(fake) == pytest.approx(-1.5)
