"""Tests of a whole train step of each system against an independent one in PyTorch.

They compute in float64, since BatchNorm over few small values and Adam's first update magnify
rounding. Penalties are computed in float32 even then, hence the tolerance.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import shipped

from ganjax.config import take_kinds
from ganjax.engine.step import init_state, make_train_step
from ganjax.errors import UserError
from ganjax.runtime import compiling
from ganjax.training import schema

torch = pytest.importorskip("torch")
from experiments.benchmarks.torch_cgan import TorchCgan  # noqa: E402
from experiments.benchmarks.torch_dcgan import TorchDcgan  # noqa: E402
from experiments.benchmarks.torch_noise import noise_of  # noqa: E402
from experiments.benchmarks.torch_peer import require  # noqa: E402
from experiments.benchmarks.torch_progan import TorchProgan  # noqa: E402
from experiments.benchmarks.torch_r3gan import TorchR3gan  # noqa: E402
from experiments.benchmarks.torch_wgan_gp import TorchWganGp  # noqa: E402

pytestmark = pytest.mark.torch

BATCH, SIZE, CHANNELS = 4, 16, 3
CLOSE = {"rtol": 1e-4, "atol": 1e-6}


class Case(NamedTuple):
    """A shipped config and its peer.

    Attributes:
      peer: PyTorch's class.
      g_norms: pixels of an image that each BatchNorm of G averages over.
      d_norms: the same of D.
      fields: of the config, instead of what is shipped.
      still: (player, name) of the parameters whose gradient is 0.
      constants: numbers in place of schedules, by the fields' dotted names.
    """

    peer: type
    g_norms: tuple[int, ...]
    d_norms: tuple[int, ...]
    fields: dict[str, Any]
    still: set[tuple[str, str]]
    constants: dict[str, Any] = {}  # noqa: RUF012


# The critic's last bias cancels in mean D(fake) - mean D(real).
LAST_BIAS = {("discriminator", "layers.4.bias")}
# ProGAN trains at its last resolution from the start.
FULL_SIZE = {
    "growth": {"batch_sizes": (), "learning_rates": ()},
    "ema": {"decay": 0.9},
}
# PyTorch's learning rates are constant.
CONSTANT = {f"{player}_optimiser": {"decay": "none"} for player in "gd"}
RATES = {f"{player}_optimiser.learning_rate": 1e-2 for player in "gd"}
R3GAN = {
    "penalty.r1": 2.0,
    "penalty.r2": 1.0,
    **{f"{player}_optimiser.b2": 0.9 for player in "gd"},
    **RATES,
}
# The last layer of each block begins at 0, which holds back the others.
BLOCKS = {
    (player, f"layers.{layer}_{size}.{part}")
    for player in ("generator", "discriminator", "ema")
    for layer in ("expand0", "grouped0")
    for size in (4, 8, 16)
    for part in ("weight", "bias")
}
WIDTHS = {
    player: {"widths": (8, 8, 4), "group_width": 4} for player in ("generator", "discriminator")
}
SMALL = {player: {"widths": (8, 6, 4)} for player in ("generator", "discriminator")}
CASES = {
    "wgan_gp": Case(TorchWganGp, (4**2, 8**2), (), {"n_critic": 2}, LAST_BIAS, RATES),
    "cwgan_gp": Case(TorchWganGp, (4**2, 8**2), (), {"n_critic": 2, **CONSTANT}, LAST_BIAS),
    "dcgan": Case(TorchDcgan, (4**2, 8**2), (4**2,), {}, set()),
    # PyTorch cannot be handed JAX's dropout masks.
    "progan": Case(TorchProgan, (), (), {**FULL_SIZE, **SMALL}, set()),
    # Its first norm is of units: one pixel of an image each.
    "ada": Case(
        TorchDcgan, (1, 8**2), (8**2, 4**2), {"discriminator": {"final_dropout": 0.0}}, set()
    ),
    "r3gan": Case(TorchR3gan, (), (), {"ema": {"decay": 0.9}, **WIDTHS}, BLOCKS, R3GAN),
    "cgan": Case(TorchCgan, (1,), (), {"discriminator": {"dropout": 0.0}}, set()),
}


class Ours(NamedTuple):
    """One step of ours and what PyTorch needs to follow it."""

    case: Case
    config: schema.RunConfig
    before: Any
    after: Any
    metrics: dict[str, Any]
    batch: dict[str, np.ndarray]
    noise: list

    def twin(self, state, **options):
        model = self.case.peer(self.config, dtype=torch.float64, **options)
        model.load(state)
        return model


@pytest.fixture(scope="module", params=CASES)
def ours(request):
    case = CASES[request.param]
    config, module = schema.load(small(request.param))
    with jax.enable_x64(True):
        algorithm, key = module.build(config), jax.random.key(0)
        before = jax.tree.map(as_float64, jax.jit(partial(init_state, algorithm))(key))
        shape = (algorithm.real_batches, BATCH, SIZE, SIZE, CHANNELS)
        random = np.random.RandomState(0)
        batch = {
            "image": random.randint(0, 256, shape, np.uint8),
            "label": random.randint(0, config.data.num_classes, shape[:2], np.int32),
        }
        options = compiling.options("cpu")
        step = make_train_step(algorithm)
        step = jax.jit(step, static_argnames="phase", compiler_options=options)
        after, metrics = step(before, batch, key, phase=algorithm.phases[0])
        noise = noise_of(config, algorithm, key, 0, BATCH)
    return Ours(case, config, before, after, metrics, batch, noise)


def as_float64(leaf):
    return leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def small(name):
    """The shipped config, small and with the fields of its case."""
    raw = shipped(name)
    raw.augment = {"policy": "none"}
    take_kinds(raw, {"ema.half_life": 0} | CASES[name].constants)
    # Adam's first update is g / (|g| + eps): with the usual eps the rounding of a gradient
    # near 0 would decide its sign and so a whole step of the learning rate.
    adam = {"learning_rate": 1e-2, "eps": 1e-3}
    raw.update(
        {
            "batch_size": BATCH,
            "image_size": SIZE,
            "data": {"channels": CHANNELS},
            "latent_dim": 8,
            "generator": {"widths": (16, 8)},
            "discriminator": {"widths": (8, 16)},
            "g_optimiser": adam,
            "d_optimiser": adam,
        }
    )
    raw.update(CASES[name].fields)
    raw.update_from_flattened_dict(CASES[name].constants)
    return raw


@pytest.fixture(scope="module", params=[False, True], ids=["contiguous", "channels_last"])
def models(request, ours):
    """(PyTorch's after its step, PyTorch's with our weights after ours, its metrics)."""
    model = ours.twin(ours.before, channels_last=request.param)
    metrics = model.step(ours.batch, ours.noise)
    return model, ours.twin(ours.after), metrics


def biased(values, n):
    """Takes Bessel's correction out of an average of variances that began at 0.

    PyTorch's running variance averages the unbiased variance, n / (n - 1) times the biased
    one that Flax averages (both normalise by the biased).
    """
    return values * (n - 1) / n


def assert_same(network, expected, pixels):
    """Of two networks alike all is; `pixels` of an image are what each BatchNorm averages over."""
    network, expected = network.state_dict(), expected.state_dict()
    variances = [name for name in network if name.endswith("running_var")]
    pixels = dict(zip(variances, pixels, strict=True))
    for name, value in network.items():
        if name.endswith("num_batches_tracked"):
            continue
        if name in pixels:
            value = biased(value, BATCH * pixels[name])
        np.testing.assert_allclose(value.numpy(), expected[name].numpy(), err_msg=name, **CLOSE)


def test_metrics_equal_pytorchs(ours, models):
    got = models[2]
    assert got.keys() == ours.metrics.keys()
    for name, value in ours.metrics.items():
        np.testing.assert_allclose(got[name], value, err_msg=name, **CLOSE)


def test_the_discriminator_equals_pytorchs(ours, models):
    model, expected, _ = models
    assert_same(model.discriminator, expected.discriminator, ours.case.d_norms)


def test_the_generator_equals_pytorchs(ours, models):
    model, expected, _ = models
    assert_same(model.generator, expected.generator, ours.case.g_norms)


def test_the_average_of_the_generator_equals_pytorchs(ours, models):
    model, expected, _ = models
    assert_same(model.ema, expected.ema, ours.case.g_norms)


def test_a_step_moves_everything(ours, models):
    start = ours.twin(ours.before)
    still = {
        (player, name)
        for player in ("generator", "discriminator", "ema")
        for name, value in getattr(start, player).state_dict().items()
        if torch.equal(value, getattr(models[0], player).state_dict()[name])
        and not name.endswith("num_batches_tracked")
    }
    assert still == ours.case.still


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("wgan_gp", {"penalty.side": "one"}),
        ("wgan_gp", {"penalty.r1": 1.0}),
        ("cwgan_gp", {"conditioning.discriminator": "projection"}),
        ("dcgan", {"loss": "hinge"}),
        ("dcgan", {"targets.noise": 0.1}),
        ("dcgan", {"discriminator.spectral_norm": True}),
        ("cgan", {"d_optimiser.decay": "linear"}),
        ("cgan", {"d_batches": "joint"}),
        ("cgan", {"ema.decay": 0.0, "ema.half_life": 1_000}),
    ],
)
def test_peers_refuse_what_they_lack(name, fields):
    raw = small(name)
    raw.update_from_flattened_dict(fields)
    with pytest.raises(UserError, match=f"config.{list(fields)[-1]}=.* PyTorch's peer has only"):
        CASES[name].peer(schema.load(raw).config)


def test_peers_refuse_fields_that_they_do_not_know():
    config = schema.load(small("dcgan")).config
    known = {name: value for name, value in TorchDcgan.IMPLEMENTS.items() if name != "order"}
    with pytest.raises(UserError, match=r"config\.order='alternating': .* does not know"):
        require(config, known)
