"""DCGAN with dropout and noisy labels, as for 40,000 grey renders of LEGO bricks.

    ganjax train dcgan_noisy           grey emoji at 32x32, 5 minutes on two CPU cores
    ganjax train dcgan_noisy:emoji64   grey emoji at 64x64, at full width
    ganjax train dcgan_noisy:folder    a folder of images, --config.data.source=folder:PATH
    ganjax train dcgan_noisy:keras     such a folder, with initialisation and Adam as in Keras
    ganjax show dcgan_noisy:folder --config.data.source=folder:PATH

Sub-folders, sizes and formats of files do not matter. The fields discriminator.dropout,
d_optimiser.learning_rate, discriminator.widths, targets.noise and targets.flip weaken the
discriminator; both learning rates and batch_size act against mode collapse. Where a preset
departs from the form in Keras, it is marked as a choice.
"""

from ganjax.algorithms import gan
from ganjax.config import presets

EMOJI = {"source": "embedded:emoji64", "channels": 1}


def dcgan_noisy(**scale):
    """Returns the method's config, for any images.

    Kernels, BatchNorm and Adam are DCGAN's (choice).
    """
    config = gan.base(latent_dim=100, **scale)
    config.order = "simultaneous"
    config.d_halves = "mean"
    config.targets.noise = 0.1
    config.generator.slope = 0.2
    config.discriminator.dropout = 0.3
    config.sample_every = config.eval_every = config.checkpoint_every = 500
    return config


def emoji32():
    # Length, batch and widths are for a few minutes on two cores (choice).
    config = dcgan_noisy(total_steps=3_000, batch_size=64, image_size=32, data=EMOJI)
    config.generator.widths = (128, 64, 32)
    config.discriminator.widths = (32, 64, 128)
    config.ema.decay = 0.99  # (choice)
    config.steps_per_dispatch = 5  # To start a step takes some hundredths of it (choice).
    return config


def emoji64():
    config = dcgan_noisy(total_steps=20_000, batch_size=128, image_size=64, data=EMOJI)
    config.ema.decay = 0.999  # The average, like the number of steps, is a choice.
    return config


def folder():
    config = emoji64()
    config.data.source = "folder:lego"
    config.data.max_skipped = 40  # A few bad files among 40,000 are no reason not to train.
    return config


def keras():
    """Returns `folder` as Keras' layers make it, for 300 epochs of 312 batches of 40,000 images.

    Kernels are Glorot's, BatchNorm's epsilon is 1e-3 and Adam's 1e-7; no convolution has a bias,
    and G has no average.
    """
    config = folder()
    config.total_steps = 93_600
    config.generator.init_stddev = config.discriminator.init_stddev = 0.0
    config.discriminator.use_bias = False
    config.batch_norm.epsilon = 1e-3
    config.g_optimiser.eps = config.d_optimiser.eps = 1e-7
    config.ema.decay = 0.0
    config.sample_every = config.eval_every = config.checkpoint_every = 312
    return config


get_config = presets(emoji32, emoji64, folder, keras)
