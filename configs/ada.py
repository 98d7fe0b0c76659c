"""Adaptive discriminator augmentation (Karras et al. 2020), in the form of Keras' example.

    ganjax train ada                           400 emoji at 32x32, 10 minutes on two CPU cores
    ganjax train ada:emoji64                   all emoji at 64x64, at full width
    ganjax train ada:caltech_birds2011         birds, the setting of the example, for a GPU or TPU
    ganjax train ada:caltech_birds2011_short   the first ten epochs of these birds alone
    ganjax train ada:celeb_a_keras             CelebA in the setting of the example
    ganjax train ada:cifar10                   CIFAR-10 by the paper's pipeline and controller
    ganjax train ada:celeb_a                   CelebA at 64x64 by those of the paper
    ganjax train ada:folder                    your images, by --config.data.source=folder:PATH
    ganjax sample --workdir=runs/ada_caltech_birds2011 --num=18 --columns=6

The example's KID is of Keras' Inception v3, whose weights `pip install 'ganjax[h5py]'` reads:
`--config.evaluation.features=keras_inception --config.evaluation.best=kid_keras_inception`.
Where a preset departs from the example or the paper, it is marked as a choice.
"""

from ganjax.algorithms import gan
from ganjax.augment import AdaFields, KerasFields
from ganjax.config import defaults, presets

# The example's size and widths.
AT_64 = {"image_size": 64, "widths": (128, 128, 128, 128)}


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
    config.ema.update(decay=0.99, warm_up=False)
    config.sample_grid = (3, 6)
    config.evaluation.update(metrics=("kid",), num_samples=500, best="kid_efflite0")
    return config


def emoji32():
    config = keras(
        widths=(64, 64, 64),
        learning_rate=2e-3,  # So few steps need ten times the example's rate (choice).
        total_steps=5_000,  # Length, batch and widths are for ten minutes on two cores (choice).
        batch_size=32,
        image_size=32,
        data={"source": "embedded:emoji64", "num_examples": 400},
    )
    config.sample_every = config.eval_every = config.checkpoint_every = 500
    config.steps_per_dispatch = 10  # A step is so short that to start it counts (choice).
    return config


def emoji64():
    data = {"source": "embedded:emoji64"}
    return keras(total_steps=20_000, batch_size=32, data=data, **AT_64)  # (choice)


def epochs(count, steps, **scale):
    """Returns the example's networks at its own size, for `count` epochs of `steps` steps.

    Each epoch is evaluated on 45 batches of held-out images.
    """
    config = keras(total_steps=count * steps, batch_size=128, **AT_64, **scale)
    config.log_every = config.eval_every = config.checkpoint_every = steps
    config.evaluation.update(metrics=("kid", "kid_batch"), num_samples=45 * 128)
    return config


def birds(count):
    """Returns `count` epochs of 46 batches of 5,994 images, none repeated; a picture every five."""
    data = {"source": "tfds:caltech_birds2011", "fit": "bounding_box"}
    config = epochs(count, 46, data=data)
    config.sample_every = 5 * 46
    return config


def caltech_birds2011():
    """Returns the example for 400 epochs, after which it makes good images."""
    return birds(400)


def caltech_birds2011_short():
    """Returns the 10 epochs that the example shows, over which its p grows from .002 to .047.

    The KIDs that it prints, 9.10 8.35 6.81 5.23 3.90 6.60 3.36 3.14 2.94 2.91, are of another
    feature network than efflite0 and do not compare with its; they have not been reproduced here.
    """
    return birds(10)


def celeb_a_keras():
    """Returns the example's form on CelebA, for its author's 25 epochs, of 1,271 batches.

    Images are the whole central squares (choice: there 140 of their 178 pixels).
    """
    config = epochs(25, 1_271, data={"source": "tfds:celeb_a"})
    config.sample_every = 1_271
    return config


def paper(**scale):
    """Returns the pipeline and controller of Karras et al. 2020, sections 2.3 and 3.

    It has the three families of transforms that help, a target r_t of 0.6, and a p that can rise
    from 0 to 1 within 500,000 reals, up to 0.8, where section 2.2 sees leaks begin (choice, as
    the length). Networks, optimisers, average and order are the example's (choice).
    """
    config = keras(total_steps=100_000, batch_size=128, **scale)
    config.augment = defaults(AdaFields, measure_leaks=True)
    config.augment.controller.p_max = 0.8
    config.log_every = 100
    config.evaluation.num_samples = 5_000
    return config


def cifar10():
    return paper(
        widths=(128, 128, 128), image_size=32, data={"source": "tfds:cifar10", "on_device": True}
    )


def celeb_a():
    return paper(data={"source": "tfds:celeb_a"}, **AT_64)


def folder():
    return paper(data={"source": "folder:images", "mirror": True}, **AT_64)


get_config = presets(
    emoji32,
    emoji64,
    caltech_birds2011,
    caltech_birds2011_short,
    celeb_a_keras,
    cifar10,
    celeb_a,
    folder,
)
