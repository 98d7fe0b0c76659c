"""Adaptive discriminator augmentation (Karras et al. 2020), in the form of Keras' example.

400 embedded emoji at 32x32, for two CPU cores; all at 64x64 and the full width:
    python -m ganjax.main --config=configs/ada.py
    python -m ganjax.main --config=configs/ada.py:emoji64

Birds, the setting of the example, for a GPU or TPU:
    python -m ganjax.main --config=configs/ada.py:caltech_birds2011
    python -m ganjax.sample --workdir=runs/ada_caltech_birds2011 --num=18 --columns=6

The paper's own pipeline and controller, at 32x32 and 64x64, for a GPU or TPU:
    python -m ganjax.main --config=configs/ada.py:cifar10
    python -m ganjax.main --config=configs/ada.py:celeb_a
"""

from ml_collections import ConfigDict

KERAS = {
    "policy": "keras",
    "translation": 0.125,
    "rotation": 0.125,
    "zoom": 0.25,
    "measure_leaks": True,
    "controller": {"name": "accuracy", "p": 0.0, "target": 0.85, "speed": 1e-3, "p_max": 1.0},
}
# Karras et al. 2020, sections 2.3 and 3: the three families that help, r_t 0.6, p able to
# rise from 0 to 1 within 500,000 reals. Its cap, 0.8, is where section 2.2 sees leaks begin.
ADA = {
    "policy": "ada",
    "families": ("blit", "geometric", "colour"),
    "multipliers": (),
    "measure_leaks": True,
    "controller": {
        "name": "r_t",
        "p": 0.0,
        "target": 0.6,
        "interval": 4,
        "reals_to_one": 500_000,
        "p_max": 0.8,
    },
}

# The example's rates. The default's few minutes on two cores need ten times those.
RATES = {"g_optimiser": {"learning_rate": 2e-4}, "d_optimiser": {"learning_rate": 2e-4}}
AT_64 = {
    **RATES,
    "image_size": 64,
    "generator": {"widths": (128, 128, 128, 128)},
    "discriminator": {"widths": (128, 128, 128, 128)},
}
FULL = {
    **RATES,
    "batch_size": 128,
    "log_every": 100,
    "sample_every": 1_000,
    "eval_every": 1_000,
    "checkpoint_every": 1_000,
    "evaluation": {"num_samples": 5_000},
}

PRESETS = {
    "": {},
    "emoji64": {
        **AT_64,
        "total_steps": 20_000,
        "data": {"num_examples": 0},
        "sample_every": 1_000,
        "eval_every": 1_000,
        "checkpoint_every": 1_000,
    },
    # 400 of the example's epochs, after which its images are good, each five passes of the 5,994
    # training images.
    "caltech_birds2011": {
        **AT_64,
        "batch_size": 128,
        "total_steps": 94_000,
        "data": {
            "source": "tfds:caltech_birds2011",
            "fit": "bounding_box",
            "num_examples": 0,
        },
        "log_every": 47,
        "sample_every": 1_175,
        "eval_every": 235,
        "checkpoint_every": 235,
        "evaluation": {"num_samples": 5_000},
    },
    "cifar10": {
        **FULL,
        "total_steps": 100_000,
        "data": {"source": "tfds:cifar10", "num_examples": 0, "on_device": True},
        "generator": {"widths": (128, 128, 128)},
        "discriminator": {"widths": (128, 128, 128)},
        "augment": ADA,
    },
    "celeb_a": {
        **FULL,
        **AT_64,
        "total_steps": 100_000,
        "data": {"source": "tfds:celeb_a", "num_examples": 0},
        "augment": ADA,
    },
}


def get_config(preset: str = "") -> ConfigDict:
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r}: there are {', '.join(filter(None, PRESETS))}")
    adam = {
        "name": "adam",
        "learning_rate": 2e-3,
        "b1": 0.5,
        "b2": 0.999,
        "eps": 1e-7,
        "decay": "none",
    }
    config = ConfigDict(
        {
            "algorithm": "gan",
            "seed": 0,
            "num_seeds": 1,
            "total_steps": 5_000,
            "batch_size": 32,
            "image_size": 32,
            "precision": "float32",
            "accumulate": 1,
            "remat": False,
            "steps_per_dispatch": 1,
            "sharding": "replicated",
            "data": {
                "source": "embedded:emoji64",
                "label": "",
                "num_classes": 1,
                "channels": 3,
                "fit": "resize",
                "mirror": False,
                "num_examples": 400,
                "fraction": 1.0,
                "subset_seed": 0,
                "background": (255, 255, 255),
                "labels_file": "",
                "min_side": 1,
                "max_skipped": 0,
                "on_device": False,
            },
            "log_every": 10,
            "sample_every": 250,
            "sample_grid": (3, 6),
            "eval_every": 250,
            "checkpoint_every": 250,
            "keep_checkpoints": 2,
            "evaluation": {
                "log_likelihood": 0,
                "metrics": ("kid",),
                "features": "efflite0",
                "weights": "",
                "num_samples": 500,
                "best": "kid_efflite0",
                "patience": 0,
            },
            "latent_dim": 64,
            "latent": "normal",
            "conditioning": {
                "generator": "none",
                "discriminator": "none",
                "embedding_dim": 10,
                "fake_labels": "reals",
            },
            "generator": {
                "network": "dcgan",
                "widths": (64, 64, 64),
                "slope": 0.0,
                "upsample": "transpose",
                "batch_norm": True,
                "first_norm": "unit",
                "output_bias": True,
                "spectral_norm": False,
                "init_stddev": 0.0,
                "output": "sigmoid",
            },
            "discriminator": {
                "network": "dcgan",
                "widths": (64, 64, 64),
                "final_size": 4,
                "slope": 0.2,
                "dropout": 0.0,
                "dropout_after": "all",
                "final_dropout": 0.4,
                "batch_norm": "all",
                "spectral_norm": False,
                "init_stddev": 0.0,
            },
            "batch_norm": {"scale": False, "momentum": 0.99, "epsilon": 1e-3},
            "augment": PRESETS[preset].get("augment", KERAS),
            "loss": "non_saturating",
            "d_halves": "mean",
            "d_batches": "separate",
            "targets": {"smoothing": 0.0, "noise": 0.0, "flip": 0.0},
            "penalty": {
                "weight": 0.0,
                "target": 1.0,
                "side": "two",
                "points": "uniform",
                "r1": 0.0,
                "r2": 0.0,
                "interval": 1,
            },
            "weight_clip": 0.0,
            "order": "simultaneous",
            "n_critic": 1,
            "critic_reals": "fresh",
            "g_optimiser": dict(adam),
            "d_optimiser": dict(adam),
            "ema": {"decay": 0.99, "half_life": 0, "ramp_up": 0.0},
        }
    )
    config.update(PRESETS[preset])
    return config
