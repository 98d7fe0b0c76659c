"""WGAN-GP (Gulrajani et al. 2017).

Embedded digits at 32x32, about 7 minutes on two CPU cores:
    python -m ganjax.main --config=configs/wgan_gp.py

CelebA at 64x64 at the paper's scale, for a GPU or TPU:
    python -m ganjax.main --config=configs/wgan_gp.py:celeb_a

Any field from the command line:
    python -m ganjax.main --config=configs/wgan_gp.py --config.penalty.side=one
"""

from ml_collections import ConfigDict

PRESETS = {
    "": {},
    # Gulrajani et al. 2017, algorithm 1: n_critic 5, Adam 1e-4 (0, .9).
    "celeb_a": {
        "total_steps": 200_000,
        "image_size": 64,
        "data": {"source": "tfds:celeb_a", "channels": 3, "fit": "resize"},
        "ema_decay": 0.999,
        "log_every": 100,
        "sample_every": 1_000,
        "eval_every": 1_000,
        "checkpoint_every": 1_000,
        "latent_dim": 128,
        "generator": {"widths": (512, 256, 128, 64)},
        "critic": {"widths": (64, 128, 256, 512)},
        "n_critic": 5,
        "g_adam": {"learning_rate": 1e-4, "b1": 0.0},
        "d_adam": {"learning_rate": 1e-4, "b1": 0.0},
    },
}


def get_config(preset: str = "") -> ConfigDict:
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r}: there are {', '.join(filter(None, PRESETS))}")
    adam = {"learning_rate": 2e-4, "b1": 0.5, "b2": 0.9, "eps": 1e-8}
    config = ConfigDict(
        {
            "algorithm": "wgan_gp",
            "seed": 0,
            "total_steps": 1_900,
            "batch_size": 64,
            "image_size": 32,
            "data": {
                "source": "embedded:mnist5k",
                "channels": 1,
                "fit": "pad",
                "on_device": False,
            },
            "ema_decay": 0.99,
            "log_every": 10,
            "sample_every": 100,
            "eval_every": 100,
            "checkpoint_every": 200,
            "keep_checkpoints": 2,
            "latent_dim": 64,
            "generator": {
                "widths": (128, 64, 32),
                "slope": 0.2,
                "upsample": "transpose",
                "init_stddev": 0.02,
            },
            "critic": {
                "widths": (32, 64, 128),
                "slope": 0.2,
                "dropout": 0.0,
                "batch_norm": False,
            },
            "penalty": {"weight": 10.0, "target": 1.0, "side": "two", "alpha": "uniform"},
            "order": "alternating",
            "n_critic": 3,
            "critic_reals": "fresh",
            "g_adam": dict(adam),
            "d_adam": dict(adam),
        }
    )
    config.update(PRESETS[preset])
    return config
