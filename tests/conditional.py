"""A conditional algorithm whose samples show exactly from which latent and label they were made.

In training it is WGAN-GP. The left half of a sample has the grey of z[0], and the right half that
of the label.
"""

import jax.numpy as jnp
import numpy as np

from ganjax.algorithms import gan

Config = gan.Config
CLASSES = 10
# The shape of z at each tracing of the sampler, which is one for each compilation.
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
    """Returns z[0] and the label of each sample; z[0], at most 4, is exact to half a grey level."""
    middle = images.shape[2] // 2
    assert (images[:, :, :middle] == images[:, :1, :1]).all()
    assert (images[:, :, middle:] == images[:, :1, -1:]).all()
    return (
        (images[:, 0, 0, 0] / 255 * 2 - 1) * 4,
        np.round(images[:, 0, -1, 0] / 255 * (CLASSES - 1)).astype(int),
    )
