"""The composed GAN: targets, passes of D, conditioning, and every switch of a config."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import shipped, shrink
from ml_collections import ConfigDict

from ganjax.config import ConfigError
from ganjax.engine.algorithm import Context
from ganjax.engine.step import init_state, make_train_step
from ganjax.models import dcgan, spectral
from ganjax.training import schema


def tiny_dcgan():
    config = shrink(shipped("dcgan"))
    config.image_size, config.data.fit = 8, "resize"
    config.generator.widths = config.discriminator.widths = (4,)
    config.discriminator.batch_norm = "all"
    return config


@pytest.fixture
def config():
    return tiny_dcgan()


def build(config):
    loaded, module = schema.load(config)
    return module.build(loaded)


def context(algorithm, key=0, image=None):
    key, step = jax.random.key(key), jnp.zeros((), int)
    batch = {"image": image, "label": jnp.zeros(8, jnp.int32)}
    return Context(batch, key, step, algorithm.phases[0], ())


def fakes(image):
    return {"image": image, "label": jnp.zeros(len(image), jnp.int32)}


def test_d_loss_sums_or_averages_its_halves(config):
    real, fake = jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0])
    whole = np.logaddexp(0, -np.asarray(real)).mean() + np.logaddexp(0, np.asarray(fake)).mean()
    for name, factor in (("sum", 1.0), ("mean", 0.5)):
        config.d_halves = name
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
    config.targets.noise = 0.1
    algorithm = build(config)
    logits = jnp.full((20_000,), 2.0)
    loss, _ = algorithm.d_loss((logits, logits), context(algorithm))
    # Mean targets 1.05 and -0.05.
    expected = 2 * np.logaddexp(0, 2.0) - (1.05 - 0.05) * 2.0
    np.testing.assert_allclose(loss, expected, rtol=1e-3)
    real_only, _ = algorithm.d_loss((logits, 0 * logits), context(algorithm))
    np.testing.assert_allclose(real_only, np.logaddexp(0, 2.0) - 1.05 * 2.0 + np.log(2), rtol=1e-3)


def test_label_flips(config):
    config.targets.flip = 0.25
    algorithm = build(config)
    logits = jnp.full((20_000,), 4.0)
    loss, _ = algorithm.d_loss((logits, -logits), context(algorithm))
    expected = 2 * (np.logaddexp(0, 4.0) - 0.75 * 4.0)
    np.testing.assert_allclose(loss, expected, rtol=2e-2)


def test_one_sided_smoothing(config):
    """The target of reals alone moves, to 1 - s."""
    config.targets.smoothing = 0.1
    algorithm = build(config)
    real, fake = jnp.full((4,), 2.0), jnp.full((4,), -1.0)
    loss, _ = algorithm.d_loss((real, fake), context(algorithm))
    expected = np.logaddexp(0, 2.0) - 0.9 * 2.0 + np.logaddexp(0, -1.0)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def judged(config):
    """D's outputs for reals beside two kinds of fakes, and its averages after the first."""
    algorithm = build(config)
    (_, _), (params, vars) = algorithm.init(jax.random.key(0))
    random = np.random.RandomState(0)
    image, one, other = (random.randn(8, 8, 8, 1).astype(np.float32) for _ in range(3))
    now = context(algorithm, image=image)
    (real, _), moved = algorithm.discriminate(params, vars, fakes(one), now)
    (again, _), _ = algorithm.discriminate(params, vars, fakes(5 * other), now)
    return real, again, moved


def test_batch_norm_sees_reals_and_fakes_apart(config):
    """Together, fakes unlike the reals would change the outputs for reals; apart they can't."""
    real, again, moved = judged(config)
    np.testing.assert_array_equal(real, again)
    assert not np.array_equal(moved["batch_stats"]["BatchNorm_0"]["mean"], np.zeros(4))


def test_joint_batches_share_their_statistics(config):
    config.d_batches = "joint"
    real, again, moved = judged(config)
    assert np.abs(real - again).max() > 0.01
    assert not np.array_equal(moved["batch_stats"]["BatchNorm_0"]["mean"], np.zeros(4))


def test_joint_and_separate_are_one_without_batch_norm(config):
    config.discriminator.batch_norm = "none"
    one = judged(config)[0]
    config.d_batches = "joint"
    np.testing.assert_allclose(one, judged(config)[0], rtol=1e-5, atol=1e-6)


