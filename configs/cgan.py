"""Conditional GAN of dense networks (Mirza & Osindero 2014).

    ganjax train cgan                 digits by label at 28x28, 4 minutes on two CPU cores
    ganjax train cgan:mnist           all of MNIST, for 100 epochs
    ganjax train cgan:tutorial        all of MNIST, as in tutorials of PyTorch
    ganjax train cgan:paper           all of MNIST, in the form of the paper
    ganjax train cgan:paper_mnist5k   the form of the paper on the embedded digits
    ganjax sample labels --workdir=runs/cgan
    python -m experiments.parzen_test --workdir=runs/cgan_paper_mnist5k

The paper has maxout, dropout and gradient descent with schedules, and stops at the best
log-likelihood of held-out images. TFDS's MNIST has no validation split, so `paper` is stopped by
its test images, whose log-likelihood is then no test figure. Where a preset departs from the
paper, or `digits` and `mnist` from tutorials, it is marked as a choice.
"""

from ganjax.algorithms import gan
from ganjax.algorithms.optimisers import PAPER_SGD, SgdFields
from ganjax.config import defaults, presets
from ganjax.models import maxout, mlp

DIGITS = {"label": "label", "num_classes": 10, "channels": 1, "fit": "pad"}


def digits():
    config = gan.base(
        total_steps=7_500,  # 107 epochs of 70 batches; tutorials have 100 (choice).
        batch_size=64,
        image_size=28,
        latent_dim=100,
        data={"source": "embedded:mnist5k", **DIGITS},
    )
    config.order = "simultaneous"
    config.d_halves = "mean"
    config.conditioning.update(
        generator="embedding", discriminator="embedding", fake_labels="uniform"
    )
    config.generator = defaults(mlp.GeneratorFields)
    config.discriminator = defaults(
        mlp.DiscriminatorFields, dropout=0.4, dropout_after="all_but_first"
    )
    config.ema.decay = 0.999  # (choice)
    config.sample_every = config.eval_every = 500
    config.checkpoint_every = 1_500
    config.steps_per_dispatch = 10  # A step is so short that to start it counts (choice).
    return config


def mnist():
    config = digits()
    config.data.source = "tfds:mnist"
    config.total_steps = 93_700  # 100 epochs of 937 batches of 60,000 images.
    config.log_every = 100
    config.sample_every = config.eval_every = config.checkpoint_every = 1_000
    config.steps_per_dispatch = 1
    return config


def tutorial():
    """Returns `mnist` with embeddings of N(0, 1), as in PyTorch, and without an average of G.

    The other presets' embeddings have unit length (choice): by N(0, 1) the generator may listen to
    the label alone.
    """
    config = mnist()
    config.conditioning.embedding_stddev = 1.0
    config.ema.decay = 0.0
    return config


def paper():
    """Returns the setting of section 4.1 of the paper.

    The paper leaves open the order of updates, the means in D's loss, how kernels start, whether
    samples have dropout, and how long a better likelihood is waited for (choice); it has no average
    of G, whose samples are those here (choice).
    """
    config = mnist()
    config.total_steps = 300_000
    config.batch_size = 100
    config.latent = "uniform"
    config.conditioning.update(generator="one_hot", discriminator="one_hot", fake_labels="reals")
    # The latent alone does not tell the samples of a class apart, and D's kernels start small lest
    # it wins at once (docs/systems.md).
    config.generator = defaults(maxout.GeneratorFields, init_stddev=0.05, sample_dropout=True)
    config.discriminator = defaults(maxout.DiscriminatorFields, init_stddev=0.005)
    config.g_optimiser = defaults(SgdFields, **PAPER_SGD)
    config.d_optimiser = defaults(SgdFields, **PAPER_SGD)
    config.evaluation.update(log_likelihood=1_000, best="val_log_likelihood", patience=20)
    return config


def paper_mnist5k():
    """Returns the paper's setting on 4,000 of the embedded digits.

    The 500 that are held out choose where training stops, and the 500 that are left choose nothing:
    `python -m experiments.parzen_test` scores them.
    """
    config = paper()
    config.data.update(source="embedded:mnist5k", num_examples=4_000)
    config.log_every = 40  # The batches of an epoch.
    return config


get_config = presets(digits, mnist, tutorial, paper, paper_mnist5k)
