"""DCGAN with dropout and noisy labels, as for 40,000 grey renders of LEGO bricks.

Grey emoji at 32x32, about 5 minutes on two CPU cores:
    python -m ganjax.main --config=configs/dcgan_noisy.py

The networks at 64x64, at full width:
    python -m ganjax.main --config=configs/dcgan_noisy.py:emoji64

The same on a folder of images of your own, such as those renders (sub-folders, sizes and kinds of
files do not matter; look at it first, with ganjax.data.show):
    python -m ganjax.data.show --config=configs/dcgan_noisy.py:folder \\
        --config.data.source=folder:PATH
    python -m ganjax.main --config=configs/dcgan_noisy.py:folder --config.data.source=folder:PATH

What weakens the discriminator: discriminator.dropout, d_optimiser.learning_rate,
discriminator.widths, targets.noise, targets.flip. Against mode collapse: both learning rates,
batch_size.
"""

from ml_collections import ConfigDict

FULL_WIDTH = {
    "total_steps": 20_000,
    "batch_size": 128,
    "image_size": 64,
    "ema": {"decay": 0.999},
    "generator": {"widths": (512, 256, 128, 64)},
    "discriminator": {"widths": (64, 128, 256, 512)},
}
PRESETS = {
    "": {},
    "emoji64": FULL_WIDTH,
    # A few bad files among 40,000 are no reason not to train.
    "folder": FULL_WIDTH | {"data": {"source": "folder:lego", "max_skipped": 40}},
}


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
            "total_steps": 3_000,
            "batch_size": 64,
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
                "channels": 1,
                "fit": "resize",
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
            "latent_dim": 100,
            "latent": "normal",
            "conditioning": {
                "generator": "none",
                "discriminator": "none",
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
                "dropout": 0.3,
                "dropout_after": "all",
                "final_dropout": 0.0,
                "batch_norm": "all_but_first",
                "spectral_norm": False,
                "init_stddev": 0.02,
            },
            "batch_norm": {"scale": True, "momentum": 0.9, "epsilon": 1e-5},
            "augment": {"policy": "none"},
            "loss": "non_saturating",
            "d_halves": "mean",
            "d_batches": "separate",
            "targets": {"smoothing": 0.0, "noise": 0.1, "flip": 0.0},
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
