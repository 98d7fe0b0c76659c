"""SNGAN: residual networks, spectral normalisation, hinge loss (Miyato et al. 2018).

    ganjax train sngan                      digits at 32x32, minutes on two CPU cores
    ganjax train sngan:projection           digits by label (Miyato & Koyama 2018)
    ganjax train sngan:cifar10              CIFAR-10 at the papers' scale, for a GPU or TPU
    ganjax train sngan:cifar10_projection   CIFAR-10 by label at the papers' scale
    ganjax sample labels --workdir=runs/sngan_projection

Labels come in by a projection discriminator and conditional BatchNorm. Where a preset departs
from the papers, it is marked as a choice.
"""

from ganjax.algorithms import gan
from ganjax.config import defaults, presets
from ganjax.models import resnet


def sngan(**scale):
    """Returns the method's config, for any images."""
    config = gan.base(batch_size=64, image_size=32, **scale)
    config.loss = "hinge"
    config.d_batches = "joint"
    config.generator = defaults(resnet.GeneratorFields)
    config.discriminator = defaults(
        resnet.DiscriminatorFields,
        spectral_norm=True,
        final_size=8,
        slope=0.0,
        batch_norm="none",
        init_stddev=0.0,
    )
    for optimiser in (config.g_optimiser, config.d_optimiser):
        optimiser.update(b1=0.0, b2=0.9)
    return config


def digits():
    data = {"source": "embedded:mnist5k", "channels": 1, "fit": "pad"}
    # Length, widths and z, two updates of D and a high, constant rate are for few minutes (choice:
    # docs/results/digits.md).
    config = sngan(total_steps=1_500, latent_dim=64, data=data)
    config.n_critic = 2
    config.g_optimiser.learning_rate = config.d_optimiser.learning_rate = 1e-3
    config.generator.widths = (64, 32, 16)
    config.discriminator.widths = (16, 32, 32, 32)
    config.ema.decay = 0.995  # (choice)
    config.sample_every = config.eval_every = config.checkpoint_every = 250
    return config


def by_label(config):
    """Returns the config with labels, by a projection discriminator and conditional BatchNorm."""
    config.data.update(label="label", num_classes=10)
    config.conditioning.update(
        generator="batch_norm", discriminator="projection", fake_labels="uniform"
    )
    return config


def projection():
    config = by_label(digits())
    config.ema.decay = 0.99  # (choice)
    return config


def cifar10():
    """Returns the setting of Miyato et al. 2018, table 4.

    It has 100,000 updates of G (the paper: 50,000 to 100,000), n_critic 5, batches of 64, and Adam
    with betas of 0 and 0.9 and a rate that falls from 2e-4 to 0.
    """
    data = {"source": "tfds:cifar10", "on_device": True}
    config = sngan(total_steps=100_000, latent_dim=128, data=data)
    config.discriminator.widths = (128, 128, 128, 128)
    config.n_critic = 5
    config.g_optimiser.decay = config.d_optimiser.decay = "linear"
    return gan.at_scale(config)


def cifar10_projection():
    return by_label(cifar10())


get_config = presets(digits, projection, cifar10, cifar10_projection)