def test_spectral_norm_iterates_once_an_update(config):
    """However many passes D makes: real and fake are judged by one and the same network."""
    config.discriminator.spectral_norm = True
    config.discriminator.batch_norm = "none"
    algorithm = build(config)
    _, (params, vars) = algorithm.init(jax.random.key(0))
    image = np.random.RandomState(0).randn(8, 8, 8, 1).astype(np.float32)
    (real, fake), moved = algorithm.discriminate(
        params, vars, fakes(image), context(algorithm, image=image)
    )
    np.testing.assert_array_equal(real, fake)
    _, expected = spectral.normalise(params, vars["spectral"])
    jax.tree.map(np.testing.assert_array_equal, moved["spectral"], expected)


def test_spectral_norm_takes_the_scale_of_batch_norm(config):
    config.discriminator.spectral_norm = config.generator.spectral_norm = True
    for params, vars in build(config).init(jax.random.key(0)):
        assert "scale" not in params["BatchNorm_0"]
        assert set(vars) == {"batch_stats", "spectral"}


@pytest.mark.parametrize(("where", "norms"), [("all", 2), ("all_but_first", 1), ("none", 0)])
def test_where_batch_norm_stands(config, where, norms):
    config.discriminator.batch_norm = where
    config.image_size = 16
    config.generator.widths = config.discriminator.widths = (4, 4)
    _, (params, vars) = build(config).init(jax.random.key(0))
    assert sum(name.startswith("BatchNorm") for name in params) == norms
    assert ("bias" in params["Conv_0"]) == (where != "all")
    assert bool(vars) == bool(norms)


def test_guidelines_of_the_paper():
    """No pooling, no hidden dense layer, tanh at the generator's output and nowhere else."""
    g = dcgan.Generator((8, 4), 1)
    d = dcgan.Discriminator((4, 8), (False, True), (0.0, 0.0))
    label = jnp.zeros(2, jnp.int32)
    for module, x, tanhs in ((g, jnp.zeros((2, 10)), 1), (d, jnp.zeros((2, 16, 16, 1)), 0)):
        variables = module.init(jax.random.key(0), x, label, train=False)
        text = str(
            jax.make_jaxpr(lambda v, x, m=module: m.apply(v, x, label, train=False))(variables, x)
        )
        assert text.count("= tanh ") == tanhs
        assert "reduce_window" not in text
        kinds = {name.rsplit("_", 1)[0] for name in variables["params"]}
        assert kinds <= {"Conv", "ConvTranspose", "BatchNorm"}


def test_upsampling_by_repetition():
    """The same sizes; its kernels are plain convolutions, its first layer as before."""
    g = dcgan.Generator((8, 4), 1, upsample="nearest")
    z = jax.random.normal(jax.random.key(1), (2, 10))
    label = jnp.zeros(2, jnp.int32)
    variables = g.init(jax.random.key(0), z, label, train=False)
    assert g.apply(variables, z, label, train=False).shape == (2, 16, 16, 1)
    shapes = {name: v["kernel"].shape for name, v in variables["params"].items() if "Conv" in name}
    assert shapes == {
        "ConvTranspose_0": (4, 4, 8, 10),
        "Conv_0": (4, 4, 8, 4),
        "Conv_1": (4, 4, 4, 1),
    }


def conditional(config, **conditioning):
    config.data.label, config.data.num_classes = "label", 10
    config.conditioning.update(conditioning)
    return build(config)


def test_labels_of_fakes(config):
    """Those of the batch, or uniform over the classes; either way the fake carries them."""
    kinds = {"generator": "one_hot", "discriminator": "one_hot"}
    for source, expected in (("reals", 1), ("uniform", 10)):
        algorithm = conditional(config, **kinds, fake_labels=source)
        (params, vars), _ = algorithm.init(jax.random.key(0))
        now = context(algorithm)._replace(batch={"label": jnp.full(400, 7, jnp.int32)})
        z = jnp.tile(algorithm.latent(jax.random.key(1), 1), (400, 1))
        fake, _ = algorithm.generate(params, vars, z, now)
        labels = np.asarray(fake["label"])
        assert len(np.unique(labels)) == expected
        assert (labels == 7).all() == (source == "reals")
        assert len(np.unique(np.asarray(fake["image"])[:, 0, 0, 0])) == expected


