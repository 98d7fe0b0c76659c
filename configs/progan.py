"""ProGAN: networks that grow from 4x4 pixels (Karras et al. 2017).

    ganjax train progan                   digits, 4x4 to 32x32, 12 minutes on one CPU core
    ganjax train progan:emoji64           emoji, 4x4 to 64x64
    ganjax train progan:celeb_a_64        CelebA at 64x64, for a GPU or TPU
    ganjax train progan:celeb_a_hq_1024   CelebA-HQ at 1024x1024, as long as in the paper
    ganjax sample resolutions --workdir=runs/progan
    ganjax sample arithmetic --label=0 --by=pixels --frames=8 --workdir=runs/progan

The same networks are at full resolution from the start by
`'--config.growth.batch_sizes=()' '--config.growth.learning_rates=()'`.
Where a preset departs from the paper, it is marked as a choice.
"""

from ganjax.algorithms import progan as algorithm
from ganjax.config import presets
from ganjax.engine.schedules import schedule

# The paper's widths: min(16384 / size, 512) at sizes 4, 8, ... 1024.
WIDTHS = (512, 512, 512, 512, 256, 128, 64, 32, 16)
# For so few reals as on CPUs (choice).
AVERAGE = {"half_life": schedule(start=0.0, end=2_000.0, over=40_000, form="linear")}


def progan(widths, batch_sizes, reals, rate=1e-3, **scale):
    """Returns the method's config, for any images; each fade and each rest see `reals` reals."""
    config = algorithm.base(**scale)
    config.loss = "wasserstein"
    config.penalty.weight = 10.0
    config.drift = 0.001
    config.generator.widths = config.discriminator.widths = widths
    config.growth.update(
        batch_sizes=batch_sizes,
        learning_rates=(rate,) * len(batch_sizes),
        fade_reals=reals,
        stabilise_reals=reals,
    )
    for optimiser in (config.g_optimiser, config.d_optimiser):
        optimiser.update(learning_rate=rate, b1=0.0, b2=0.99)
    return config


def digits():
    # Lengths, batches, widths, rates and z are for 12 minutes on one core, and were found on digits
    # (choice; docs/results/digits.md).
    config = progan(
        ema=AVERAGE,
        widths=(48, 48, 32, 16),
        batch_sizes=(32, 32, 16),
        reals=4_000,
        rate=4e-3,
        total_steps=4_500,
        batch_size=16,
        image_size=32,
        latent_dim=8,
        # The networks take no labels, but `ganjax sample arithmetic` does.
        data={"source": "embedded:mnist5k", "label": "label", "num_classes": 10, "channels": 1},
    )
    config.d_optimiser.learning_rate = 2e-3  # At 32x32, where G learns faster than D.
    config.sample_every = config.eval_every = config.checkpoint_every = 250
    config.steps_per_dispatch = 5  # To start a step takes some hundredths of it (choice).
    return config


def emoji64():
    config = progan(  # Lengths, batches, widths and z are for CPUs (choice).
        ema=AVERAGE,
        widths=(128, 128, 64, 32, 16),
        batch_sizes=(32, 32, 32, 32),
        reals=48_000,
        total_steps=16_500,
        batch_size=16,
        image_size=64,
        latent_dim=128,
        data={"source": "embedded:emoji64", "label": "label", "num_classes": 8},
    )
    config.sample_every = config.eval_every = config.checkpoint_every = 250
    # KIDs at two resolutions cannot be compared, so there is no best.
    config.evaluation.metrics = ("kid",)
    return config


def celeb_a_64():
    """Returns 600,000 + 600,000 reals a resolution, in batches of the authors' code for one GPU.

    The paper's are 800,000 + 800,000, its largest images 1024x1024 (choice).
    """
    config = progan(
        widths=WIDTHS[:5],
        batch_sizes=(128, 128, 128, 64),
        reals=600_000,
        total_steps=79_690,
        batch_size=32,
        image_size=64,
        latent_dim=512,
        data={"source": "tfds:celeb_a", "label": "attributes/Smiling", "num_classes": 2},
    )
    config.data.mirror = True
    config.ema.update(decay=0.999, warm_up=False)
    config.log_every = 100
    config.evaluation.update(metrics=("kid",), num_samples=5_000)
    return config


def celeb_a_hq_1024():
    """Returns the paper's lengths; batches and rates are of the authors' code (choice)."""
    config = progan(
        widths=WIDTHS,
        batch_sizes=(128, 128, 128, 64, 32, 16, 8, 4),
        reals=800_000,
        total_steps=1_206_250,
        batch_size=4,
        image_size=1024,
        latent_dim=512,
        data={"source": "tfds:celeb_a_hq/1024", "mirror": True},
    )
    config.g_optimiser.learning_rate = config.d_optimiser.learning_rate = 1.5e-3
    config.ema.update(decay=0.999, warm_up=False)
    config.log_every = 100
    config.sample_every = config.eval_every = config.checkpoint_every = 5_000
    config.evaluation.update(metrics=("kid",), num_samples=5_000)
    return config


get_config = presets(digits, emoji64, celeb_a_64, celeb_a_hq_1024)
