"""Gradient penalties against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.engine.algorithm import Context
from ganjax.engine.phases import Phase
from ganjax.engine.schedules import Reals
from ganjax.keys import fold
from ganjax.objectives import penalties

RANDOM = np.random.RandomState(0)
W, REAL, FAKE = (
    jnp.asarray(RANDOM.randn(*shape), jnp.float32)
    for shape in ((4, 3, 2), (5, 4, 3, 2), (5, 4, 3, 2))
)
KEY = jax.random.key(0)
PHASE = Phase(0, 1, 5, 4)


def linear(x):
    """The critic whose gradient is W everywhere."""
    return jnp.sum(x * W[None], axis=(1, 2, 3))


def quadratic(x):
    """The critic whose gradient at x is x."""
    return 0.5 * jnp.sum(x * x, axis=(1, 2, 3))


def test_norms_are_over_all_axes_of_each_sample():
    norms = penalties.gradient_norms(quadratic, REAL)
    np.testing.assert_allclose(norms, np.linalg.norm(REAL.reshape(5, -1), axis=1), rtol=1e-6)


@pytest.mark.parametrize("target", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("side", ["two", "one"])
def test_a_linear_critic_is_penalised_by_the_norm_of_its_weights(target, side):
    points = penalties.interpolates(REAL, FAKE, KEY)
    value = penalties.gradient_penalty(linear, points, target=target, side=penalties.SIDES[side])
    excess = np.linalg.norm(W) - target
    expected = excess**2 if side == "two" else max(0.0, excess) ** 2
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_each_sample_has_one_alpha_between_real_and_fake():
    alpha = (penalties.interpolates(REAL, FAKE, KEY) - REAL) / (FAKE - REAL)
    flat = np.asarray(alpha).reshape(5, -1)
    np.testing.assert_allclose(flat, flat[:, :1].repeat(24, axis=1), rtol=2e-3, atol=2e-3)
    assert np.unique(flat[:, 0].round(4)).size == 5
    assert np.all((flat >= -1e-3) & (flat <= 1 + 1e-3))


def test_alphas_are_uniform_or_normal():
    uniform = np.asarray(penalties.uniform_alpha(KEY, (20_000,)))
    normal = np.asarray(penalties.normal_alpha(jax.random.key(1), (20_000,)))
    assert 0 <= uniform.min() < 0.01 < 0.99 < uniform.max() < 1
    assert abs(uniform.std() - 12**-0.5) < 0.01
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03


def test_a_vanishing_gradient_has_a_finite_derivative():
    """Without eps the derivative of the square root at 0 is NaN."""

    def value(scale):
        return penalties.gradient_penalty(lambda x: scale * linear(x), REAL)

    assert np.isfinite(jax.grad(value)(0.0))
    np.testing.assert_allclose(value(0.0), 1.0, atol=1e-5)


def test_the_derivative_agrees_with_finite_differences():
    def value(scale):
        return penalties.gradient_penalty(
            lambda x: jnp.sum(jnp.sin(scale * x), axis=(1, 2, 3)), REAL
        )

    expected = (value(0.7 + 1e-2) - value(0.7 - 1e-2)) / 2e-2
    np.testing.assert_allclose(jax.grad(value)(0.7), expected, rtol=1e-2)


def test_penalties_of_half_precision_are_summed_in_float32():
    """4,096 gradients of 2^-7: summed in bfloat16 their squares would stop growing early."""
    x = jnp.ones((2, 4_096), jnp.bfloat16)
    norms = penalties.gradient_norms(lambda x: jnp.sum(x * x.dtype.type(2**-7), axis=1), x)
    assert norms.dtype == jnp.float32
    np.testing.assert_allclose(norms, 0.5, rtol=1e-6)
    for penalty in (penalties.gradient_penalty, penalties.zero_centred):
        assert penalty(lambda x: jnp.sum(x, axis=1), x).dtype == jnp.float32


def test_a_fake_that_would_be_broadcast_is_refused():
    with pytest.raises(ValueError, match=r"real is \(5, 4, 3, 2\) but fake is \(5, 4, 3, 1\)"):
        penalties.interpolates(REAL, FAKE[..., :1], KEY)


def test_the_zero_centred_penalty_is_half_the_mean_squared_norm():
    expected = 0.5 * np.mean(np.sum(np.square(REAL), axis=(1, 2, 3)))
    np.testing.assert_allclose(penalties.zero_centred(quadratic, REAL), expected, rtol=1e-6)


def test_finite_differences_are_squared_slopes_along_noise():
    """Of a linear critic exactly, for any step; and half of the squared norm in the mean."""
    noise = jax.random.normal(fold(KEY, "difference"), REAL.shape)
    expected = 0.5 * np.mean(np.square(np.sum(noise * W[None], axis=(1, 2, 3))))
    for step in (1e-3, 1.0, 100.0):
        value = penalties.zero_centred_difference(linear, REAL, KEY, step)
        np.testing.assert_allclose(value, expected, rtol=3e-3)
    many = jnp.broadcast_to(REAL[:1], (20_000, 4, 3, 2))
    value = penalties.zero_centred_difference(quadratic, many, KEY, 1e-2)
    # The squares of normal values have a deviation of sqrt(2) of their mean: 1 % of 20,000.
    np.testing.assert_allclose(value, penalties.zero_centred(quadratic, many), rtol=0.04)


def test_finite_differences_take_the_place_of_gradients_in_r1_and_r2():
    fields = penalties.PenaltyFields(r1=3.0, r2=5.0, difference=0.5)
    penalty = fields.build(
        prepare=lambda params, vars: (params, vars),
        discriminate=lambda params, vars, x, label, key: (params * linear(x), vars),
        reals=Reals(5),
    )
    real, fake = ({"image": image, "label": jnp.zeros(5)} for image in (REAL, FAKE))
    context = Context(real, KEY, jnp.zeros((), int), PHASE, ())
    slope, (value, metrics) = (
        jax.grad(lambda p: penalty(p, {}, fake, context)[0])(2.0),
        penalty(2.0, {}, fake, context),
    )
    expected = {
        name: penalties.zero_centred_difference(
            lambda x: 2 * linear(x), images, fold(KEY, name), 0.5
        )
        for name, images in (("r1", REAL), ("r2", FAKE))
    }
    for name, each in expected.items():
        np.testing.assert_allclose(metrics[name], each, rtol=1e-5)
    np.testing.assert_allclose(value, 3 * expected["r1"] + 5 * expected["r2"], rtol=1e-5)
    # The penalty is the square of the parameter times a number.
    np.testing.assert_allclose(slope, value, rtol=1e-4)


def test_r1_and_r2_take_the_reals_and_the_fakes_each_with_their_own_labels():
    fields = penalties.PenaltyFields(r1=3.0, r2=5.0)
    penalty = fields.build(
        prepare=lambda params, vars: (params, vars),
        discriminate=lambda params, vars, x, label, key: (label * quadratic(x), vars),
        reals=Reals(5),
    )
    real_label, fake_label = np.arange(1.0, 6.0), np.arange(6.0, 1.0, -1)
    real, fake = (
        {"image": image, "label": jnp.asarray(label)}
        for image, label in ((REAL, real_label), (FAKE, fake_label))
    )
    value, metrics = penalty({}, {}, fake, Context(real, KEY, jnp.zeros((), int), PHASE, ()))
    expected = [
        0.5 * np.mean(np.square(label * np.linalg.norm(image.reshape(5, -1), axis=1)))
        for image, label in ((REAL, real_label), (FAKE, fake_label))
    ]
    np.testing.assert_allclose([metrics["r1"], metrics["r2"]], expected, rtol=1e-5)
    np.testing.assert_allclose(value, 3 * expected[0] + 5 * expected[1], rtol=1e-5)


def test_dragans_points_are_above_the_reals_by_half_a_deviation_at_most():
    """real + a s u / 2, with one a for each sample; the fakes do not matter."""
    reals = 3 * np.random.RandomState(1).randn(2_000, 4, 4, 1).astype(np.float32)
    fakes = jnp.full(reals.shape, jnp.nan)
    moved = np.asarray(penalties.perturbed(jnp.asarray(reals), fakes, KEY)) - reals
    assert moved.min() > -1e-6
    assert 0.45 * reals.std() < moved.max() <= 0.5 * reals.std() * (1 + 1e-5)
    np.testing.assert_allclose(moved.mean(), 0.5 * reals.std() / 4, rtol=0.03)
    # The samples' means follow a: they spread as U[0, 1) / 4 does, not as noise of 16 pixels.
    assert moved.mean((1, 2, 3)).std() > 0.9 * 0.5 * reals.std() * 0.5 / 12**0.5
