"""A conditional algorithm whose samples tell what they were made from, exactly.

Trained it is WGAN-GP. A sample's left half has the level of z[0], its right that of the label.
"""

import jax.numpy as jnp
import numpy as np

from ganjax.algorithms import gan

Config = gan.Config
CLASSES = 10
# The shape of z, each time that the sampler is traced, which is once a compilation.
traced = []


def build(config):
    def sample(params, vars, z, label, phase):
        traced.append(z.shape)
        levels = jnp.stack([z[:, 0] / 4, label / (CLASSES - 1) * 2 - 1], axis=1)
        halves = levels.repeat(phase.image_size // 2, axis=1)[:, None, :, None]
        side = phase.image_size
        return jnp.broadcast_to(halves, (len(z), side, side, config.data.channels))

    return gan.build(config)._replace(sample=sample, num_classes=CLASSES)


def decode(images):
    """(z[0], label) of samples: z[0] to 0.02, half a level, if it is no more than 4."""
    middle = images.shape[2] // 2
    assert (images[:, :, :middle] == images[:, :1, :1]).all()
    assert (images[:, :, middle:] == images[:, :1, -1:]).all()
    return (
        (images[:, 0, 0, 0] / 255 * 2 - 1) * 4,
        np.round(images[:, 0, -1, 0] / 255 * (CLASSES - 1)).astype(int),
    )
