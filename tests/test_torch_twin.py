"""One whole training step of each algorithm against an independent one, in PyTorch."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from conftest import shipped

import ganjax.config
from ganjax.step import init_state, make_train_step

torch = pytest.importorskip("torch")
from experiments.benchmarks.torch_dcgan import TorchDcgan  # noqa: E402
from experiments.benchmarks.torch_wgan_gp import TorchWganGp  # noqa: E402

pytestmark = pytest.mark.torch

BATCH, SIZE, CHANNELS = 4, 16, 3
BN_MOMENTUM = 0.1
CLOSE = {"rtol": 1e-4, "atol": 1e-6}


class Case(NamedTuple):
    """An algorithm beside its peer.

    Attributes:
      peer: PyTorch's class.
      fields: of the config, instead of what is shipped.
      still: (player, name) of the parameters whose gradient is 0.
    """

    peer: type
    fields: dict[str, Any]
    still: set[tuple[str, str]]


CASES = {
    "wgan_gp": Case(
        TorchWganGp,
        {"critic": {"widths": (8, 16)}, "n_critic": 2},
        # The critic's last bias cancels in mean D(fake) - mean D(real).
        {("discriminator", "4.bias")},
    ),
    "dcgan": Case(TorchDcgan, {"discriminator": {"widths": (8, 16)}}, set()),
}


class Ours(NamedTuple):
    """One step of ours and what PyTorch needs to follow it."""

    case: Case
    config: ganjax.config.RunConfig
    before: Any
    after: Any
    metrics: dict[str, Any]
    images: np.ndarray
    noise: list

    def twin(self, state, **options):
        model = self.case.peer(self.config, **options)
        model.load(state)
        return model


@pytest.fixture(scope="module", params=CASES)
def ours(request):
    raw, case = shipped(request.param), CASES[request.param]
    # Adam's first update is g / (|g| + eps): with the usual eps the rounding of a gradient
    # near 0 would decide its sign and so a whole step of the learning rate.
    adam = {"learning_rate": 1e-2, "b1": 0.5, "b2": 0.9, "eps": 1e-3}
    raw.update(
        {
            "batch_size": BATCH,
            "image_size": SIZE,
            "data": {"channels": CHANNELS},
            "latent_dim": 8,
            "generator": {"widths": (16, 8)},
            "g_adam": adam,
            "d_adam": adam,
        }
        | case.fields
    )
    config, module = ganjax.config.load(raw)
    algorithm, key = module.build(config), jax.random.key(0)
    before = jax.jit(partial(init_state, algorithm))(key)
    shape = (algorithm.reals_per_step, BATCH, SIZE, SIZE, CHANNELS)
    images = np.random.RandomState(0).randint(0, 256, shape, np.uint8)
    step = jax.jit(make_train_step(algorithm, unroll=True), static_argnames="phase")
    after, metrics = step(before, {"image": images}, key, phase=algorithm.phases[0])
    noise = case.peer.noise_of(algorithm, key, 0, BATCH)
    return Ours(case, config, before, after, metrics, images, noise)


@pytest.fixture(scope="module", params=[False, True], ids=["contiguous", "channels_last"])
def models(request, ours):
    """(PyTorch's after its step, PyTorch's with our weights after ours, its metrics)."""
    model = ours.twin(ours.before, channels_last=request.param)
    metrics = model.step(ours.images, ours.noise)
    return model, ours.twin(ours.after), metrics


def biased(values, weight, n):
    """Takes Bessel's correction out of an average of variances that began at 1.

    PyTorch's running variance averages the unbiased variance, n / (n - 1) times the biased
    one that Flax averages (both normalise by the biased). `weight` is the share of this
    step's variances in the average, the rest is still the initial 1.
    """
    return (1 - weight) + (values - (1 - weight)) * (n - 1) / n


def assert_same(network, expected, sides, variance_weight):
    """Of two networks alike all is; `sides` are those of the images that each BatchNorm sees."""
    network, expected = network.state_dict(), expected.state_dict()
    variances = [name for name in network if name.endswith("running_var")]
    side = dict(zip(variances, sides, strict=True))
    for name, value in network.items():
        if name.endswith("num_batches_tracked"):
            continue
        if name in side:
            value = biased(value, variance_weight, BATCH * side[name] ** 2)
        np.testing.assert_allclose(value.numpy(), expected[name].numpy(), err_msg=name, **CLOSE)


def test_metrics(ours, models):
    got = models[2]
    assert got.keys() == ours.metrics.keys()
    for name, value in ours.metrics.items():
        np.testing.assert_allclose(got[name], value, err_msg=name, **CLOSE)


def test_discriminator(ours, models):
    model, expected, _ = models
    sides = {TorchWganGp: [], TorchDcgan: [SIZE // 4]}[ours.case.peer]
    # Two batches moved the averages: the reals, then the fakes.
    assert_same(model.discriminator, expected.discriminator, sides, 1 - (1 - BN_MOMENTUM) ** 2)


def test_generator(models):
    model, expected, _ = models
    assert_same(model.generator, expected.generator, [4, 8], BN_MOMENTUM)


def test_average(ours, models):
    model, expected, _ = models
    assert_same(model.ema, expected.ema, [4, 8], BN_MOMENTUM * (1 - ours.config.ema_decay))


def test_everything_moved(ours, models):
    start = ours.twin(ours.before)
    still = {
        (player, name)
        for player in ("generator", "discriminator", "ema")
        for name, value in getattr(start, player).state_dict().items()
        if torch.equal(value, getattr(models[0], player).state_dict()[name])
        and not name.endswith("num_batches_tracked")
    }
    assert still == ours.case.still
