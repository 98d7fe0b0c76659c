"""ProGAN: networks that grow from 4x4 pixels (Karras et al. 2017).

Embedded digits, 4x4 to 32x32, about 12 minutes on one CPU core:
    python -m ganjax.main --config=configs/progan.py
    python -m ganjax.sample resolutions --workdir=runs/progan
    python -m ganjax.sample arithmetic --label=0 --frames=8 --workdir=runs/progan

Embedded emoji, 4x4 to 64x64:
    python -m ganjax.main --config=configs/progan.py:emoji64

CelebA at 64x64, and CelebA-HQ at 1024x1024 as in the paper, for GPUs or TPUs:
    python -m ganjax.main --config=configs/progan.py:celeb_a_64
    python -m ganjax.main --config=configs/progan.py:celeb_a_hq_1024

The same networks at full resolution from the start:
    python -m ganjax.main --config=configs/progan.py --workdir=runs/progan_not_grown \\
        '--config.growth.batch_sizes=()' '--config.growth.learning_rates=()'
"""

from ml_collections import ConfigDict

# The paper's: min(16384 / size, 512) at sizes 4, 8, ... 1024.
WIDTHS = (512, 512, 512, 512, 256, 128, 64, 32, 16)

PRESETS = {
    "": {},
    "emoji64": {
        "total_steps": 16_500,
        "evaluation": {"metrics": ("kid",), "num_samples": 1_000},
        "batch_size": 16,
        "image_size": 64,
        "data": {"source": "embedded:emoji64", "num_classes": 8, "channels": 3},
        "latent_dim": 128,
        "generator": {"widths": (128, 128, 64, 32, 16)},
        "discriminator": {"widths": (128, 128, 64, 32, 16)},
        "growth": {
            "batch_sizes": (32, 32, 32, 32),
            "learning_rates": (1e-3,) * 4,
            "fade_reals": 48_000,
            "stabilise_reals": 48_000,
        },
    },
    # Growth of 600,000 + 600,000 reals a resolution, batches as in the authors' code for one GPU.
    "celeb_a_64": {
        "total_steps": 79_690,
        "evaluation": {"metrics": ("kid",), "num_samples": 5_000},
        "batch_size": 32,
        "image_size": 64,
        "data": {
            "source": "tfds:celeb_a",
            "label": "attributes/Smiling",
            "num_classes": 2,
            "channels": 3,
            "mirror": True,
        },
        "log_every": 100,
        "sample_every": 1_000,
        "eval_every": 1_000,
        "checkpoint_every": 1_000,
        "latent_dim": 512,
        "generator": {"widths": WIDTHS[:5]},
        "discriminator": {"widths": WIDTHS[:5]},
        "growth": {
            "batch_sizes": (128, 128, 128, 64),
            "learning_rates": (1e-3,) * 4,
            "fade_reals": 600_000,
            "stabilise_reals": 600_000,
        },
        "ema": {"decay": 0.999, "half_life": 0, "ramp_up": 0.0},
    },
    # The paper's: 800,000 + 800,000 reals a resolution, 13.6 million in all.
    "celeb_a_hq_1024": {
        "total_steps": 1_206_250,
        "evaluation": {"metrics": ("kid",), "num_samples": 5_000},
        "batch_size": 4,
        "image_size": 1024,
        "data": {
            "source": "tfds:celeb_a_hq/1024",
            "label": "",
            "num_classes": 1,
            "channels": 3,
            "mirror": True,
        },
        "log_every": 100,
        "sample_every": 5_000,
        "eval_every": 5_000,
        "checkpoint_every": 5_000,
        "latent_dim": 512,
        "generator": {"widths": WIDTHS},
        "discriminator": {"widths": WIDTHS},
        "growth": {
            "batch_sizes": (128, 128, 128, 64, 32, 16, 8, 4),
            "learning_rates": (1e-3,) * 8,
            "fade_reals": 800_000,
            "stabilise_reals": 800_000,
        },
        "g_optimiser": {"learning_rate": 1.5e-3},
        "d_optimiser": {"learning_rate": 1.5e-3},
        "ema": {"decay": 0.999, "half_life": 0, "ramp_up": 0.0},
    },
}


def get_config(preset: str = "") -> ConfigDict:
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r}: there are {', '.join(filter(None, PRESETS))}")
    adam = {
        "name": "adam",
        "learning_rate": 1e-3,
        "b1": 0.0,
        "b2": 0.99,
        "eps": 1e-8,
        "decay": "none",
    }
    config = ConfigDict(
        {
            "algorithm": "progan",
            "seed": 0,
            "num_seeds": 1,
            "total_steps": 4_200,
            "batch_size": 16,
            "image_size": 32,
            "precision": "float32",
            "accumulate": 1,
            "remat": False,
            "steps_per_dispatch": 1,
            "sharding": "replicated",
            "data": {
                "source": "embedded:mnist5k",
                # The networks take none: for `ganjax.sample arithmetic`.
                "label": "label",
                "num_classes": 10,
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
            # KIDs of two resolutions do not compare, so there is no best.
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
            "generator": {"network": "progan", "widths": (48, 48, 32, 16), "slope": 0.2},
            "discriminator": {"network": "progan", "widths": (48, 48, 32, 16), "slope": 0.2},
            "batch_norm": {"scale": True, "momentum": 0.9, "epsilon": 1e-5},
            "augment": {"policy": "none"},
            "growth": {
                "batch_sizes": (32, 32, 16),
                "learning_rates": (1e-3,) * 3,
                "fade_reals": 12_000,
                "stabilise_reals": 12_000,
            },
            "drift": 0.001,
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
            "ema": {"decay": 0.0, "half_life": 2_000, "ramp_up": 0.05},
        }
    )
    config.update(PRESETS[preset])
    return config