def test_the_penalty_sees_the_label_and_differentiates_by_the_image_alone(config):
    """With D linear in the image but for the label's term, the penalty is that of its kernel."""
    config.discriminator.batch_norm = "none"
    config.discriminator.slope = 0.5
    config.penalty.weight, config.loss = 10.0, "wasserstein"
    algorithm = conditional(config, generator="one_hot", discriminator="one_hot")
    (_, _), (params, vars) = algorithm.init(jax.random.key(0))
    random = np.random.RandomState(0)
    image = random.randn(8, 8, 8, 1).astype(np.float32)
    label = jnp.arange(8) % 10
    now = context(algorithm, image=image)._replace(batch={"image": image, "label": label})
    # Fakes equal to the reals: the points are the reals, whatever the weights.
    value, metrics = algorithm.penalty(params, vars, now.batch, now)

    def score(x):
        real, _ = algorithm.discriminate(
            params, vars, now.batch, now._replace(batch={**now.batch, "image": x})
        )[0]
        return real.sum()

    norms = jnp.sqrt(jnp.sum(jnp.square(jax.grad(score)(image)), axis=(1, 2, 3)) + 1e-12)
    np.testing.assert_allclose(metrics["c_gp"], jnp.mean((norms - 1) ** 2), rtol=1e-5)
    np.testing.assert_allclose(value, 10 * metrics["c_gp"], rtol=1e-6)


def steps(algorithm, count):
    """States and metrics of `count` steps on one batch, from the same start always."""
    key, random = jax.random.key(0), np.random.RandomState(0)
    phase = algorithm.phases[0]
    shape = (algorithm.reals_per_step, phase.batch_size)
    batch = {
        "image": random.randint(0, 256, (*shape, 8, 8, 1)).astype(np.uint8),
        "label": random.randint(0, algorithm.num_classes, shape).astype(np.int32),
    }
    state = init_state(algorithm, key)  # Not compiled: soonest, for one run.
    step = jax.jit(make_train_step(algorithm), static_argnames="phase", donate_argnames="state")
    for _ in range(count):
        state, metrics = step(state, batch, key, phase=phase)
        yield jax.tree.map(np.asarray, state), {name: float(v) for name, v in metrics.items()}


def test_lazy_penalties_act_every_so_many_steps(config):
    """As many times as large then, and not at all between."""
    config.discriminator.batch_norm = "none"
    config.penalty.r1, config.penalty.r2, config.penalty.interval = 2e6, 1e6, 3
    lazy = [metrics for _, metrics in steps(build(config), 5)]
    for name in ("r1", "r2"):
        assert [m[name] > 0 for m in lazy] == [True, False, False, True, False]
        assert [np.isnan(m[name]) for m in lazy] == [False, True, True, False, True]
    config.penalty.interval = 1
    ((_, eager),) = steps(build(config), 1)
    for name in ("r1", "r2"):
        np.testing.assert_allclose(lazy[0][name], eager[name], rtol=1e-5)
    penalty = 2e6 * eager["r1"] + 1e6 * eager["r2"]
    np.testing.assert_allclose(lazy[0]["d_loss"] - eager["d_loss"], 2 * penalty, rtol=1e-3)


FIXED = {"name": "fixed", "p": 0.5}
R_T = {"name": "r_t", "p": 0.0, "target": 0.6, "interval": 4, "reals_to_one": 500, "p_max": 0.8}
ACCURACY = {"name": "accuracy", "p": 0.0, "target": 0.85, "speed": 1e-3, "p_max": 1.0}
KERAS = {
    "policy": "keras",
    "translation": 0.125,
    "rotation": 0.125,
    "zoom": 0.25,
    "measure_leaks": False,
}
ADA = {
    "policy": "ada",
    "families": ("blit", "geometric", "colour", "filter", "corrupt"),
    "multipliers": (),
    "measure_leaks": False,
}
DIFFAUGMENT = {
    "policy": "diffaugment",
    "families": ("colour", "translation", "cutout"),
    "measure_leaks": False,
}

