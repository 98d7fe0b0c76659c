"""WGAN-GP: a critic kept 1-Lipschitz by a penalty on its gradient (Gulrajani et al. 2017).

    ganjax train wgan_gp            digits at 32x32, minutes on two CPU cores
    ganjax train wgan_gp:celeb_a    CelebA at 64x64 at the paper's scale, for a GPU or TPU
    ganjax train wgan_gp:tutorial   CelebA in the form of Keras tutorials
    ganjax train wgan_gp:folder     your images at 64x64, by --config.data.source=folder:PATH
    ganjax train wgan_gp --config.penalty.side=one --workdir=runs/one_sided

Any field can be set so. Where a preset departs from the paper, it is marked as a choice.
"""

from ganjax.algorithms import gan
from ganjax.algorithms.optimisers import AdamFields
from ganjax.config import defaults, presets
from ganjax.engine.schedules import schedule

AT_64 = {"image_size": 64, "latent_dim": 128}
CELEB_A = {"source": "tfds:celeb_a"}


def wgan_gp(**scale):
    """Returns the method's config, for any images, with DCGAN's networks."""
    config = gan.base(**scale)
    config.loss = "wasserstein"
    config.penalty.weight = 10.0
    config.generator.slope = 0.2  # As in the critic (choice).
    config.discriminator.batch_norm = "none"  # It would tie the samples of a batch together.
    config.g_optimiser.b2 = config.d_optimiser.b2 = 0.9
    return config


def digits():
    """Returns numbers for digits on two cores, all of them choices (docs/results/digits.md).

    One update of the critic by few images, falling rates, G's twice the critic's, a penalty three
    times as heavy, and few latents make better digits in the same time than the paper's numbers.
    """
    steps, batch_size = 11_000, 16
    config = wgan_gp(
        total_steps=steps,
        batch_size=batch_size,
        image_size=32,
        latent_dim=5,
        data={"source": "embedded:mnist5k", "channels": 1, "fit": "pad"},
    )
    config.penalty.weight = 30.0
    config.generator.update(widths=(128, 64, 32), slope=0.0)  # ReLU, as in DCGAN.
    config.discriminator.widths = (32, 64, 128)
    for player, rate in (("g_optimiser", 3e-3), ("d_optimiser", 1.5e-3)):
        falling = schedule(start=rate, end=rate / 10, over=steps * batch_size)
        config[player] = defaults(AdamFields, learning_rate=falling, b1=0.0, b2=0.99)
    config.ema.decay = 0.999
    config.sample_every = 1_000
    config.eval_every = config.checkpoint_every = 2_000
    config.steps_per_dispatch = 10  # A step is so short that to start it counts.
    return config


def paper(data):
    """Returns Gulrajani et al. 2017, algorithm 1: n_critic 5, Adam 1e-4 with betas 0 and 0.9.

    The paper has no such images at 64x64: they, networks and length are choices.
    """
    config = wgan_gp(total_steps=200_000, batch_size=64, data=data, **AT_64)
    config.n_critic = 5
    for optimiser in (config.g_optimiser, config.d_optimiser):
        optimiser.update(learning_rate=1e-4, b1=0.0)
    return gan.at_scale(config)


def celeb_a():
    return paper(CELEB_A)


def folder():
    return paper({"source": "folder:images", "mirror": True})


def tutorial():
    """Returns the form of Keras tutorials, for 200 epochs of 317 batches.

    The critic is updated three times by the same reals. Penalty points have weights of N(0, 1),
    which extrapolate. Kernels are Glorot's, BatchNorm's epsilon is 1e-3 and Adam's 1e-7, as Keras'
    layers and optimisers have them, and G has no average.
    """
    config = wgan_gp(total_steps=63_400, batch_size=512, data=CELEB_A, **AT_64)
    config.n_critic = 3
    config.critic_reals = "shared"
    config.penalty.points = "normal"
    config.generator.update(init_stddev=0.0, output_bias=True)
    config.discriminator.update(init_stddev=0.0, dropout=0.3, dropout_after="all_but_first")
    config.batch_norm.epsilon = 1e-3
    for optimiser in (config.g_optimiser, config.d_optimiser):
        optimiser.update(b2=0.999, eps=1e-7)
    config.sample_every = config.eval_every = config.checkpoint_every = 317
    return config


get_config = presets(digits, celeb_a, tutorial, folder)
