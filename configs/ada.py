"""Adaptive discriminator augmentation (Karras et al. 2020), in the form of Keras' example.

400 embedded emoji at 32x32, about 10 minutes on two CPU cores:
    python -m ganjax.main --config=configs/ada.py

All embedded emoji at 64x64, at full width:
    python -m ganjax.main --config=configs/ada.py:emoji64

Birds, the setting of the example, for a GPU or TPU:
    python -m ganjax.main --config=configs/ada.py:caltech_birds2011
    python -m ganjax.sample --workdir=runs/ada_caltech_birds2011 --num=18 --columns=6

The paper's own pipeline and controller, at 32x32 and 64x64, for a GPU or TPU:
    python -m ganjax.main --config=configs/ada.py:cifar10
    python -m ganjax.main --config=configs/ada.py:celeb_a
"""

from ganjax.algorithms import gan
from ganjax.augment import AdaFields, KerasFields
from ganjax.config import defaults, presets


def keras(widths, learning_rate=2e-4, **scale):
    """Returns a config with the networks, objective and augmentation of Keras' example."""
    config = gan.base(latent_dim=64, **scale)
    config.augment = defaults(KerasFields, measure_leaks=True)
    config.order = "simultaneous"
    config.d_halves = "mean"
    config.generator.update(
        widths=widths, first_norm="unit", output_bias=True, init_stddev=0.0, output="sigmoid"
    )
    config.discriminator.update(widths=widths, batch_norm="all", final_dropout=0.4, init_stddev=0.0)
    config.batch_norm.update(scale=False, momentum=0.99, epsilon=1e-3)
    for optimiser in (config.g_optimiser, config.d_optimiser):
        optimiser.update(learning_rate=learning_rate, eps=1e-7)
    config.ema.decay = 0.99
    config.sample_grid = (3, 6)
    config.evaluation.update(metrics=("kid",), num_samples=500, best="kid_efflite0")
    return config


def emoji32():
    config = keras(
        widths=(64, 64, 64),
        learning_rate=2e-3,  # So few steps need ten times the example's rate.
        total_steps=5_000,
        batch_size=32,
        image_size=32,
        data={"source": "embedded:emoji64", "num_examples": 400},
    )
    config.sample_every = config.eval_every = config.checkpoint_every = 250
    return config


def emoji64():
    return keras(
        widths=(128, 128, 128, 128),
        total_steps=20_000,
        batch_size=32,
        image_size=64,
        data={"source": "embedded:emoji64"},
    )


def caltech_birds2011():
    """Returns the example's setting for 400 of its epochs, each five passes over 5,994 images."""
    config = keras(
        widths=(128, 128, 128, 128),
        total_steps=94_000,
        batch_size=128,
        image_size=64,
        data={"source": "tfds:caltech_birds2011", "fit": "bounding_box"},
    )
    config.log_every = 47
    config.sample_every = 1_175
    config.eval_every = config.checkpoint_every = 235
    config.evaluation.num_samples = 5_000
    return config


def paper(**scale):
    """Returns the pipeline and controller of Karras et al. 2020, sections 2.3 and 3.

    It has the three families of transforms that help, a target r_t of 0.6, and a p that can rise
    from 0 to 1 within 500,000 reals, up to 0.8, where section 2.2 sees leaks begin.
    """
    config = keras(total_steps=100_000, batch_size=128, **scale)
    config.augment = defaults(AdaFields, measure_leaks=True)
    config.augment.controller.p_max = 0.8
    config.log_every = 100
    config.evaluation.num_samples = 5_000
    return config


def cifar10():
    return paper(
        widths=(128, 128, 128),
        image_size=32,
        data={"source": "tfds:cifar10", "on_device": True},
    )


def celeb_a():
    return paper(
        widths=(128, 128, 128, 128),
        image_size=64,
        data={"source": "tfds:celeb_a"},
    )


get_config = presets(emoji32, emoji64, caltech_birds2011, cifar10, celeb_a)
