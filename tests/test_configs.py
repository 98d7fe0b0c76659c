"""Presets that follow a source to the letter, against tables and counts that were made by hand."""

import jax
import numpy as np
import pytest
import source_presets
from small import shipped

from ganjax.algorithms import gan, progan
from ganjax.augment.controllers import AccuracyTargetFields
from ganjax.config import take_kinds
from ganjax.training import schema

CELEB_A = {"data": {"source": "tfds:celeb_a"}, "image_size": 64}
DCGAN = {
    "algorithm": "gan",
    "latent_dim": 100,
    "batch_size": 128,
    "generator": {"network": "dcgan", "widths": (512, 256, 128, 64), "output": "tanh"},
    "discriminator": {"network": "dcgan", "widths": (64, 128, 256, 512), "slope": 0.2},
    "batch_norm": {"momentum": 0.9, "epsilon": 1e-5},
    "loss": "non_saturating",
}
ADAM = {"name": "adam", "learning_rate": 2e-4, "b1": 0.5, "b2": 0.999, "eps": 1e-8}
KERAS_ADAM = {**ADAM, "eps": 1e-7}
EMBEDDING = {"generator": "embedding", "discriminator": "embedding", "embedding_dim": 10}
KERAS_ADA = {
    **DCGAN,
    "latent_dim": 64,
    "image_size": 64,
    "log_every": 46,
    "eval_every": 46,
    "checkpoint_every": 46,
    "sample_every": 230,
    "sample_grid": (3, 6),
    "generator": {
        "widths": (128, 128, 128, 128),
        "first_norm": "unit",
        "init_stddev": 0.0,
        "output_bias": True,
        "output": "sigmoid",
    },
    "discriminator": {
        "widths": (128, 128, 128, 128),
        "batch_norm": "all",
        "final_dropout": 0.4,
        "init_stddev": 0.0,
        "slope": 0.2,
    },
    "batch_norm": {"scale": False, "momentum": 0.99, "epsilon": 1e-3},
    "augment": {
        "policy": "keras",
        "translation": 0.125,
        "rotation": 0.125,
        "zoom": 0.25,
        "measure_leaks": True,
        "controller": {
            "name": "accuracy",
            "p": 0.0,
            "p_max": 1.0,
            "target": 0.85,
            "speed": 1e-3,
        },
    },
    "order": "simultaneous",
    "d_halves": "mean",
    "g_optimiser": KERAS_ADAM,
    "d_optimiser": KERAS_ADAM,
    "ema": {"decay": 0.99, "warm_up": False},
    "evaluation": {"metrics": ("kid", "kid_batch"), "num_samples": 5_760, "best": "kid_efflite0"},
}
BIRDS = {
    **KERAS_ADA,
    "data": {"source": "tfds:caltech_birds2011", "fit": "bounding_box"},
}
# 4x4 kernels at 64x64 of the widths 64 .. 512, without the first layer and the last.
INNER = 16 * (64 * 128 + 128 * 256 + 256 * 512)
G_NORMS, D_NORMS = 2 * (512 + 256 + 128 + 64), 2 * (128 + 256 + 512)