SWITCHES = [
    {"augment": {**KERAS, "controller": FIXED}},
    {"augment": {**KERAS, "controller": ACCURACY}},
    {"augment": {**ADA, "controller": FIXED}},
    {"augment": {**ADA, "controller": R_T}},
    {"augment": {**ADA, "families": ("blit",), "controller": R_T}},
    {"augment": {**ADA, "multipliers": (("hue", 0.0), ("noise", 0.5)), "controller": R_T}},
    {"augment": {**DIFFAUGMENT, "controller": FIXED}},
    {"augment": {**DIFFAUGMENT, "families": ("cutout",), "controller": FIXED}},
    {"batch_norm.scale": False},
    {"batch_norm.momentum": 0.99},
    {"batch_norm.epsilon": 1e-3},
    {"generator.first_norm": "unit"},
    {"generator.output_bias": True},
    {"generator.upsample": "nearest"},
    {"discriminator.batch_norm": "none"},
    {"generator.network": "resnet"},
    {"generator.network": "mlp"},
    {"discriminator.network": "mlp"},
    {"augment.policy": "ada"},
    {"augment.policy": "diffaugment"},
    {"g_optimiser.name": "sgd"},
    {"d_optimiser.name": "rmsprop"},
    {"generator.network": "resnet", "generator.upsample": "nearest"},
    {"discriminator.network": "resnet", "discriminator.final_size": 4},
    {"generator.init_stddev": 0.1},
    {"generator.init_stddev": 0.0, "discriminator.init_stddev": 0.0},
    {"generator.batch_norm": False},
    {"generator.spectral_norm": True},
    {"discriminator.spectral_norm": True},
    {"discriminator.dropout": 0.5},
    {"discriminator.final_dropout": 0.5},
    {"discriminator.slope": 0.1},
    {"loss": "minimax"},
    {"loss": "least_squares"},
    {"loss": "hinge"},
    {"loss": "wasserstein"},
    {"loss": "relativistic"},
    {"g_optimiser.b1": 0.0},
    {"d_optimiser.learning_rate": 1e-3},
    {"d_optimiser.decay": "linear"},
    {"d_batches": "joint"},
    {"ema.decay": 0.5},
    {"ema.decay": 0.0, "ema.half_life": 100, "ema.ramp_up": 0.05},
    {"n_critic": 2},
    {"order": "simultaneous"},
    {"targets.smoothing": 0.1},
    {"targets.noise": 0.1},
    {"targets.flip": 0.2},
    {"penalty.r1": 1.0, "discriminator.batch_norm": "none"},
    {"penalty.r2": 1.0, "discriminator.batch_norm": "none"},
    {"penalty.weight": 10.0, "discriminator.batch_norm": "none"},
    {"penalty.weight": 10.0, "penalty.side": "one", "discriminator.batch_norm": "none"},
    {"penalty.weight": 10.0, "penalty.points": "dragan", "discriminator.batch_norm": "none"},
    {"weight_clip": 0.01},
    {"generator.output": "sigmoid"},
    {"latent": "uniform"},
]
COMBINATIONS = [
    {
        "augment": {**ADA, "controller": R_T},
        "loss": "relativistic",
        "order": "simultaneous",
        "penalty.r1": 1.0,
        "penalty.interval": 2,
        "generator.network": "resnet",
        "generator.spectral_norm": True,
        "discriminator.network": "resnet",
        "discriminator.final_size": 4,
        "discriminator.spectral_norm": True,
        "discriminator.batch_norm": "none",
        "data.label": "label",
        "data.num_classes": 10,
        "conditioning.generator": "batch_norm",
        "conditioning.discriminator": "projection",
        "conditioning.fake_labels": "uniform",
        "targets.noise": 0.1,
        "d_optimiser.decay": "linear",
    },
    {
        "augment": {**KERAS, "controller": ACCURACY},
        "loss": "hinge",
        "d_batches": "joint",
        "discriminator.spectral_norm": True,
        "generator.upsample": "nearest",
        "n_critic": 2,
        "d_optimiser.learning_rate": 1e-3,
        "ema.decay": 0.0,
        "ema.half_life": 100,
        "ema.ramp_up": 0.05,
    },
    {
        "augment": {**DIFFAUGMENT, "controller": FIXED},
        "loss": "least_squares",
        "penalty.weight": 10.0,
        "penalty.points": "dragan",
        "penalty.side": "one",
        "penalty.r2": 1.0,
        "discriminator.batch_norm": "none",
        "discriminator.dropout": 0.3,
        "weight_clip": 0.5,
        "targets.smoothing": 0.1,
        "targets.flip": 0.1,
        "generator.output": "sigmoid",
        "latent": "uniform",
    },
    {
        "augment": {**ADA, "controller": FIXED},
        "loss": "wasserstein",
        "penalty.weight": 10.0,
        "discriminator.batch_norm": "none",
    },
]


def name_of(switch):
    return "-".join(f"{name.split('.')[-1]}={value}"[:40] for name, value in switch.items())


