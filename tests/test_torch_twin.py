"""One whole training step against an independent implementation, in PyTorch."""

import runpy
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

import ganjax.config
from ganjax.step import init_state, make_train_step

torch = pytest.importorskip("torch")
from experiments.benchmarks.torch_wgan_gp import (  # noqa: E402
    TorchWganGp,
    load_from_jax,
    noise_of,
)

pytestmark = pytest.mark.torch

CONFIG = Path(__file__).parents[1] / "configs" / "wgan_gp.py"
BATCH = 4
BN_MOMENTUM = 0.1
CLOSE = {"rtol": 1e-4, "atol": 1e-6}


@pytest.fixture(scope="module")
def loaded():
    raw = runpy.run_path(str(CONFIG))["get_config"]()
    # Adam's first update is g / (|g| + eps): with the usual eps the rounding of a gradient
    # near 0 would decide its sign and so a whole step of the learning rate.
    adam = {"learning_rate": 1e-2, "b1": 0.5, "b2": 0.9, "eps": 1e-3}
    raw.update(
        {
            "batch_size": BATCH,
            "image_size": 16,
            "latent_dim": 8,
            "generator": {"widths": (16, 8)},
            "critic": {"widths": (8, 16)},
            "n_critic": 2,
            "g_adam": adam,
            "d_adam": adam,
        }
    )
    return ganjax.config.load(raw)


@pytest.fixture(scope="module")
def ours(loaded):
    """(state before, state after, metrics, images, noise) of one step of ours."""
    algorithm, key = loaded.module.build(loaded.config), jax.random.key(0)
    before = jax.jit(partial(init_state, algorithm))(key)
    images = np.random.RandomState(0).randint(0, 256, (2, BATCH, 16, 16, 1), np.uint8)
    step = jax.jit(make_train_step(algorithm, unroll=True), static_argnames="phase")
    after, metrics = step(before, {"image": images}, key, phase=algorithm.phases[0])
    return before, after, metrics, images, noise_of(algorithm, key, 0, BATCH)


@pytest.fixture(scope="module", params=[False, True], ids=["contiguous", "channels_last"])
def models(request, loaded, ours):
    """(PyTorch's after its step, PyTorch's with our weights after ours, its metrics)."""
    before, after, _, images, noise = ours
    model = TorchWganGp(loaded.config, channels_last=request.param)
    load_from_jax(model, before)
    metrics = model.step(images, noise)
    expected = TorchWganGp(loaded.config)
    load_from_jax(expected, after)
    return model, expected, metrics


def biased(values, weight, n):
    """Takes Bessel's correction out of an average of variances that began at 1.

    PyTorch's running variance averages the unbiased variance, n / (n - 1) times the biased
    one that Flax averages (both normalise by the biased). `weight` is the share of this
    step's variance in the average, the rest is still the initial 1.
    """
    return (1 - weight) + (values - (1 - weight)) * (n - 1) / n


def assert_same(network, expected, variance_weight):
    network, expected = network.state_dict(), expected.state_dict()
    variances = [name for name in network if name.endswith("running_var")]
    for name, value in network.items():
        if name.endswith("num_batches_tracked"):
            continue
        if name in variances:
            side = 4 * 2 ** variances.index(name)
            value = biased(value, variance_weight, BATCH * side * side)
        np.testing.assert_allclose(value.numpy(), expected[name].numpy(), err_msg=name, **CLOSE)


def test_metrics(ours, models):
    expected, got = ours[2], models[2]
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, err_msg=name, **CLOSE)


def test_critic(models):
    model, expected, _ = models
    assert_same(model.critic, expected.critic, None)


def test_generator(models):
    model, expected, _ = models
    assert_same(model.generator, expected.generator, BN_MOMENTUM)


def test_average(models, loaded):
    model, expected, _ = models
    assert_same(model.ema, expected.ema, BN_MOMENTUM * (1 - loaded.config.ema_decay))


def test_everything_moved(loaded, ours, models):
    start = TorchWganGp(loaded.config)
    load_from_jax(start, ours[0])
    still = {
        (player, name)
        for player in ("generator", "critic", "ema")
        for name, value in getattr(start, player).state_dict().items()
        if torch.equal(value, getattr(models[0], player).state_dict()[name])
        and not name.endswith("num_batches_tracked")
    }
    # The critic's last bias cancels in mean D(fake) - mean D(real).
    assert still == {("critic", "4.bias")}
