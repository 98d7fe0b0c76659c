"""The composed GAN: passes of D, conditioning, penalties, clipping and averages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from initial import initial
from tiny_dcgan import build, tiny_dcgan, train_steps

from ganjax.algorithms import gan
from ganjax.algorithms.networks import build_networks
from ganjax.config import take_kinds
from ganjax.engine.algorithm import Context
from ganjax.models import spectral
from ganjax.training import schema

pytestmark = pytest.mark.usefixtures("native_convolutions")


@pytest.fixture
def config():
    return tiny_dcgan()


def images(seed):
    return jnp.asarray(np.random.RandomState(seed).randn(8, 8, 8, 1), jnp.float32)


def batch_of(image, label=0):
    """Returns a batch of images, all of one label or of labels (N,)."""
    return {"image": image, "label": jnp.broadcast_to(jnp.asarray(label, jnp.int32), len(image))}


def context_of(algorithm, batch):
    step = jnp.zeros((), jnp.int32)
    return Context(batch, jax.random.key(0), step, algorithm.phases[0], ())


def real_scores(config, fake):
    """Returns D's scores of fixed reals that it sees with the given fakes, and its variables."""
    algorithm = build(config)
    _, (params, vars) = initial(algorithm.init, jax.random.key(0))
    context = context_of(algorithm, batch_of(images(0)))

    @jax.jit
    def discriminate(params, vars, fake):
        return algorithm.discriminate(params, vars, batch_of(fake), context)

    (real, _), vars = discriminate(params, vars, fake)
    return real, vars


def average_of(vars):
    return vars["batch_stats"]["BatchNorm_0"]["mean"]


def test_separate_passes_keep_fakes_out_of_the_statistics_of_reals(config):
    config.d_batches = "separate"
    scores, vars = real_scores(config, images(1))
    np.testing.assert_array_equal(scores, real_scores(config, 5 * images(2))[0])
    assert not np.array_equal(average_of(vars), np.zeros(4))


def test_a_joint_pass_shares_its_statistics(config):
    config.d_batches = "joint"
    scores, vars = real_scores(config, images(1))
    assert np.abs(scores - real_scores(config, 5 * images(2))[0]).max() > 0.01
    assert not np.array_equal(average_of(vars), np.zeros(4))


def test_without_batch_norm_joint_and_separate_passes_score_alike(config):
    config.discriminator.batch_norm = "none"
    config.d_batches = "separate"
    scores, _ = real_scores(config, images(1))
    config.d_batches = "joint"
    np.testing.assert_allclose(scores, real_scores(config, images(1))[0], rtol=1e-5, atol=1e-6)


def test_spectral_norm_iterates_once_an_update(config):
    """However many passes D makes, one network scores reals and fakes."""
    config.discriminator.spectral_norm = True
    config.discriminator.batch_norm = "none"
    algorithm = build(config)
    _, (params, vars) = initial(algorithm.init, jax.random.key(0))
    batch = batch_of(images(0))
    (real, fake), new_vars = algorithm.discriminate(
        params, vars, batch, context_of(algorithm, batch)
    )
    np.testing.assert_array_equal(real, fake)
    _, expected = spectral.normalise(params, vars["spectral"])
    jax.tree.map(np.testing.assert_array_equal, new_vars["spectral"], expected)


def test_spectral_norm_takes_the_scale_of_batch_norm(config):
    config.discriminator.spectral_norm = config.generator.spectral_norm = True
    for params, vars in initial(build(config).init, jax.random.key(0)):
        assert "scale" not in params["BatchNorm_0"]
        assert set(vars) == {"batch_stats", "spectral"}


@pytest.mark.parametrize(("where", "norms"), [("all", 2), ("all_but_first", 1), ("none", 0)])
def test_batch_norm_stands_where_the_config_says(config, where, norms):
    config.discriminator.batch_norm = where
    config.image_size = 16
    config.generator.widths = config.discriminator.widths = (4, 4)
    _, (params, vars) = jax.eval_shape(build(config).init, jax.random.key(0))
    assert sum(name.startswith("BatchNorm") for name in params) == norms
    assert ("bias" in params["Conv_0"]) == (where != "all")
    assert bool(vars) == bool(norms)


def build_conditional(config, **conditioning):
    config.data.label, config.data.num_classes = "label", 10
    config.conditioning.update(conditioning)
    return build(config)


