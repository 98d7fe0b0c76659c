"""Conditional WGAN-GP: one-hot labels beside z and, as channels, beside the image.

Embedded digits by label at 32x32, about 8 minutes on two CPU cores:
    python -m ganjax.main --config=configs/cwgan_gp.py
    python -m ganjax.sample labels --workdir=runs/cwgan_gp

CelebA at 64x64 by one attribute, for a GPU or TPU (any other: data.label):
    python -m ganjax.main --config=configs/cwgan_gp.py:celeb_a
    python -m ganjax.main --config=configs/cwgan_gp.py:celeb_a \\
        --config.data.label=attributes/Smiling
"""

from ml_collections import ConfigDict

PRESETS = {
    "": {},
    "celeb_a": {
        "total_steps": 100_000,
        "batch_size": 128,
        "image_size": 64,
        "data": {
            "source": "tfds:celeb_a",
            "label": "attributes/Blond_Hair",
            "num_classes": 2,
            "channels": 3,
            "fit": "resize",
        },
        "ema": {"decay": 0.999},
        "log_every": 100,
        "sample_every": 1_000,
        "eval_every": 1_000,
        "evaluation": {"metrics": ("kid",), "num_samples": 5_000, "best": "kid_efflite0"},
        "checkpoint_every": 1_000,
        "latent_dim": 32,
        "generator": {"widths": (512, 256, 128, 64)},
        "discriminator": {"widths": (64, 128, 256, 512)},
        "n_critic": 3,
        "g_optimiser": {"learning_rate": 5e-5, "b1": 0.5, "b2": 0.999, "decay": "none"},
        "d_optimiser": {"learning_rate": 5e-5, "b1": 0.5, "b2": 0.999, "decay": "none"},
    },
}


def get_config(preset: str = "") -> ConfigDict:
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r}: there are {', '.join(filter(None, PRESETS))}")
    adam = {
        "name": "adam",
        # Karras et al. 2017's for WGAN-GP with n_critic 1, and falling: at a third of this rate
        # and n_critic 2 as many labels are right only after four times the work.
        "learning_rate": 1e-3,
        "b1": 0.0,
        "b2": 0.99,
        "eps": 1e-8,
        "decay": "linear",
    }
    config = ConfigDict(
        {
            "algorithm": "gan",
            "seed": 0,
            "num_seeds": 1,
            "total_steps": 10_000,
            "batch_size": 32,
            "image_size": 32,
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
            "latent_dim": 32,
            "latent": "normal",
            "conditioning": {
                "generator": "one_hot",
                "discriminator": "one_hot",
                "embedding_dim": 10,
                "fake_labels": "reals",
            },
            "generator": {
                "network": "dcgan",
                "widths": (128, 64, 32),
                "slope": 0.2,
                "upsample": "transpose",
                "batch_norm": True,
                "first_norm": "channel",
                "output_bias": False,
                "spectral_norm": False,
                "init_stddev": 0.02,
                "output": "tanh",
            },
            "discriminator": {
                "network": "dcgan",
                "widths": (32, 64, 128),
                "final_size": 4,
                "slope": 0.2,
                "dropout": 0.0,
                "dropout_after": "all_but_first",
                "final_dropout": 0.0,
                "batch_norm": "none",
                "spectral_norm": False,
                "init_stddev": 0.02,
            },
            "batch_norm": {"scale": True, "momentum": 0.9, "epsilon": 1e-5},
            "augment": {"policy": "none"},
            "loss": "wasserstein",
            "d_halves": "sum",
            "d_batches": "separate",
            "targets": {"smoothing": 0.0, "noise": 0.0, "flip": 0.0},
            "penalty": {
                "weight": 10.0,
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
            "ema": {"decay": 0.998, "half_life": 0, "ramp_up": 0.0},
        }
    )
    config.update(PRESETS[preset])
    return config
