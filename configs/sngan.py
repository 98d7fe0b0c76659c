"""SNGAN: residual networks, spectral normalisation, hinge loss (Miyato et al. 2018).

Embedded digits at 32x32, for two CPU cores:
    python -m ganjax.main --config=configs/sngan.py

By label (projection discriminator, conditional BatchNorm; Miyato & Koyama 2018):
    python -m ganjax.main --config=configs/sngan.py:projection
    python -m ganjax.sample labels --workdir=runs/sngan_projection

CIFAR-10 at the papers' scale, without and with labels, for a GPU or TPU:
    python -m ganjax.main --config=configs/sngan.py:cifar10
    python -m ganjax.main --config=configs/sngan.py:cifar10_projection
"""

from ml_collections import ConfigDict

PROJECTION = {
    "data": {"label": "label", "num_classes": 10},
    "conditioning": {
        "generator": "batch_norm",
        "discriminator": "projection",
        "fake_labels": "uniform",
    },
}

# Miyato et al. 2018, table 4: 50,000 to 100,000 updates of the generator, n_critic 5, Adam
# 2e-4 (0, .9) with its rate falling to 0, batch 64.
CIFAR10 = {
    "total_steps": 100_000,
    "data": {"source": "tfds:cifar10", "channels": 3, "fit": "resize", "on_device": True},
    "ema": {"decay": 0.999},
    "log_every": 100,
    "sample_every": 1_000,
    "eval_every": 1_000,
    "evaluation": {"metrics": ("kid",), "num_samples": 5_000, "best": "kid_efflite0"},
    "checkpoint_every": 1_000,
    "latent_dim": 128,
    "generator": {"widths": (256, 256, 256)},
    "discriminator": {"widths": (128, 128, 128, 128)},
    "n_critic": 5,
    "g_optimiser": {"b1": 0.0, "b2": 0.9, "decay": "linear"},
    "d_optimiser": {"b1": 0.0, "b2": 0.9, "decay": "linear"},
}

PRESETS = {
    "": {},
    # Classes are apart by the scales and biases of BatchNorm alone, which begin alike: with the
    # default's 2e-4 and 5 updates of D they were not after its 1,250 steps.
    "projection": {
        **PROJECTION,
        "total_steps": 1_500,
        "n_critic": 2,
        "g_optimiser": {"learning_rate": 1e-3},
        "d_optimiser": {"learning_rate": 1e-3},
    },
    "cifar10": CIFAR10,
    "cifar10_projection": {
        **CIFAR10,
        **PROJECTION,
        "data": {**CIFAR10["data"], **PROJECTION["data"]},
    },
}


def get_config(preset: str = "") -> ConfigDict:
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r}: there are {', '.join(filter(None, PRESETS))}")
    adam = {
        "name": "adam",
        "learning_rate": 2e-4,
        "b1": 0.0,
        "b2": 0.9,
        "eps": 1e-8,
        "decay": "none",
    }
    config = ConfigDict(
        {
            "algorithm": "gan",
            "seed": 0,
            "num_seeds": 1,
            "total_steps": 1_250,
            "batch_size": 64,
            "image_size": 32,
            "precision": "float32",
            "accumulate": 1,
            "remat": False,
            "steps_per_dispatch": 1,
            "sharding": "replicated",
            "data": {
                "source": "embedded:mnist5k",
                "label": "",
                "num_classes": 1,
                "channels": 1,
                "fit": "pad",
                "mirror": False,
                "num_examples": 0,
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
            "sample_grid": (8, 8),
            "eval_every": 250,
            "checkpoint_every": 250,
            "keep_checkpoints": 2,
            "evaluation": {
                "log_likelihood": 0,
                "metrics": (),
                "features": "efflite0",
                "weights": "",
                "num_samples": 1_000,
                "best": "none",
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
                "network": "resnet",
                "widths": (64, 32, 16),
                "slope": 0.0,
                "upsample": "nearest",
                "batch_norm": True,
                "first_norm": "channel",
                "output_bias": True,
                "spectral_norm": False,
                "init_stddev": 0.0,
                "output": "tanh",
            },
            "discriminator": {
                "network": "resnet",
                "widths": (16, 32, 32, 32),
                "final_size": 8,
                "slope": 0.0,
                "dropout": 0.0,
                "dropout_after": "all",
                "final_dropout": 0.0,
                "batch_norm": "none",
                "spectral_norm": True,
                "init_stddev": 0.0,
            },
            "batch_norm": {"scale": True, "momentum": 0.9, "epsilon": 1e-5},
            "augment": {"policy": "none"},
            "loss": "hinge",
            "d_halves": "sum",
            "d_batches": "joint",
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
            "order": "alternating",
            "n_critic": 1,
            "critic_reals": "fresh",
            "g_optimiser": dict(adam),
            "d_optimiser": dict(adam),
            "ema": {"decay": 0.99, "half_life": 0, "ramp_up": 0.0},
        }
    )
    config.update(PRESETS[preset])
    return config
