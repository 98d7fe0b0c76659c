"""The smallest DCGAN, at 8x8, its train steps, and augmentations for it."""

from functools import partial

import jax
import numpy as np
from initial import initial
from small import shipped, shrink

from ganjax.engine.step import init_state, make_train_step
from ganjax.ops.lowering import native_convolutions
from ganjax.training import schema

FIXED = {"name": "fixed", "p": 0.5}
R_T = {"name": "r_t", "reals_to_one": 500, "p_max": 0.8}
ACCURACY = {"name": "accuracy"}
KERAS = {"policy": "keras"}
ADA = {"policy": "ada", "families": ("blit", "geometric", "colour", "filter", "corrupt")}
DIFFAUGMENT = {"policy": "diffaugment"}


def tiny_dcgan():
    """Returns the config of the smallest DCGAN, which a test may change."""
    config = shrink(shipped("dcgan"))
    config.image_size, config.data.fit = 8, "resize"
    config.generator.widths = config.discriminator.widths = (4,)
    config.discriminator.batch_norm = "all"
    return config


def build(config):
    """Returns the algorithm of a config."""
    loaded, module = schema.load(config)
    return module.build(loaded)


def train_steps(algorithm, count):
    """Yields the state and the metrics after each of `count` steps, all on the same batch."""
    key, random = jax.random.key(0), np.random.RandomState(0)
    phase = algorithm.phases[0]
    shape = (algorithm.real_batches, phase.batch_size)
    batch = {
        "image": random.randint(0, 256, (*shape, 8, 8, 1)).astype(np.uint8),
        "label": random.randint(0, algorithm.num_classes, shape).astype(np.int32),
    }
    state = initial(partial(init_state, algorithm), key)
    step = jax.jit(make_train_step(algorithm), static_argnames="phase", donate_argnames="state")
    for _ in range(count):
        # How convolutions are computed does not matter here, and native ones compile faster.
        with native_convolutions():
            state, metrics = step(state, batch, key, phase=phase)
        yield jax.tree.map(np.asarray, state), {name: float(v) for name, v in metrics.items()}