def programs(config):
    """What would run, as text: of initialisation and of a step."""
    algorithm, key = build(config), jax.random.key(0)
    state = jax.eval_shape(partial(init_state, algorithm), key)
    phase = algorithm.phases[0]
    shape = (algorithm.reals_per_step, phase.batch_size)
    batch = {
        "image": jax.ShapeDtypeStruct((*shape, 8, 8, 1), jnp.uint8),
        "label": jax.ShapeDtypeStruct(shape, jnp.int32),
    }
    step = partial(make_train_step(algorithm), phase=phase)
    jaxprs = (
        jax.make_jaxpr(partial(init_state, algorithm))(key),
        jax.make_jaxpr(step)(state, batch, key),
    )
    return re.sub("0x[0-9a-f]+", "", str(jaxprs))  # Without addresses of functions.


def test_each_switch_matters():
    """No two configs run the same programs, but equal ones do."""
    seen = {programs(tiny_dcgan()): "no switch"}
    assert programs(tiny_dcgan()) in seen
    for switch in SWITCHES:
        config = tiny_dcgan()
        config.update_from_flattened_dict(switch)
        program = programs(config)
        assert program not in seen, f"{switch} does as {seen[program]}"
        seen[program] = switch


@pytest.mark.parametrize("switches", COMBINATIONS, ids=lambda c: c["loss"])
def test_switches_go_together(config, switches):
    """Which is what ablations need: finite, and both players move."""
    config.update_from_flattened_dict(switches)
    first, _, (state, metrics) = steps(build(config), 3)
    assert all(np.isfinite(value) for value in metrics.values())
    for player in ("g", "d"):
        pair = (jax.tree.leaves(getattr(s, player).params) for s in (first[0], state))
        assert not all(map(np.array_equal, *pair))


def test_weight_clipping_bounds_d_alone(config):
    config.weight_clip = 0.01
    *_, (state, _) = steps(build(config), 2)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(state.d.params)) <= 0.01 + 1e-7
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(state.g.params)) > 0.02


def test_the_average_copies_what_is_no_average(config):
    """Vectors of spectral normalisation: an average of unit vectors is none."""
    config.generator.spectral_norm, config.ema.decay = True, 0.9
    *_, (state, _) = steps(build(config), 2)
    jax.tree.map(
        np.testing.assert_array_equal, state.ema.vars["spectral"], state.g.vars["spectral"]
    )
    assert not np.array_equal(
        state.ema.vars["batch_stats"]["BatchNorm_0"]["mean"],
        state.g.vars["batch_stats"]["BatchNorm_0"]["mean"],
    )