@pytest.mark.parametrize(("source", "classes"), [("reals", 1), ("uniform", 10)])
def test_fakes_carry_labels_of_the_reals_or_of_all_classes(config, source, classes):
    kinds = {"generator": "one_hot", "discriminator": "one_hot"}
    algorithm = build_conditional(config, **kinds, fake_labels=source)
    (params, vars), _ = initial(algorithm.init, jax.random.key(0))
    context = context_of(algorithm, {"label": jnp.full(400, 7, jnp.int32)})
    z = jnp.tile(algorithm.latent(jax.random.key(1), 1), (400, 1))
    fake, _ = algorithm.generate(params, vars, z, context)
    assert len(np.unique(fake["label"])) == classes
    assert np.all(fake["label"] == 7) == (source == "reals")
    # The latents are equal, so that images differ by their labels alone.
    assert len(np.unique(fake["image"][:, 0, 0, 0])) == classes


def test_the_penalty_sees_the_label_and_differentiates_by_the_image_alone(config):
    """It is the penalty of the gradient by the image of D at the batch's labels."""
    config.discriminator.batch_norm = "none"
    config.discriminator.slope = 0.5
    config.penalty.weight, config.loss = 10.0, "wasserstein"
    algorithm = build_conditional(config, generator="one_hot", discriminator="one_hot")
    _, (params, vars) = initial(algorithm.init, jax.random.key(0))
    batch = batch_of(images(0), jnp.arange(8) % 10)
    context = context_of(algorithm, batch)
    # With fakes equal to the reals, the points are the reals, whatever the weights.
    value, metrics = algorithm.penalty(params, vars, batch, context)

    def score(x):
        reals = context._replace(batch={**batch, "image": x})
        (real, _), _ = algorithm.discriminate(params, vars, batch, reals)
        return real.sum()

    gradient = jax.grad(score)(batch["image"])
    norms = jnp.sqrt(jnp.sum(jnp.square(gradient), axis=(1, 2, 3)) + 1e-12)
    np.testing.assert_allclose(metrics["c_gp"], jnp.mean((norms - 1) ** 2), rtol=1e-5)
    np.testing.assert_allclose(value, 10 * metrics["c_gp"], rtol=1e-6)


def test_lazy_penalties_act_every_so_many_steps(config):
    """They are as many times as large then, and there is none between."""
    config.discriminator.batch_norm = "none"
    config.penalty.r1, config.penalty.r2, config.penalty.interval = 2e6, 1e6, 3
    lazy = [metrics for _, metrics in train_steps(build(config), 5)]
    for name in ("r1", "r2"):
        assert [metrics[name] > 0 for metrics in lazy] == [True, False, False, True, False]
        assert [np.isnan(metrics[name]) for metrics in lazy] == [False, True, True, False, True]
    config.penalty.interval = 1
    ((_, eager),) = train_steps(build(config), 1)
    for name in ("r1", "r2"):
        np.testing.assert_allclose(lazy[0][name], eager[name], rtol=1e-5)
    penalty = 2e6 * eager["r1"] + 1e6 * eager["r2"]
    np.testing.assert_allclose(lazy[0]["d_loss"] - eager["d_loss"], 2 * penalty, rtol=1e-3)


def test_weight_clipping_bounds_d_alone(config):
    config.weight_clip = 0.01
    *_, (state, _) = train_steps(build(config), 2)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(state.d.params)) <= 0.01 + 1e-7
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(state.g.params)) > 0.02


def test_the_average_copies_the_vectors_of_spectral_norm(config):
    """An average of unit vectors is none; BatchNorm's are averaged."""
    config.generator.spectral_norm, config.ema.decay = True, 0.9
    *_, (state, _) = train_steps(build(config), 2)
    jax.tree.map(
        np.testing.assert_array_equal, state.ema.vars["spectral"], state.g.vars["spectral"]
    )
    assert not np.array_equal(average_of(state.ema.vars), average_of(state.g.vars))


@pytest.mark.parametrize(("network", "count"), [("dcgan", 5), ("progan", 8)])
def test_a_joint_pass_scores_each_image_as_separate_passes_do(network, count):
    """Without BatchNorm; ProGAN's minibatch standard deviations are of groups of four."""
    config = tiny_dcgan()
    config.discriminator.batch_norm = "none"
    if network == "progan":
        take_kinds(config, {"discriminator.network": network})
        config.discriminator.network, config.discriminator.widths = network, (4, 4)
    loaded, _ = schema.load(config)
    networks = build_networks(loaded, loaded.generator, loaded.discriminator)
    params, vars = initial(networks.init, jax.random.key(0))[1]
    random = np.random.RandomState(0)
    real, fake = (
        {
            "image": jnp.asarray(random.uniform(-1, 1, (count, 8, 8, 1)), jnp.float32),
            "label": jnp.zeros(count, jnp.int32),
        }
        for _ in range(2)
    )
    context = Context(real, jax.random.key(1), jnp.zeros((), jnp.int32), None, ())
    for scores, expected in zip(
        gan.discriminate_jointly(networks, params, vars, fake, context)[0],
        gan.discriminate_separately(networks, params, vars, fake, context)[0],
        strict=True,
    ):
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
