"""WGAN with weight clipping (Arjovsky et al. 2017).

Embedded digits at 32x32, for two CPU cores:
    python -m ganjax.main --config=configs/wgan.py

CelebA at 64x64, for a GPU or TPU:
    python -m ganjax.main --config=configs/wgan.py:celeb_a
"""

from ml_collections import ConfigDict

PRESETS = {
    "": {},
    # Arjovsky et al. 2017, algorithm 1: RMSProp 5e-5, clipping to 0.01, n_critic 5, batch 64.
    "celeb_a": {
        "total_steps": 200_000,
        "image_size": 64,
        "data": {"source": "tfds:celeb_a", "channels": 3, "fit": "resize"},
        "ema": {"decay": 0.999},
        "log_every": 100,
        "sample_every": 1_000,
        "eval_every": 1_000,
        "evaluation": {"metrics": ("kid",), "num_samples": 5_000, "best": "kid_efflite0"},
        "checkpoint_every": 1_000,
        "generator": {"widths": (512, 256, 128, 64)},
        "discriminator": {"widths": (64, 128, 256, 512)},
        "n_critic": 5,
        "g_optimiser": {"learning_rate": 5e-5},
        "d_optimiser": {"learning_rate": 5e-5},
    },
}


def get_config(preset: str = "") -> ConfigDict:
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r}: there are {', '.join(filter(None, PRESETS))}")
    rmsprop = {
        "name": "rmsprop",
        "learning_rate": 2e-4,
        "b2": 0.99,
        "eps": 1e-8,
        "decay": "none",
    }
    config = ConfigDict(
        {
            "algorithm": "gan",
            "seed": 0,
            "num_seeds": 1,
            "total_steps": 2_000,
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
                "slope": 0.0,
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
                "dropout_after": "all",
                "final_dropout": 0.0,
                "batch_norm": "all_but_first",
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
                "weight": 0.0,
                "target": 1.0,
                "side": "two",
                "points": "uniform",
                "r1": 0.0,
                "r2": 0.0,
                "interval": 1,
            },
            "weight_clip": 0.01,
            "order": "alternating",
            "n_critic": 5,
            "critic_reals": "fresh",
            "g_optimiser": dict(rmsprop),
            "d_optimiser": dict(rmsprop),
            "ema": {"decay": 0.99, "half_life": 0, "ramp_up": 0.0},
        }
    )
    config.update(PRESETS[preset])
    return config
