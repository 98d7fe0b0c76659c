"""Optimisers against PyTorch's, schedules and averages against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganjax.algorithms import optimisers
from ganjax.algorithms.optimisers import AdamFields, EmaFields, RmspropFields, SgdFields
from ganjax.config import ConfigError
from ganjax.engine.schedules import Reals

ADAM = AdamFields(name="adam", learning_rate=1e-2, b1=0.5, b2=0.9, eps=1e-8, decay="none")
RMSPROP = RmspropFields(name="rmsprop", learning_rate=1e-2, b2=0.99, eps=1e-8, decay="none")
SGD = SgdFields(
    name="sgd",
    learning_rate=0.1,
    decay_factor=1.5,
    min_learning_rate=0.02,
    momentum=0.5,
    final_momentum=0.7,
    momentum_updates=4,
)


def walk(tx, start, gradients):
    """Returns the parameters after each update."""
    params, state, path = jnp.asarray(start), tx.init(jnp.asarray(start)), []
    for gradient in gradients:
        updates, state = tx.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
        path.append(np.asarray(params))
    return path


def gradients(count=6):
    return np.random.RandomState(0).randn(count, 3).astype(np.float32)


@pytest.mark.parametrize("kind", [AdamFields, RmspropFields, SgdFields])
def test_an_optimiser_at_its_defaults_moves_parameters_at_every_update(kind):
    path = walk(kind().build(10, Reals(1)), np.ones(3, np.float32), np.ones((10, 3), np.float32))
    assert (np.diff(path, axis=0) < -1e-5).all()


def test_a_momentum_without_updates_to_change_in_stays():
    config = SgdFields(learning_rate=0.1, momentum=0.9)
    trace = optax.sgd(0.1, 0.9)
    start = np.ones(3, np.float32)
    np.testing.assert_allclose(
        walk(config.build(6, Reals(1)), start, gradients()),
        walk(trace, start, gradients()),
        rtol=1e-6,
    )


@pytest.mark.torch
@pytest.mark.parametrize("config", [ADAM, RMSPROP], ids=["adam", "rmsprop"])
def test_updates_are_those_of_torch(config):
    torch = pytest.importorskip("torch")
    start = np.ones(3, np.float32)
    theirs = torch.nn.Parameter(torch.from_numpy(start.copy()))
    tx = {
        "adam": lambda: torch.optim.Adam([theirs], 1e-2, (0.5, 0.9), 1e-8),
        "rmsprop": lambda: torch.optim.RMSprop([theirs], 1e-2, 0.99, 1e-8),
    }[config.name]()
    path = walk(config.build(100, Reals(1)), start, gradients())
    for gradient, ours in zip(gradients(), path, strict=True):
        theirs.grad = torch.from_numpy(gradient.copy())
        tx.step()
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-5)


def test_sgd_follows_the_schedules_of_rate_and_momentum():
    """velocity <- momentum velocity + gradient, with both at the update's number."""
    expected, velocity = np.zeros(3), np.zeros(3)
    path = walk(SGD.build(100, Reals(1)), np.zeros(3, np.float32), gradients())
    for i, (gradient, ours) in enumerate(zip(gradients(), path, strict=True)):
        velocity = min(0.5 + 0.2 * i / 4, 0.7) * velocity + gradient
        expected = expected - max(0.1 / 1.5**i, 0.02) * velocity
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("config", [ADAM, RMSPROP], ids=["adam", "rmsprop"])
def test_linear_decay_ends_at_zero(config):
    """With constant gradients Adam's steps are its rate."""
    config = config.model_copy(update={"decay": "linear"})
    path = walk(config.build(4, Reals(1)), np.zeros(1, np.float32), np.ones((6, 1)))
    steps = -np.diff([0.0, *(p.item() for p in path)])
    if config.name == "adam":
        np.testing.assert_allclose(steps[:4], 1e-2 * np.array([1, 0.75, 0.5, 0.25]), rtol=1e-4)
    assert steps[3] > 0
    assert not steps[4:].any()


def test_clipping_bounds_every_parameter():
    tx = optax.chain(optax.sgd(1.0), optimisers.clip_weights(0.01))
    start = np.array([0.5, 0.0, -0.002], np.float32)
    (after,) = walk(tx, start, [np.array([0.0, 5.0, -0.001], np.float32)])
    np.testing.assert_allclose(after, [0.01, -0.01, -0.001], rtol=1e-5)


@pytest.mark.parametrize("fields", [{"decay": 0.99}, {"half_life": 1_000}])
def test_the_average_leaves_its_start_by_the_tenth_step(fields):
    """Its decay after t steps is at most (1 + t) / (10 + t); without a warm-up it is constant."""
    decay = jax.jit(optimisers.ema_decay(EmaFields(**fields), Reals(8)))
    constant = optimisers.ema_decay(EmaFields(**fields, warm_up=False), Reals(8))(jnp.zeros(()))
    for step in (0, 1, 10, 100, 5_000):
        expected = min(float(constant), (1 + step) / (10 + step))
        np.testing.assert_allclose(decay(step), expected, rtol=1e-6)
    assert np.prod([decay(step) for step in range(10)]) < 2e-5
    assert optimisers.ema_decay(EmaFields(), Reals(8))(jnp.zeros(())) == 0


def test_after_a_half_life_of_reals_half_of_the_weight_is_gone():
    """Whatever the batch size is."""
    config = EmaFields(half_life=1_000, warm_up=False)
    for reals in (50, 250):
        decay = optimisers.ema_decay(config, Reals(reals))(jnp.zeros((), jnp.int32))
        np.testing.assert_allclose(decay ** (1_000 / reals), 0.5, rtol=1e-5)


def test_averages_that_contradict_themselves_are_refused():
    with pytest.raises(ConfigError, match=r"config.ema.half_life=10.0: .* set one"):
        optimisers.ema_decay(EmaFields(decay=0.9, half_life=10), Reals(8))