# What a preset states; every other field is at the default, which means "without it".
TABLES = source_presets.TABLES | {
    "dcgan:tutorial": {
        **DCGAN,
        **CELEB_A,
        "total_steps": 6_360,
        "log_every": 1,
        "discriminator": {**DCGAN["discriminator"], "batch_norm": "all", "use_bias": False},
        "order": "alternating",
        "d_halves": "sum",
        "g_optimiser": ADAM,
        "d_optimiser": ADAM,
        "ema": {"decay": 0.0},
        "evaluation": {"num_samples": 5_000, "metrics": (), "best": "none"},
    },
    "dcgan_noisy:keras": {
        **DCGAN,
        "image_size": 64,
        "data": {"source": "folder:lego", "channels": 1, "max_skipped": 40},
        "total_steps": 93_600,
        "sample_every": 312,
        "eval_every": 312,
        "checkpoint_every": 312,
        "generator": {
            **DCGAN["generator"],
            "slope": 0.2,
            "init_stddev": 0.0,
            "output_bias": False,
        },
        "discriminator": {
            **DCGAN["discriminator"],
            "batch_norm": "all_but_first",
            "dropout": 0.3,
            "dropout_after": "all",
            "init_stddev": 0.0,
            "use_bias": False,
        },
        "batch_norm": {"momentum": 0.9, "epsilon": 1e-3},
        "order": "simultaneous",
        "d_halves": "mean",
        "targets": {"noise": 0.1},
        "g_optimiser": KERAS_ADAM,
        "d_optimiser": KERAS_ADAM,
        "ema": {"decay": 0.0},
    },
    "wgan_gp:tutorial": {
        **DCGAN,
        **CELEB_A,
        "latent_dim": 128,
        "batch_size": 512,
        "total_steps": 63_400,
        "sample_every": 317,
        "eval_every": 317,
        "checkpoint_every": 317,
        "generator": {
            **DCGAN["generator"],
            "slope": 0.2,
            "init_stddev": 0.0,
            "output_bias": True,
        },
        "discriminator": {
            **DCGAN["discriminator"],
            "batch_norm": "none",
            "dropout": 0.3,
            "dropout_after": "all_but_first",
            "init_stddev": 0.0,
        },
        "batch_norm": {"momentum": 0.9, "epsilon": 1e-3},
        "loss": "wasserstein",
        "penalty": {"weight": 10.0, "target": 1.0, "side": "two", "points": "normal"},
        "order": "alternating",
        "n_critic": 3,
        "critic_reals": "shared",
        "g_optimiser": KERAS_ADAM,
        "d_optimiser": KERAS_ADAM,
        "ema": {"decay": 0.0},
    },
    "cwgan_gp:celeb_a": {
        **DCGAN,
        "image_size": 64,
        "data": {"source": "tfds:celeb_a", "label": "attributes/Blond_Hair", "num_classes": 2},
        "latent_dim": 32,
        "total_steps": 100_000,
        "log_every": 100,
        "generator": {**DCGAN["generator"], "slope": 0.2},
        "discriminator": {
            **DCGAN["discriminator"],
            "batch_norm": "none",
            "dropout": 0.0,
        },
        "conditioning": {
            "generator": "one_hot",
            "discriminator": "one_hot",
            "fake_labels": "reals",
        },
        "loss": "wasserstein",
        "penalty": {"weight": 10.0, "target": 1.0, "side": "two", "points": "uniform"},
        "order": "alternating",
        "n_critic": 3,
        "critic_reals": "shared",
        "g_optimiser": {**ADAM, "learning_rate": 5e-5},
        "d_optimiser": {**ADAM, "learning_rate": 5e-5},
        "ema": {"decay": 0.999},
        "evaluation": {"metrics": ("kid",), "num_samples": 5_000, "best": "kid_efflite0"},
    },
    "cgan:tutorial": {
        "algorithm": "gan",
        "image_size": 28,
        "data": {
            "source": "tfds:mnist",
            "label": "label",
            "num_classes": 10,
            "channels": 1,
            "fit": "pad",
        },
        "latent_dim": 100,
        "batch_size": 64,
        "total_steps": 93_700,
        "log_every": 100,
        "generator": {
            "network": "mlp",
            "widths": (128, 256, 512, 1_024),
            "slope": 0.2,
            "batch_norm": True,
            "init_stddev": 0.02,
            "output": "tanh",
        },
        "discriminator": {
            "network": "mlp",
            "widths": (512, 512, 512),
            "slope": 0.2,
            "batch_norm": "none",
            "dropout": 0.4,
            "dropout_after": "all_but_first",
            "init_stddev": 0.02,
        },
        "conditioning": {**EMBEDDING, "embedding_stddev": 1.0, "fake_labels": "uniform"},
        "loss": "non_saturating",
        "order": "simultaneous",
        "d_halves": "mean",
        "g_optimiser": ADAM,
        "d_optimiser": ADAM,
        "ema": {"decay": 0.0},
    },
    "ada:caltech_birds2011": {**BIRDS, "total_steps": 18_400},
    "ada:caltech_birds2011_short": {**BIRDS, "total_steps": 460},
    "ada:celeb_a_keras": {
        **KERAS_ADA,
        "data": {"source": "tfds:celeb_a"},
        "total_steps": 31_775,
        "log_every": 1_271,
        "eval_every": 1_271,
        "checkpoint_every": 1_271,
        "sample_every": 1_271,
    },
}
# Trainable parameters of G and of D.
KERAS_COUNTS = (926_083, 795_137)
COUNTS = {
    "dcgan:tutorial": (
        16 * (100 * 512 + 64 * 3) + INNER + G_NORMS,
        16 * (3 * 64 + 512) + INNER + D_NORMS + 2 * 64,
    ),
    "dcgan_noisy:keras": (16 * (100 * 512 + 64) + INNER + G_NORMS, 2_763_520),
    "wgan_gp:tutorial": (
        16 * (128 * 512 + 64 * 3) + INNER + G_NORMS + 3,
        16 * (3 * 64 + 512) + INNER + 64 + 128 + 256 + 512 + 1,
    ),
    "cwgan_gp:celeb_a": (
        16 * (34 * 512 + 64 * 3) + INNER + G_NORMS,
        16 * (5 * 64 + 512) + INNER + 64 + 128 + 256 + 512 + 1,
    ),
    "cgan:tutorial": (
        100
        + 110 * 128
        + 128
        + 128 * 256
        + 256 * 512
        + 512 * 1_024
        + 2 * (256 + 512 + 1_024)
        + 1_024 * 784
        + 784,
        100 + 794 * 512 + 2 * 512 * 512 + 512 + 3 * 512 + 1,
    ),
    "ada:caltech_birds2011": KERAS_COUNTS,
    "ada:caltech_birds2011_short": KERAS_COUNTS,
    "ada:celeb_a_keras": KERAS_COUNTS,
}


