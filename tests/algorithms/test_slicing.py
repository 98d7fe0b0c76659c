"""The slicing adversarial network against its equations, on every discriminator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from initial import initial
from small import shipped, shrink
from tiny_dcgan import ADA, R_T, build, tiny_dcgan, train_steps

from ganjax.algorithms import slicing
from ganjax.config import ConfigError
from ganjax.engine.algorithm import Context
from ganjax.keys import fold

pytestmark = pytest.mark.usefixtures("native_convolutions")

KEY = jax.random.key(0)


def config_with(**fields):
    config = tiny_dcgan()
    config.discriminator.batch_norm = "none"
    config.discriminator.init_stddev = 0.5  # Some scores are beyond the margins of the hinge loss.
    config.update_from_flattened_dict(fields)
    return config


def gradients(algorithm):
    """The gradients of D's loss, with its penalty, and of G's loss, by name."""
    (g_params, g_vars), (d_params, d_vars) = initial(algorithm.init, KEY)
    random = np.random.RandomState(0)
    batch = {
        "image": jnp.asarray(random.uniform(-1, 1, (4, 8, 8, 1)), jnp.float32),
        "label": jnp.zeros(4, jnp.int32),
    }
    context = Context(
        batch,
        KEY,
        phase=algorithm.phases[0],
        step=jnp.zeros((), jnp.int32),
        aug=algorithm.aug_init(),
    )
    z = algorithm.latent(fold(KEY, "z"), 4)

    def d_objective(params):
        fake, _ = algorithm.generate(g_params, g_vars, z, context)
        fake = jax.lax.stop_gradient(fake)
        scores, _ = algorithm.discriminate(params, d_vars, fake, context)
        return (
            algorithm.d_loss(scores, context)[0]
            + algorithm.penalty(params, d_vars, fake, context)[0]
        )

    def g_objective(params):
        fake, _ = algorithm.generate(params, g_vars, z, context)
        scores, _ = algorithm.discriminate(d_params, d_vars, fake, context)
        return algorithm.g_loss(scores, context)[0]

    d, g = jax.grad(d_objective)(d_params), jax.grad(g_objective)(g_params)
    return flatten_dict(d, sep="/"), flatten_dict(g, sep="/"), flatten_dict(d_params, sep="/")


@pytest.mark.parametrize(
    "loss",
    [
        "hinge",
        pytest.param("relativistic_paired", marks=pytest.mark.slow),
        "non_saturating",
        "wasserstein",
    ],
)
def test_the_direction_has_the_gradient_of_wasserstein_and_all_else_that_of_the_loss(loss):
    penalty = {"penalty.r1": 2.0, "penalty.r2": 1.0}
    d, g, params = gradients(build(config_with(loss=loss, san=True, **penalty)))
    plain_d, plain_g, _ = gradients(build(config_with(loss=loss, **penalty)))
    along, _, _ = gradients(build(config_with(loss="wasserstein")))
    last = "Conv_1/kernel"
    for name in plain_g:
        np.testing.assert_allclose(g[name], plain_g[name], rtol=1e-4, atol=1e-7, err_msg=name)
    for name in set(plain_d) - {last}:
        np.testing.assert_allclose(d[name], plain_d[name], rtol=1e-4, atol=1e-6, err_msg=name)
    # Of the last kernel, the part along the kernel is of the loss, and the part across it is not.
    unit = np.ravel(params[last]) / np.linalg.norm(params[last])
    of_loss, of_direction = np.ravel(plain_d[last]), np.ravel(along[last])
    expected = unit * (unit @ of_loss) + of_direction - unit * (unit @ of_direction)
    np.testing.assert_allclose(np.ravel(d[last]), expected, rtol=1e-4, atol=1e-6)
    assert np.max(np.abs(expected - of_loss)) > 1e-3 or loss == "wasserstein"


def test_kernels_keep_their_values():
    kernel = jnp.asarray(np.random.RandomState(0).normal(size=(3, 2, 5, 1)), jnp.float32)
    for part in (slicing.for_features, slicing.for_direction):
        np.testing.assert_allclose(part(kernel), kernel, rtol=1e-6)


@pytest.mark.parametrize("name", ["wgan_gp", "sngan", "progan", "r3gan", "cgan", "ada"])
def test_every_kind_of_discriminator_has_a_direction(name):
    config = shrink(shipped(name))
    config.san = True
    algorithm = build(config)
    assert "d_direction_loss" in algorithm.meanings


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(
            {"augment": {**ADA, "families": ("blit",), "controller": R_T}},
            marks=pytest.mark.slow,
        ),
        {"order": "simultaneous", "precision": "float16"},
    ],
    ids=["augmented", "simultaneous"],
)
def test_a_step_reports_the_direction_s_loss(fields):
    def metrics(**changed):
        config = config_with(**changed)
        config.update(fields)
        [(_, metrics)] = train_steps(build(config), 1)
        return metrics

    sliced = metrics(loss="hinge", san=True)
    plain = metrics(loss="hinge")
    assert sliced.keys() - plain.keys() == {"d_direction_loss"}
    np.testing.assert_allclose(
        sliced["d_loss"], plain["d_loss"] + sliced["d_direction_loss"], rtol=1e-2
    )


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("sngan:projection", {}, "config.san=True: with config.conditioning.discriminator="),
        ("dcgan", {"discriminator.widths": (4, 1)}, "config.san=True: 2 layers of the"),
    ],
)
def test_a_discriminator_without_a_direction_is_refused(name, fields, message):
    config = shipped(*name.split(":"))
    config.san = True
    config.update_from_flattened_dict(fields)
    with pytest.raises(ConfigError, match=message):
        build(config)
