"""DCGAN (Radford et al. 2015).

Embedded digits at 32x32, about 4 minutes on two CPU cores:
    python -m ganjax.main --config=configs/dcgan.py

CelebA at 64x64 or CIFAR-10, for a GPU or TPU:
    python -m ganjax.main --config=configs/dcgan.py:celeb_a
    python -m ganjax.main --config=configs/dcgan.py:cifar10
"""

from ml_collections import ConfigDict

FULL = {
    "batch_size": 128,
    "ema_decay": 0.999,
    "log_every": 100,
    "sample_every": 1_000,
    "eval_every": 1_000,
    "checkpoint_every": 1_000,
}

PRESETS = {
    "": {},
    # The paper's scale: F = 64, z 100, batch 128.
    "celeb_a": {
        **FULL,
        "total_steps": 100_000,
        "image_size": 64,
        "data": {"source": "tfds:celeb_a", "channels": 3, "fit": "resize"},
        "generator": {"widths": (512, 256, 128, 64)},
        "discriminator": {"widths": (64, 128, 256, 512)},
    },
    "cifar10": {
        **FULL,
        "total_steps": 100_000,
        "data": {"source": "tfds:cifar10", "channels": 3, "fit": "resize", "on_device": True},
        "generator": {"widths": (256, 128, 64)},
        "discriminator": {"widths": (64, 128, 256)},
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
            "total_steps": 2_500,
            "batch_size": 64,
            "image_size": 32,
            "data": {
                "source": "embedded:mnist5k",
                "channels": 1,
                "fit": "pad",
                "on_device": False,
            },
            "ema_decay": 0.99,
            "log_every": 1,
            "sample_every": 250,
            "eval_every": 250,
            "checkpoint_every": 250,
            "keep_checkpoints": 2,
            "latent_dim": 100,
            "generator": {
                "widths": (128, 64, 32),
                "slope": 0.0,
                "upsample": "transpose",
                "init_stddev": 0.02,
            },
            "discriminator": {
                "widths": (32, 64, 128),
                "slope": 0.2,
                "dropout": 0.0,
                "batch_norm": "all_but_first",
                "init_stddev": 0.02,
            },
            "labels": {"noise": 0.0, "flip": 0.0},
            "d_loss": "sum",
            "order": "alternating",
            "g_adam": dict(adam),
            "d_adam": dict(adam),
        }
    )
    config.update(PRESETS[preset])
    return config
