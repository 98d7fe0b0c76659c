"""The losses against their formulas in float64, and the directions in which they pull."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.engine.algorithm import Context
from ganjax.engine.phases import Phase
from ganjax.objectives import losses
from ganjax.objectives.losses import LOSSES

RANDOM = np.random.RandomState(0)
REAL, FAKE = RANDOM.randn(7) * 3, RANDOM.randn(7) * 3
ONES, ZEROS = np.ones(7), np.zeros(7)


def log_sigmoid(x):
    return -np.logaddexp(0, -x)


def cross_entropy(x, target):
    return -np.mean(target * log_sigmoid(x) + (1 - target) * log_sigmoid(-x))


R, F = REAL - FAKE.mean(), FAKE - REAL.mean()
EXPECTED = {
    "non_saturating": (
        -np.mean(log_sigmoid(REAL)) - np.mean(log_sigmoid(-FAKE)),
        -np.mean(log_sigmoid(FAKE)),
    ),
    "minimax": (
        -np.mean(log_sigmoid(REAL)) - np.mean(log_sigmoid(-FAKE)),
        np.mean(log_sigmoid(-FAKE)),
    ),
    "least_squares": (
        (np.mean((REAL - 1) ** 2) + np.mean(FAKE**2)) / 2,
        np.mean((FAKE - 1) ** 2) / 2,
    ),
    "hinge": (
        np.mean(np.maximum(0, 1 - REAL)) + np.mean(np.maximum(0, 1 + FAKE)),
        -FAKE.mean(),
    ),
    "wasserstein": (FAKE.mean() - REAL.mean(), -FAKE.mean()),
    "relativistic": (
        -np.mean(log_sigmoid(R)) - np.mean(log_sigmoid(-F)),
        -np.mean(log_sigmoid(F)) - np.mean(log_sigmoid(-R)),
    ),
    "relativistic_paired": (
        -np.mean([log_sigmoid(r - f) for r, f in zip(REAL, FAKE, strict=True)]),
        -np.mean([log_sigmoid(f - r) for r, f in zip(REAL, FAKE, strict=True)]),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_its_formula(name):
    loss, (d, g) = LOSSES[name], EXPECTED[name]
    real, fake = jnp.asarray(REAL), jnp.asarray(FAKE)
    np.testing.assert_allclose(loss.d(real, fake, (1.0, 0.0)), d, rtol=1e-5)
    np.testing.assert_allclose(loss.d(real, fake, (jnp.ones(7), jnp.zeros(7))), d, rtol=1e-5)
    np.testing.assert_allclose(loss.g(real, fake), g, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_d_parts_the_scores_and_g_raises_those_of_fakes(name):
    loss, same = LOSSES[name], jnp.full(7, 0.5)  # Between the targets of least squares.
    by_real, by_fake = jax.grad(lambda r, f: loss.d(r, f, (1.0, 0.0)), (0, 1))(same, same)
    assert np.all(by_real < 0)
    assert np.all(by_fake > 0)
    assert np.all(jax.grad(loss.g, 1)(same, same) < 0)


@pytest.mark.parametrize("name", LOSSES)
def test_targets_matter_where_the_table_says_so(name):
    loss = LOSSES[name]
    real, fake = jnp.asarray(REAL), jnp.asarray(FAKE)
    one, other = (loss.d(real, fake, targets) for targets in ((1.0, 0.0), (0.9, 0.1)))
    assert (one != other) == loss.uses_targets


def test_logits_are_above_0_where_d_takes_an_image_for_real():
    """D of least squares decides halfway between its targets."""
    real, fake = LOSSES["least_squares"].logits(jnp.array([0.6, 0.4]), jnp.array([0.6, 0.4]))
    assert (real > 0).tolist() == (fake > 0).tolist() == [True, False]
    real, fake = LOSSES["relativistic"].logits(jnp.array([5.0, 7.0]), jnp.array([4.0, 8.0]))
    assert (real > 0).tolist() == [False, True]
    assert (fake > 0).tolist() == [False, True]
    assert LOSSES["wasserstein"].logits is None


def test_where_d_is_sure_of_a_fake_the_minimax_gradient_alone_vanishes():
    sure = jnp.full(1, -20.0)
    assert abs(jax.grad(losses.minimax_g, 1)(sure, sure)[0]) < 1e-6
    assert jax.grad(losses.non_saturating_g, 1)(sure, sure)[0] < -0.99


def test_binary_cross_entropy_agrees_with_its_closed_form():
    logits = np.array([-30.0, -1.0, 0.0, 2.0, 30.0])
    for target in (0.0, 1.0, 0.3, 1.1, -0.1):
        np.testing.assert_allclose(
            losses.binary_cross_entropy(jnp.asarray(logits), target),
            cross_entropy(logits, target),
            rtol=1e-6,
        )


ANY = Context({}, jax.random.key(0), jnp.zeros((), int), Phase(0, 1, 8, 8), ())


def d_loss(real, fake, **fields):
    """Returns D's loss and metrics of a config with these fields."""
    return losses.discriminator_loss(losses.LossGroup(**fields))((real, fake), ANY)