def filled(default, stated):
    """The fields of a config where a table states some of them, group by group."""
    unknown = set(stated) - set(default)
    assert not unknown, f"there are no fields {unknown}"
    return {
        name: filled(value, stated.get(name, {}))
        if isinstance(value, dict)
        else stated.get(name, value)
        for name, value in default.items()
    }


@pytest.mark.parametrize("name", TABLES)
def test_a_preset_of_a_source_states_what_its_table_does_and_nothing_else(name):
    config, _ = schema.load(shipped(*name.split(":")))
    stated, found = TABLES[name], config.model_dump()
    sizes = ("total_steps", "batch_size", "image_size", "latent_dim", "data")
    algorithm = {"gan": gan, "progan": progan}[stated["algorithm"]]
    base = algorithm.base(**{size: stated[size] for size in sizes})
    kinds = {
        f"{part}.{tag}": stated[part][tag]
        for part in ("generator", "discriminator", "augment", "g_optimiser", "d_optimiser")
        for tag in ("network", "policy", "name")
        if tag in stated.get(part, {})
    }
    take_kinds(base, kinds)
    default = schema.load(base).config.model_dump()
    assert found == filled(default, stated)


@pytest.mark.parametrize("name", COUNTS)
def test_a_preset_of_a_source_has_the_parameters_of_its_layers(name):
    config, module = schema.load(shipped(*name.split(":")))
    players = jax.eval_shape(module.build(config).init, jax.random.key(0))
    counts = [sum(leaf.size for leaf in jax.tree.leaves(params)) for params, _ in players]
    assert tuple(counts) == COUNTS[name]


def test_the_accuracies_behind_the_birds_p_take_it_to_its_published_end_in_460_steps():
    """p is .002 after the first epoch and .047 after the tenth in Keras' example: its controller
    gives these for accuracies of .893 and then .959, and no p above .069 in as many steps."""
    config, _ = schema.load(shipped("ada", "caltech_birds2011_short"))
    fields = config.augment.controller
    assert isinstance(fields, AccuracyTargetFields)
    epoch = 5_994 // config.batch_size
    assert (epoch, config.total_steps) == (46, 460)

    @jax.jit
    def p_after_each_step(accuracies):
        controller = fields.build(config.batch_size)

        def update(state, accuracy):
            state = controller.update(state, 2 * accuracy - 1)  # r_t
            return state, state["p"]

        return jax.lax.scan(update, controller.init(), accuracies)[1]

    accuracies = np.full(config.total_steps, 0.959, np.float32)
    accuracies[:epoch] = 0.893
    p = p_after_each_step(accuracies)
    assert abs(p[epoch - 1] - 0.002) < 5e-5
    assert abs(p[-1] - 0.047) < 5e-4
    assert abs(p_after_each_step(np.ones_like(accuracies))[-1] - 0.069) < 1e-5