IMPOSSIBLE = [
    (
        {"loss": "wasserstein", "augment": {**ADA, "controller": R_T}},
        r"config.augment.controller.name='r_t': it watches the sign of D's outputs",
    ),
    (
        {"augment": {**ADA, "controller": {**R_T, "p": 0.9}}},
        r"config.augment.controller.p=0.9: it is above p_max=0.8",
    ),
    (
        {"augment": {**ADA, "families": ("color",), "controller": FIXED}},
        r"config.augment.families.0='color': should be 'blit', 'geometric', 'colour'",
    ),
    (
        {"augment": {**ADA, "multipliers": (("hues", 0.5),), "controller": FIXED}},
        r"config.augment.multipliers.0.0='hues': should be 'x_flip', 'rotate_90'",
    ),
    (
        {
            "augment": {
                **ADA,
                "families": ("blit",),
                "multipliers": (("hue", 0.5),),
                "controller": FIXED,
            }
        },
        r"config.augment.multipliers=.*'hue': families=\('blit',\) have none; each of x_flip, ro",
    ),
    (
        {"augment": {**ADA, "multipliers": (("hue", 0.5), ("hue", 1.0)), "controller": FIXED}},
        r"config.augment.multipliers=.*: 'hue': it stands twice",
    ),
    ({"augment": {**ADA, "controller": {"name": "fxd"}}}, r"config.augment.controller.name='fxd'"),
    ({"augment": {**KERAS, "controller": FIXED, "zom": 1}}, r"config.augment.zom=1: no such field"),
    (
        {"generator.network": "resnet", "generator.first_norm": "unit"},
        r"config.generator.first_norm='unit': no such field; with network='resnet' there are only",
    ),
    (
        {"generator.batch_norm": False, "generator.first_norm": "unit"},
        r"config.generator.first_norm='unit': with batch_norm=False there is no norm of the first",
    ),
    (
        {"penalty.weight": 10.0, "d_batches": "joint", "order": "simultaneous"},
        r"config.penalty.weight=10.0: .*discriminator.batch_norm='all' ties the samples",
    ),
    (
        {"weight_clip": 0.01, "discriminator.spectral_norm": True},
        r"config.weight_clip=0.01: it bounds no kernel that .*spectral_norm divides",
    ),
    ({"penalty.r1": 1.0}, r"config.penalty.r1=1.0: .* ties the samples"),
    ({"penalty.points": "dragan"}, r"config.penalty.points='dragan': it does nothing where"),
    ({"penalty.side": "one"}, r"config.penalty.side='one': it does nothing .*; set a weight"),
    ({"penalty.interval": 4}, r"config.penalty.interval=4: there is no penalty"),
    ({"loss": "hinge", "targets.flip": 0.1}, r"config.targets.flip=0.1: the loss 'hinge' has no"),
    ({"loss": "wasserstein", "targets.smoothing": 0.1}, r"config.targets.smoothing=0.1: the loss"),
    ({"loss": "wasserstein", "d_halves": "mean"}, r"config.d_halves='mean': the loss 'wasserst"),
    ({"conditioning.fake_labels": "uniform"}, r"config.conditioning.fake_labels='uniform': no ne"),
    (
        {"conditioning.generator": "one_hot", "data.num_classes": 10},
        r"config.conditioning.discriminator='none': config.conditioning.generator is 'one_hot'",
    ),
    ({"loss": "hing"}, r"config.loss='hing': should be 'non_saturating', 'minimax'"),
    ({"order": "simultaneous", "n_critic": 2}, r"config.n_critic=2: config.order='simultaneous'"),
    (
        {"conditioning.generator": "one_hot"},
        r"config.conditioning.generator='one_hot': .* one class",
    ),
    (
        {
            "generator.batch_norm": False,
            "conditioning.generator": "batch_norm",
            "conditioning.discriminator": "projection",
            "data.num_classes": 10,
        },
        r"config.conditioning.generator='batch_norm': config.generator.batch_norm is False",
    ),
    (
        {
            "conditioning.generator": "one_hot",
            "conditioning.discriminator": "projection",
            "conditioning.fake_labels": "uniform",
            "data.num_classes": 10,
            "discriminator.batch_norm": "none",
            "penalty.weight": 10.0,
        },
        r"config.conditioning.fake_labels='uniform': points between a real and a fake need one",
    ),
    (
        {"discriminator.final_size": 8},
        r"config.discriminator.final_size=8: no such field; with network='dcgan' there are only",
    ),
    (
        {"discriminator.network": "resnet", "discriminator.final_size": 2},
        r"config.discriminator.final_size=2: 1 blocks cannot halve image_size=8 to it",
    ),
    (
        {"generator.network": "dcgn"},
        r"config.generator.network='dcgn': there are dcgan, resnet, mlp",
    ),
    (
        {"generator.network": "mlp", "generator.upsample": "nearest"},
        r"config.generator.upsample='nearest': no such field; with network='mlp' there are only "
        r".* A flag takes no field away: take it out of the file, or give generator whole",
    ),
    (
        {"g_optimiser.name": "sgd", "g_optimiser.b1": 0.0},
        r"config.g_optimiser.b1=0.0: no such field; with name='sgd' there are only .*: take it out",
    ),
    (
        {"image_size": 32},
        r"config.image_size=32: 1 widths in config.generator.widths=\(4,\) make 8",
    ),
]


@pytest.mark.parametrize(("change", "message"), IMPOSSIBLE, ids=[name_of(c) for c, _ in IMPOSSIBLE])
def test_impossible_pairs_are_refused_with_the_reason(config, change, message):
    config.update_from_flattened_dict(change)
    with pytest.raises(ConfigError, match=message) as caught:
        build(config)
    assert "\n" not in str(caught.value)


def test_class_batch_norm_needs_a_batch_norm_in_the_mlp(config):
    """It has none after its first layer, so that with one width the label would do nothing."""
    config.conditioning.update(generator="batch_norm", discriminator="projection")
    config.data.num_classes = 10
    config.generator = ConfigDict(
        {
            "network": "mlp",
            "widths": (4,),
            "slope": 0.2,
            "batch_norm": True,
            "spectral_norm": False,
            "init_stddev": 0.02,
            "output": "tanh",
        }
    )
    with pytest.raises(ConfigError, match="generator='batch_norm': the network 'mlp' has"):
        build(config)
    config.generator.widths = (4, 4)
    build(config)