@pytest.mark.parametrize(("d_halves", "factor"), [("sum", 1.0), ("mean", 0.5)])
def test_d_loss_sums_or_averages_its_halves(d_halves, factor):
    real, fake = jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0])
    loss, metrics = d_loss(real, fake, d_halves=d_halves)
    halves = np.logaddexp(0, -np.asarray(real)).mean() + np.logaddexp(0, np.asarray(fake)).mean()
    np.testing.assert_allclose(loss, factor * halves, rtol=1e-6)
    assert metrics == {"d_real_acc": 0.5, "d_fake_acc": 0.0, "d_acc": 0.25}


def test_g_loss_reports_the_share_of_fakes_that_d_takes_for_real():
    real, fake = jnp.array([1.0, -2.0, 0.0]), jnp.array([0.5, 3.0, -1.0])
    loss, metrics = losses.generator_loss(losses.LossGroup())((real, fake), ANY)
    np.testing.assert_allclose(loss, np.logaddexp(0, -np.asarray(fake)).mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["g_acc"], 2 / 3, rtol=1e-6)


def test_label_noise_moves_targets_outwards():
    """At target t the loss is softplus(x) - t x: linear in t, so it shows the mean target."""
    noise, logits = losses.TargetsFields(noise=0.1), jnp.full((20_000,), 2.0)
    loss, _ = d_loss(logits, logits, targets=noise)
    # The mean targets are 1.05 and -0.05.
    expected = 2 * np.logaddexp(0, 2.0) - (1.05 - 0.05) * 2.0
    np.testing.assert_allclose(loss, expected, rtol=1e-3)
    real_alone, _ = d_loss(logits, 0 * logits, targets=noise)
    expected = np.logaddexp(0, 2.0) - 1.05 * 2.0 + np.log(2)
    np.testing.assert_allclose(real_alone, expected, rtol=1e-3)


def keras_cross_entropy(logits, targets):
    """Computes what Keras does: -t log p - (1 - t) log(1 - p) of clipped p."""
    p = np.clip(1 / (1 + np.exp(-logits)), 1e-7, 1 - 1e-7)
    return np.mean(-targets * np.log(p) - (1 - targets) * np.log1p(-p))


@pytest.mark.parametrize("loss", ["non_saturating", "minimax", "relativistic"])
def test_with_label_noise_no_logit_makes_the_loss_fall_without_end(loss):
    """Beyond the logits of p = 1e-7 and 1 - 1e-7 it stays and has no gradient, as in Keras."""
    targets = losses.TargetsFields(noise=0.1)

    def of_noise(real, fake):
        return d_loss(real, fake, loss=loss, targets=targets)[0]

    (of_reals, of_fakes), means = losses._noisy_targets(targets, ANY.key, (2,)), (0.0, 0.0)
    for size in (3.0, 200.0):
        real, fake = size * np.array([1.0, 0.9]), -size * np.array([0.8, 1.0])
        if loss == "relativistic":
            means = fake.mean(), real.mean()
        expected = keras_cross_entropy(real - means[0], np.asarray(of_reals, np.float64))
        expected += keras_cross_entropy(fake - means[1], np.asarray(of_fakes, np.float64))
        scores = jnp.asarray(real), jnp.asarray(fake)
        np.testing.assert_allclose(of_noise(*scores), expected, rtol=1e-5)
        assert np.array(jax.grad(of_noise, (0, 1))(*scores)).any() == (size == 3.0)


def test_without_label_noise_a_wrong_logit_of_any_size_has_its_gradient():
    wrong = jnp.full(4, 200.0)
    smooth = losses.TargetsFields(smoothing=0.1, flip=0.1)
    for targets in (losses.TargetsFields(), smooth):
        loss = jax.grad(lambda fake, t=targets: d_loss(wrong, fake, targets=t)[0])
        assert np.all(loss(wrong) > 0.2)


def test_flips_exchange_the_targets_of_their_share_of_the_samples():
    logits = jnp.full((20_000,), 4.0)
    loss, _ = d_loss(logits, -logits, targets=losses.TargetsFields(flip=0.25))
    np.testing.assert_allclose(loss, 2 * (np.logaddexp(0, 4.0) - 0.75 * 4.0), rtol=2e-2)


def test_smoothing_moves_the_target_of_reals_alone():
    real, fake = jnp.full((4,), 2.0), jnp.full((4,), -1.0)
    loss, _ = d_loss(real, fake, targets=losses.TargetsFields(smoothing=0.1))
    expected = np.logaddexp(0, 2.0) - 0.9 * 2.0 + np.logaddexp(0, -1.0)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
