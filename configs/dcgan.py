"""DCGAN: convolutional networks with BatchNorm (Radford et al. 2015).

    ganjax train dcgan            digits at 32x32, minutes on two CPU cores
    ganjax train dcgan:celeb_a    CelebA at 64x64, for a GPU or TPU
    ganjax train dcgan:cifar10    CIFAR-10, for a GPU or TPU
    ganjax train dcgan:tutorial   CelebA for five epochs, as in tutorials of PyTorch
    ganjax train dcgan:folder     your images at 64x64, by --config.data.source=folder:PATH

Where a preset departs from the paper, or the paper says nothing, it is marked as a choice.
"""

from ganjax.algorithms import gan
from ganjax.config import presets


def digits():
    """Returns numbers for digits on two cores, choices if marked (docs/results/digits.md)."""
    config = gan.base(
        total_steps=9_500,  # Length, batch and widths are for a few minutes on two cores (choice).
        batch_size=16,
        image_size=32,
        latent_dim=8,  # Of N(0, 1), as in tutorials; the paper's are 100, uniform (choice).
        data={"source": "embedded:mnist5k", "channels": 1, "fit": "pad"},
    )
    config.generator.widths = (128, 64, 32)
    config.discriminator.widths = (32, 64, 128)
    # G learns five times as fast as in the paper, and as D here (choice).
    config.g_optimiser.learning_rate = 1e-3
    config.ema.decay = 0.999  # The paper samples the generator itself (choice).
    config.sample_every = 1_000
    config.eval_every = config.checkpoint_every = 2_000
    config.steps_per_dispatch = 10  # A step is so short that to start it counts (choice).
    return config


def paper(**scale):
    """Returns the paper's widths and batches, with 100 latents of N(0, 1) (choice: see above)."""
    config = gan.base(total_steps=100_000, batch_size=128, latent_dim=100, **scale)
    config.ema.decay = 0.999  # The average, like the number of steps, is a choice.
    config.log_every = 1
    config.evaluation.update(metrics=("kid",), num_samples=5_000, best="kid_efflite0")
    return config


def celeb_a():
    return paper(image_size=64, data={"source": "tfds:celeb_a"})


def cifar10():
    config = paper(image_size=32, data={"source": "tfds:cifar10", "on_device": True})
    config.generator.widths = (256, 128, 64)  # The paper's without one doubling (choice).
    config.discriminator.widths = (64, 128, 256)
    return config


def tutorial():
    """Returns `celeb_a` for 5 epochs of 1,272 batches, without an average of G or an evaluation.

    D has BatchNorm in its first layer too, and no convolution of either player has a bias.
    """
    config = celeb_a()
    config.total_steps = 6_360
    config.discriminator.update(batch_norm="all", use_bias=False)
    config.ema.decay = 0.0
    config.evaluation.update(metrics=(), best="none")
    return config


def folder():
    return paper(image_size=64, data={"source": "folder:images", "mirror": True})


get_config = presets(digits, celeb_a, cifar10, tutorial, folder)
