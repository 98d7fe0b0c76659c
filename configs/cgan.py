"""Conditional GAN of dense networks (Mirza & Osindero 2014).

Embedded digits by label at 28x28, about 4 minutes on two CPU cores:
    python -m ganjax.main --config=configs/cgan.py
    python -m ganjax.sample labels --workdir=runs/cgan

All of MNIST, for the same 100 epochs:
    python -m ganjax.main --config=configs/cgan.py:mnist

The form of the paper (maxout, dropout, gradient descent with its schedules, stopped at the best
log-likelihood of held-out images), on MNIST or on the embedded digits. TFDS's MNIST has no
validation split, so that the stop is chosen on its test images: a log-likelihood of these is then
no test figure.
    python -m ganjax.main --config=configs/cgan.py:paper
    python -m ganjax.main --config=configs/cgan.py:paper --config.data.source=embedded:mnist5k
"""

from ml_collections import ConfigDict

MNIST = {
    # 100 epochs of 60,000 images.
    "total_steps": 93_700,
    "data": {"source": "tfds:mnist"},
    "ema": {"decay": 0.999},
    "log_every": 100,
    "sample_every": 1_000,
    "eval_every": 1_000,
    "checkpoint_every": 1_000,
}

PRESETS = {"": {}, "mnist": MNIST, "paper": {**MNIST, "total_steps": 300_000}}


def paper(config: ConfigDict) -> None:
    """Section 4.1 of the paper; what it leaves open is as in the default."""
    config.batch_size = 100
    config.evaluation.update(
        {"log_likelihood": 1_000, "best": "val_log_likelihood", "patience": 25}
    )
    config.latent = "uniform"
    config.conditioning.generator = config.conditioning.discriminator = "one_hot"
    config.conditioning.fake_labels = "reals"
    config.generator = ConfigDict(
        {
            "network": "maxout",
            "latent_width": 200,
            "label_width": 1_000,
            "joint_width": 1_200,
            "dropout": 0.5,
            "spectral_norm": False,
            "init_stddev": 0.05,
        }
    )
    config.discriminator = ConfigDict(
        {
            "network": "maxout",
            "image_maxout": (240, 5),
            "label_maxout": (50, 5),
            "joint_maxout": (240, 4),
            "dropout": 0.5,
            "spectral_norm": False,
            "init_stddev": 0.05,
        }
    )
    sgd = {
        "name": "sgd",
        "learning_rate": 0.1,
        "decay_factor": 1.00004,
        "min_learning_rate": 1e-6,
        "momentum": 0.5,
        "final_momentum": 0.7,
        "momentum_updates": 125_000,
    }
    config.g_optimiser, config.d_optimiser = ConfigDict(sgd), ConfigDict(sgd)


def get_config(preset: str = "") -> ConfigDict:
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r}: there are {', '.join(filter(None, PRESETS))}")
    adam = {
        "name": "adam",
        "learning_rate": 2e-4,
        "b1": 0.5,
        "b2": 0.999,
        "eps": 1e-8,
        "decay": "none",
    }
    config = ConfigDict(
        {
            "algorithm": "gan",
            "seed": 0,
            "num_seeds": 1,
            "total_steps": 7_500,
            "batch_size": 64,
            "image_size": 28,
            "precision": "float32",
            "accumulate": 1,
            "remat": False,
            "steps_per_dispatch": 1,
            "sharding": "replicated",
            "data": {
                "source": "embedded:mnist5k",
                "label": "label",
                "num_classes": 10,
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
            "sample_every": 500,
            "sample_grid": (8, 8),
            "eval_every": 500,
            "checkpoint_every": 500,
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
            "latent_dim": 100,
            "latent": "normal",
            "conditioning": {
                "generator": "embedding",
                "discriminator": "embedding",
                "embedding_dim": 10,
                "fake_labels": "uniform",
            },
            "generator": {
                "network": "mlp",
                "widths": (128, 256, 512, 1024),
                "slope": 0.2,
                "batch_norm": True,
                "spectral_norm": False,
                "init_stddev": 0.02,
                "output": "tanh",
            },
            "discriminator": {
                "network": "mlp",
                "widths": (512, 512, 512),
                "slope": 0.2,
                "dropout": 0.4,
                "dropout_after": "all_but_first",
                "final_dropout": 0.0,
                "batch_norm": "none",
                "spectral_norm": False,
                "init_stddev": 0.02,
            },
            "batch_norm": {"scale": True, "momentum": 0.9, "epsilon": 1e-5},
            "augment": {"policy": "none"},
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
            "ema": {"decay": 0.999, "half_life": 0, "ramp_up": 0.0},
        }
    )
    if preset == "paper":
        paper(config)
    config.update(PRESETS[preset])
    return config
