"""Every switch of the composed GAN matters, and switches go together."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_dcgan import ACCURACY, ADA, DIFFAUGMENT, FIXED, KERAS, R_T, build, tiny_dcgan, train_steps

from ganjax.config import idle, take_kinds
from ganjax.engine.algorithm import Context
from ganjax.engine.step import init_state, make_train_step
from ganjax.keys import fold
from ganjax.training import schema

pytestmark = pytest.mark.usefixtures("native_convolutions")

LABELS = {"data.label": "label", "data.num_classes": 10}
ONE_HOT = {
    **LABELS,
    "conditioning.generator": "one_hot",
    "conditioning.discriminator": "one_hot",
}
EMBEDDING = {
    **LABELS,
    "conditioning.generator": "embedding",
    "conditioning.discriminator": "embedding",
}
NO_BATCH_NORM = {"discriminator.batch_norm": "none"}

# Each of these changes a function of the algorithm.
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
    NO_BATCH_NORM,
    {"generator.network": "resnet", "generator.widths": (4,)},
    {"generator.network": "mlp", "generator.widths": (4,)},
    {"discriminator.network": "mlp", "discriminator.widths": (4,)},
    {"augment.policy": "ada"},
    {"augment.policy": "diffaugment"},
    {"g_optimiser.name": "sgd"},
    {"d_optimiser.name": "rmsprop"},
    {
        "generator.network": "resnet",
        "generator.widths": (4,),
        "generator.upsample": "transpose",
    },
    {"discriminator.network": "resnet", "discriminator.widths": (4,)},
    {
        "discriminator.network": "resnet",
        "discriminator.widths": (4,),
        "discriminator.final_size": 8,
    },
    {"generator.init_stddev": 0.1},
    {"san": True},
    {"generator.init_stddev": 0.0, "discriminator.init_stddev": 0.0},
    {"generator.batch_norm": False},
    {"generator.spectral_norm": True},
    {"discriminator.spectral_norm": True},
    {"discriminator.dropout": 0.5},
    {"discriminator.final_dropout": 0.5},
    {"discriminator.slope": 0.1},
    {"discriminator.use_bias": False},
    {"loss": "minimax"},
    {"loss": "least_squares"},
    {"loss": "hinge"},
    {"loss": "wasserstein"},
    {"loss": "relativistic"},
    {"loss": "relativistic_paired"},
    {"g_optimiser.b1": 0.0},
    {"d_optimiser.learning_rate": 1e-3},
    {"d_optimiser.decay": "linear"},
    {"d_batches": "joint"},
    {"ema.decay": 0.5},
    {"ema.decay": 0.0, "ema.half_life": 100.0},
    {"ema.decay": 0.0, "ema.half_life.end": 100.0, "ema.half_life.over": 2_000},
    {"d_halves": "mean"},
    {"targets.smoothing": 0.1},
    {"targets.noise": 0.1},
    {"targets.flip": 0.2},
    {"penalty.r1": 1.0, **NO_BATCH_NORM},
    {"penalty.r2": 1.0, **NO_BATCH_NORM},
    {"penalty.weight": 10.0, **NO_BATCH_NORM},
    {"penalty.weight": 10.0, "penalty.target": 0.5, **NO_BATCH_NORM},
    {"penalty.weight": 10.0, "penalty.side": "one", **NO_BATCH_NORM},
    {"penalty.weight": 10.0, "penalty.points": "normal", **NO_BATCH_NORM},
    {"penalty.weight": 10.0, "penalty.points": "dragan", **NO_BATCH_NORM},
    {"weight_clip": 0.01},
    {"generator.output": "sigmoid"},
    {"latent": "uniform"},
    {"latent_dim": 7},
    {"precision": "bfloat16"},
    {"precision": "float16"},
    {"remat": True},
    ONE_HOT,
    {**ONE_HOT, "conditioning.fake_labels": "uniform"},
    EMBEDDING,
    {**EMBEDDING, "conditioning.embedding_dim": 3},
    {**EMBEDDING, "conditioning.embedding_stddev": 1.0},
    {
        **LABELS,
        "conditioning.generator": "batch_norm",
        "conditioning.discriminator": "projection",
    },
]
# Each of these changes a number that the engine reads.
ENGINE_SWITCHES = [
    {},
    {"n_critic": 2},
    {"n_critic": 2, "critic_reals": "shared"},
    {"n_critic": 2, "loss": "relativistic_paired"},
    {"n_critic": 2, "loss": "relativistic_paired", "critic_reals": "shared"},
    {"order": "simultaneous"},
    {"accumulate": 2},
    {"penalty.r1": 1.0, **NO_BATCH_NORM},
    {"penalty.r1": 1.0, "penalty.interval": 2, **NO_BATCH_NORM},
]
# What ablations need: fields of all parts at once.


COMBINATIONS = [
    {
        "augment": {**ADA, "families": ("blit", "colour"), "controller": R_T},
        "loss": "relativistic",
        "order": "simultaneous",
        "penalty.r1": 1.0,
        "penalty.interval": 2,
        "generator.network": "resnet",
        "generator.widths": (4,),
        "generator.spectral_norm": True,
        "discriminator.network": "resnet",
        "discriminator.widths": (4,),
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
        "ema.half_life.end": 100.0,
        "ema.half_life.over": 2_000,
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
        "augment": {**ADA, "families": ("filter", "corrupt"), "controller": FIXED},
        "loss": "wasserstein",
        "penalty.weight": 10.0,
        "discriminator.batch_norm": "none",
    },
]


def built(switch):
    config = tiny_dcgan()
    take_kinds(config, switch)
    config.update_from_flattened_dict(switch)
    return build(config)


def text_of(*programs):
    """Returns programs as text, without the addresses of functions."""
    return re.sub("0x[0-9a-f]+", "", str(programs))


def functions(algorithm):
    """Returns as text what all functions of an algorithm compute."""
    phase = algorithm.phases[0]

    def call_all(key, image, label, step):
        (g_params, g_vars), (d_params, d_vars) = algorithm.init(fold(key, "init"))
        z, aug = algorithm.latent(fold(key, "latent"), len(image)), algorithm.aug_init()
        context = Context({"image": image, "label": label}, key, step, phase, aug)
        fake, new_g_vars = algorithm.generate(g_params, g_vars, z, context.named("g"))
        scores, new_d_vars = algorithm.discriminate(d_params, d_vars, fake, context.named("d"))
        d_loss, metrics = algorithm.d_loss(scores, context.named("d_loss"))
        g_loss = algorithm.g_loss(scores, context.named("g_loss"))
        penalty = algorithm.penalty(d_params, d_vars, fake, context.named("penalty"))
        updates = [
            tx.update(params, tx.init(params), params)
            for tx, params in ((algorithm.g_tx, g_params), (algorithm.d_tx, d_params))
        ]
        aug = algorithm.aug_update(aug, metrics)
        sample = algorithm.sample(g_params, g_vars, z, label, phase)
        decay = algorithm.ema_decay(step)
        return fake, new_g_vars, new_d_vars, d_loss, g_loss, penalty, updates, aug, sample, decay

    image = jax.ShapeDtypeStruct((phase.batch_size, 8, 8, 1), jnp.float32)
    label = jax.ShapeDtypeStruct((phase.batch_size,), jnp.int32)
    step = jax.ShapeDtypeStruct((), jnp.int32)
    return text_of(jax.make_jaxpr(call_all)(jax.random.key(0), image, label, step))


def train_step(algorithm):
    """Returns a train step as text."""
    state = jax.eval_shape(partial(init_state, algorithm), jax.random.key(0))
    phase = algorithm.phases[0]
    shape = (algorithm.real_batches, phase.batch_size)
    batch = {
        "image": jax.ShapeDtypeStruct((*shape, 8, 8, 1), jnp.uint8),
        "label": jax.ShapeDtypeStruct(shape, jnp.int32),
    }
    step = partial(make_train_step(algorithm), phase=phase)
    return text_of(jax.make_jaxpr(step)(state, batch, jax.random.key(0)))


@pytest.mark.parametrize(
    ("program", "switches"),
    [
        pytest.param(functions, [{}, *SWITCHES], marks=pytest.mark.slow),
        (train_step, ENGINE_SWITCHES),
    ],
    ids=["functions", "train_step"],
)
def test_no_two_switches_compute_the_same(program, switches):
    """Two algorithms of one config do, as the first line says."""
    assert program(built({})) == program(built({}))
    seen = {}
    for switch in switches:
        text = program(built(switch))
        assert text not in seen, f"{switch} does as {seen[text]}"
        seen[text] = switch


def test_fields_that_are_said_to_have_no_effect_have_none():
    plain = {"discriminator.batch_norm": "none", "generator.batch_norm": False}
    changed = {
        "conditioning.embedding_dim": 3,
        "conditioning.embedding_stddev": 1.0,
        "critic_reals": "shared",
        "discriminator.dropout_after": "all_but_first",
        "batch_norm.scale": False,
        "batch_norm.momentum": 0.5,
        "batch_norm.epsilon": 0.1,
    }
    config = tiny_dcgan()
    config.update_from_flattened_dict(plain)
    of_programs = idle(schema.load(config).config) - {
        *("config.data.subset_seed", "config.evaluation.features"),
        *("config.evaluation.weights", "config.evaluation.num_samples"),
    }
    assert of_programs == {f"config.{name}" for name in changed}
    one, other = built(plain), built(plain | changed)
    assert functions(one) == functions(other)
    assert train_step(one) == train_step(other)


# All but one take long to compile.
@pytest.mark.parametrize(
    "switches",
    [
        pytest.param(each, marks=() if each["augment"]["policy"] == "keras" else pytest.mark.slow)
        for each in COMBINATIONS
    ],
    ids=lambda c: c["loss"],
)
def test_with_many_switches_at_once_losses_are_finite_and_both_players_move(switches):
    first, _, (state, metrics) = train_steps(built(switches), 3)
    assert all(np.isfinite(value) for value in metrics.values())
    for player in ("g", "d"):
        pair = (jax.tree.leaves(getattr(s, player).params) for s in (first[0], state))
        assert not all(map(np.array_equal, *pair))
