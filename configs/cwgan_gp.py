"""Conditional WGAN-GP: one-hot labels are concatenated to z and, as channels, to the image.

    ganjax train cwgan_gp           digits by label at 32x32, 8 minutes on two CPU cores
    ganjax train cwgan_gp:celeb_a   CelebA at 64x64 by one attribute, for a GPU or TPU
    ganjax train cwgan_gp:celeb_a --config.data.label=attributes/Smiling --workdir=runs/smiling
    ganjax sample labels --workdir=runs/cwgan_gp

Where a preset departs from the form of Keras tutorials, it is marked as a choice.
"""

from ganjax.algorithms import gan
from ganjax.config import presets


def cwgan_gp(**scale):
    """Returns the method's config, for any images.

    Networks, kernels, BatchNorm and Adam's epsilon are DCGAN's, penalty points WGAN-GP's, and the
    critic has no dropout (choice).
    """
    config = gan.base(latent_dim=32, **scale)
    config.loss = "wasserstein"
    config.penalty.weight = 10.0
    config.conditioning.update(generator="one_hot", discriminator="one_hot")
    config.generator.slope = 0.2
    config.discriminator.batch_norm = "none"
    return config


def digits():
    config = cwgan_gp(
        total_steps=10_000,  # Length, batch and widths are for 8 minutes on two cores (choice).
        batch_size=32,
        image_size=32,
        data={"source": "embedded:mnist5k", "label": "label", "num_classes": 10, "channels": 1},
    )
    config.data.fit = "pad"
    config.generator.widths = (128, 64, 32)
    config.discriminator.widths = (32, 64, 128)
    # The rate of Karras et al. 2017 for WGAN-GP with n_critic 1, but falling: a lower one learns
    # labels far more slowly (choice: docs/systems.md).
    for optimiser in (config.g_optimiser, config.d_optimiser):
        optimiser.update(learning_rate=1e-3, b1=0.0, b2=0.99, decay="linear")
    config.ema.decay = 0.998  # (choice)
    config.sample_every = 500
    config.eval_every = config.checkpoint_every = 1_000
    config.steps_per_dispatch = 10  # A step is so short that to start it counts (choice).
    return config


def celeb_a():
    """Returns 3 updates of the critic by the same reals and labels, which G's update has too."""
    data = {"source": "tfds:celeb_a", "label": "attributes/Blond_Hair", "num_classes": 2}
    # Tutorials stop after 20 epochs, 25,420 steps (choice).
    config = cwgan_gp(total_steps=100_000, batch_size=128, image_size=64, data=data)
    config.n_critic = 3
    config.critic_reals = "shared"
    config.g_optimiser.learning_rate = config.d_optimiser.learning_rate = 5e-5
    return gan.at_scale(config)


get_config = presets(digits, celeb_a)
