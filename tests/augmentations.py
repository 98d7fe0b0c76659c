"""Random images, and every policy of augmentation with all of its transforms."""

import jax.numpy as jnp
import numpy as np
import scipy

from ganjax.augment import ada, diffaugment, keras

SIZE = 16
RANGES = ((-1.0, 1.0), (0.0, 1.0))


def images(n=4, size=SIZE, value_range=(-1.0, 1.0), smooth=0.0):
    """Returns RGB images (n, size, size, 3) of noise, blurred by a Gaussian of `smooth` pixels.

    A pair in place of the size is their height and width.
    """
    low, high = value_range
    height, width = (size, size) if isinstance(size, int) else size
    x = np.random.RandomState(0).rand(n, height, width, 3)
    if smooth:
        x = scipy.ndimage.gaussian_filter(x, (0, smooth, smooth, 0), mode="mirror")
    return jnp.asarray(x * (high - low) + low, jnp.float32)


def policies(value_range):
    """Returns each policy with all of its transforms, by its name."""
    return {
        "keras": keras.make_transform(0.125, 0.125, 0.25),
        "ada": ada.make_transform(tuple(ada.FAMILIES), value_range, {}),
        "diffaugment": diffaugment.make_transform(tuple(diffaugment.FAMILIES), value_range),
    }


NAMES = tuple(policies((0.0, 1.0)))


def every(family, p):
    """Returns the probability p for each transform of a family, by the transform's name."""
    return dict.fromkeys(family.TRANSFORMS, p)
