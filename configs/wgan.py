"""WGAN: a critic kept Lipschitz by clipping its weights (Arjovsky et al. 2017).

    ganjax train wgan           digits at 32x32, 6 minutes on two CPU cores
    ganjax train wgan:celeb_a   CelebA at 64x64, for a GPU or TPU

Where a preset departs from the paper, it is marked as a choice.
"""

from ganjax.algorithms import gan
from ganjax.algorithms.optimisers import RmspropFields
from ganjax.config import defaults, presets


def wgan(learning_rate, **scale):
    """Returns the method's config, for any images, with DCGAN's networks."""
    config = gan.base(batch_size=64, latent_dim=100, **scale)
    config.loss = "wasserstein"
    config.weight_clip = 0.01
    config.n_critic = 5
    config.g_optimiser = defaults(RmspropFields, learning_rate=learning_rate)
    config.d_optimiser = defaults(RmspropFields, learning_rate=learning_rate)
    return config


def digits():
    config = wgan(
        learning_rate=2e-4,  # Not 5e-5, for a shorter run (choice).
        total_steps=2_000,  # Length and widths are for a few minutes on two cores (choice).
        image_size=32,
        data={"source": "embedded:mnist5k", "channels": 1, "fit": "pad"},
    )
    config.generator.widths = (128, 64, 32)
    config.discriminator.widths = (32, 64, 128)
    config.ema.decay = 0.99  # (choice)
    config.sample_every = config.eval_every = config.checkpoint_every = 250
    return config


def celeb_a():
    """Returns Arjovsky et al. 2017, algorithm 1: RMSProp 5e-5, clip 0.01, n_critic 5, batch 64.

    The paper's images are LSUN's; the length is a choice.
    """
    data = {"source": "tfds:celeb_a"}
    return gan.at_scale(wgan(learning_rate=5e-5, total_steps=200_000, image_size=64, data=data))


get_config = presets(digits, celeb_a)
