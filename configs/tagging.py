"""Image tagging by a conditional GAN over word vectors (Mirza & Osindero 2014, section 4.2).

    ganjax train tagging         emoji by their features, minutes on two CPU cores
    ganjax train tagging:paper   your arrays, by --config.data.source=arrays:FOLDER
    ganjax tag --workdir=runs/tagging image.png
    python -m experiments.tagging --workdir=runs/tagging

Word vectors are trained by gensim (`pip install 'ganjax[tagging]'`) and kept in the run's folder.
Where a preset departs from the paper, it is marked as a choice.
"""

from ganjax.algorithms import tagging
from ganjax.algorithms.optimisers import PAPER_SGD, AdamFields, SgdFields
from ganjax.config import defaults, presets


def paper():
    """Returns the paper's networks on features of 4,096 numbers, with its schedules for MNIST."""
    config = tagging.base(
        total_steps=100_000,  # (choice)
        batch_size=100,
        latent_dim=100,
        data={"source": "arrays:tagging", "feature_dim": 4_096},
    )
    config.latent = "uniform"
    config.g_optimiser = defaults(SgdFields, **PAPER_SGD)
    config.d_optimiser = defaults(SgdFields, **PAPER_SGD)
    config.evaluation.best = "precision_at_10"
    return config


def emoji():
    config = paper()
    config.data.update(source="embedded:emoji64", feature_dim=1_280)
    config.total_steps = 600
    config.latent = "normal"  # (choice)
    # Adam learns within minutes, and five times faster than images are made (choice).
    config.g_optimiser = defaults(AdamFields, learning_rate=1e-3)
    config.d_optimiser = defaults(AdamFields, learning_rate=1e-3)
    # Without dropout both learn more in as many steps (choice).
    config.generator.dropout = config.discriminator.dropout = 0.0
    # Penalties smooth D, which else tells words from all that lies between them (choice).
    config.penalty.r1 = config.penalty.r2 = 10.0
    config.ema.decay = 0.99  # (choice)
    config.sample_grid = (2, 8)
    config.eval_every = config.checkpoint_every = 300
    config.sample_every = 600
    return config


get_config = presets(emoji, paper)
