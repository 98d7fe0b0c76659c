"""DCGAN: its losses, targets and guidelines."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import shipped, shrink

from ganjax import config as configs
from ganjax import losses
from ganjax.algorithms.base import Context
from ganjax.models import dcgan


@pytest.fixture
def config():
    config = shrink(shipped("dcgan"))
    config.image_size, config.data.fit = 16, "resize"
    config.generator.widths = config.discriminator.widths = (4, 4)
    return config


def build(config):
    loaded, module = configs.load(config)
    return module.build(loaded)


def context(algorithm, key=0, image=None):
    key, step = jax.random.key(key), jnp.zeros((), int)
    return Context({"image": image}, key, step, algorithm.phases[0], ())


def test_binary_cross_entropy_closed_form():
    logits = np.array([-30.0, -1.0, 0.0, 2.0, 30.0])
    for target in (0.0, 1.0, 0.3, 1.1, -0.1):
        expected = np.mean(np.logaddexp(0, logits) - target * logits)
        np.testing.assert_allclose(
            losses.binary_cross_entropy(jnp.asarray(logits), target), expected, rtol=1e-6
        )


def test_d_loss_sums_or_averages_its_halves(config):
    real, fake = jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0])
    whole = np.logaddexp(0, -np.asarray(real)).mean() + np.logaddexp(0, np.asarray(fake)).mean()
    for name, factor in (("sum", 1.0), ("mean", 0.5)):
        config.d_loss = name
        algorithm = build(config)
        loss, metrics = algorithm.d_loss((real, fake), context(algorithm))
        np.testing.assert_allclose(loss, factor * whole, rtol=1e-6)
    assert {k: float(v) for k, v in metrics.items()} == {
        "d_real_acc": 0.5,
        "d_fake_acc": 0.0,
        "d_acc": 0.25,
    }
    loss, metrics = algorithm.g_loss((real, fake), context(algorithm))
    np.testing.assert_allclose(loss, np.logaddexp(0, -np.asarray(fake)).mean(), rtol=1e-6)
    assert metrics["g_acc"] == 1.0


def test_label_noise_moves_targets_outwards(config):
    """At target t the loss is softplus(x) - t x: linear in t, so it shows the mean target."""
    config.labels.noise = 0.1
    algorithm = build(config)
    logits = jnp.full((20_000,), 2.0)
    loss, _ = algorithm.d_loss((logits, logits), context(algorithm))
    # Mean targets 1.05 and -0.05.
    expected = 2 * np.logaddexp(0, 2.0) - (1.05 - 0.05) * 2.0
    np.testing.assert_allclose(loss, expected, rtol=1e-3)
    real_only, _ = algorithm.d_loss((logits, 0 * logits), context(algorithm))
    np.testing.assert_allclose(real_only, np.logaddexp(0, 2.0) - 1.05 * 2.0 + np.log(2), rtol=1e-3)


def test_label_flips(config):
    config.labels.flip = 0.25
    algorithm = build(config)
    logits = jnp.full((20_000,), 4.0)
    loss, _ = algorithm.d_loss((logits, -logits), context(algorithm))
    expected = 2 * (np.logaddexp(0, 4.0) - 0.75 * 4.0)
    np.testing.assert_allclose(loss, expected, rtol=2e-2)


def test_batch_norm_sees_reals_and_fakes_apart(config):
    """Together, fakes unlike the reals would change the outputs for reals; apart they can't."""
    algorithm = build(config)
    (_, _), (params, vars) = algorithm.init(jax.random.key(0))
    random = np.random.RandomState(0)
    image, one, other = (random.randn(8, 16, 16, 1).astype(np.float32) for _ in range(3))
    now = context(algorithm, image=image)
    (real, _), moved = algorithm.judge(params, vars, one, now)
    (again, _), _ = algorithm.judge(params, vars, 5 * other, now)
    np.testing.assert_array_equal(real, again)
    assert not np.array_equal(moved["batch_stats"]["BatchNorm_0"]["mean"], np.zeros(4))


@pytest.mark.parametrize(("where", "norms"), [("all", 2), ("all_but_first", 1), ("none", 0)])
def test_where_batch_norm_stands(config, where, norms):
    config.discriminator.batch_norm = where
    _, (params, vars) = build(config).init(jax.random.key(0))
    assert sum(name.startswith("BatchNorm") for name in params) == norms
    assert ("bias" in params["Conv_0"]) == (where != "all")
    assert bool(vars) == bool(norms)


def test_guidelines_of_the_paper():
    """No pooling, no hidden dense layer, tanh at the generator's output and nowhere else."""
    g = dcgan.Generator((8, 4), 1)
    d = dcgan.Discriminator((4, 8), (False, True), (0.0, 0.0))
    for module, x, tanhs in ((g, jnp.zeros((2, 10)), 1), (d, jnp.zeros((2, 16, 16, 1)), 0)):
        variables = module.init(jax.random.key(0), x, train=False)
        text = str(jax.make_jaxpr(lambda v, x, m=module: m.apply(v, x, train=False))(variables, x))
        assert text.count("= tanh ") == tanhs
        assert "reduce_window" not in text
        kinds = {name.rsplit("_", 1)[0] for name in variables["params"]}
        assert kinds <= {"Conv", "ConvTranspose", "BatchNorm"}


def test_upsampling_by_repetition():
    """The same sizes; its kernels are plain convolutions, its first layer as before."""
    g = dcgan.Generator((8, 4), 1, upsample="nearest")
    z = jax.random.normal(jax.random.key(1), (2, 10))
    variables = g.init(jax.random.key(0), z, train=False)
    assert g.apply(variables, z, train=False).shape == (2, 16, 16, 1)
    shapes = {name: v["kernel"].shape for name, v in variables["params"].items() if "Conv" in name}
    assert shapes == {
        "ConvTranspose_0": (4, 4, 10, 8),
        "Conv_0": (4, 4, 8, 4),
        "Conv_1": (4, 4, 4, 1),
    }
