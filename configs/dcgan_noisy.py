"""DCGAN with dropout and noisy labels, as for 40,000 grey renders of LEGO bricks.

Grey emoji at 32x32, about 5 minutes on two CPU cores:
    python -m ganjax.main --config=configs/dcgan_noisy.py

The networks at 64x64, at full width:
    python -m ganjax.main --config=configs/dcgan_noisy.py:emoji64

What weakens the discriminator: discriminator.dropout, d_adam.learning_rate,
discriminator.widths, labels.noise, labels.flip. Against mode collapse: both learning rates,
batch_size.
"""

from ml_collections import ConfigDict

PRESETS = {
    "": {},
    "emoji64": {
        "total_steps": 20_000,
        "batch_size": 128,
        "image_size": 64,
        "ema_decay": 0.999,
        "generator": {"widths": (512, 256, 128, 64)},
        "discriminator": {"widths": (64, 128, 256, 512)},
    },
}


def get_config(preset: str = "") -> ConfigDict:
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r}: there are {', '.join(filter(None, PRESETS))}")
    adam = {"learning_rate": 2e-4, "b1": 0.5, "b2": 0.999, "eps": 1e-8}
    config = ConfigDict(
        {
            "algorithm": "dcgan",
            "seed": 0,
            "total_steps": 3_000,
            "batch_size": 64,
            "image_size": 32,
            "data": {
                "source": "embedded:emoji64",
                "channels": 1,
                "fit": "resize",
                "on_device": False,
            },
            "ema_decay": 0.99,
            "log_every": 10,
            "sample_every": 250,
            "eval_every": 250,
            "checkpoint_every": 250,
            "keep_checkpoints": 2,
            "latent_dim": 100,
            "generator": {
                "widths": (128, 64, 32),
                "slope": 0.2,
                "upsample": "transpose",
                "init_stddev": 0.02,
            },
            "discriminator": {
                "widths": (32, 64, 128),
                "slope": 0.2,
                "dropout": 0.3,
                "batch_norm": "all_but_first",
                "init_stddev": 0.02,
            },
            "labels": {"noise": 0.1, "flip": 0.0},
            "d_loss": "mean",
            "order": "simultaneous",
            "g_adam": dict(adam),
            "d_adam": dict(adam),
        }
    )
    config.update(PRESETS[preset])
    return config
