"""Train steps of whole systems for tests that compare devices."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from initial import initial

from ganjax.engine import step as steps
from ganjax.ops.lowering import native_convolutions
from ganjax.parallel.sharding import make_layout, on_devices, state_sharding
from ganjax.runtime import compiling
from ganjax.training import domain, schema

# A config of every kind; DCGAN is like its noisy form, and WGAN-GP like its conditional one.
SYSTEMS = ["ada", "cgan", "cwgan_gp", "dcgan_noisy", "progan", "r3gan", "sngan", "tagging", "wgan"]


def drawn(random, shape, dtype, config):
    """Random pixels, labels or numbers of a shape, by their dtype."""
    if dtype == jnp.uint8:
        return random.randint(0, 256, shape, np.uint8)
    if dtype == jnp.int32:
        return random.randint(0, config.data.num_classes, shape).astype(np.int32)
    return random.randn(*shape).astype(dtype)


def two_steps(config, devices, mode):
    """Trains two steps of every phase on devices, in float64.

    In float32, Adam would turn gradients near zero, which sums over devices round differently, into
    steps of full size, so that no tight tolerance would hold.

    Args:
      config: the config.
      devices: the devices that share each batch.
      mode: the sharding of the state, a value of config.sharding.

    Returns:
      The pair (state, metrics of each step) on the host, and the state on the devices.
    """
    loaded, module = schema.load(config)
    algorithm, layout = module.build(loaded), make_layout(devices)
    random = np.random.RandomState(0)
    # How convolutions are computed does not matter here, and native ones compile faster.
    with native_convolutions(), jax.enable_x64(True):
        key = jax.device_put(jax.random.key(0), layout.replicated)
        state = jax.tree.map(
            lambda leaf: (
                leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
            ),
            initial(partial(steps.init_state, algorithm), jax.random.key(0)),
        )
        shardings = state_sharding(layout, state, mode)
        state = jax.device_put(state, shardings)
        step = jax.jit(
            steps.make_train_step(on_devices(algorithm, layout, mode), sharding=layout.batch),
            static_argnames="phase",
            out_shardings=(shardings, layout.replicated),
            compiler_options=compiling.options("cpu"),
        )
        metrics_of_steps = []
        for phase in algorithm.phases:
            if phase.start:
                state = jax.device_put(algorithm.begin(state, phase), shardings)
            shape = (algorithm.real_batches, phase.batch_size)
            reals = {
                name: drawn(random, (*shape, *each.shape), each.dtype, loaded)
                for name, each in domain.of(schema.Loaded(loaded, module)).shapes(phase).items()
            }
            for _ in range(2):
                batch = jax.device_put(reals, layout.batches)
                state, metrics = step(state, batch, key, phase=phase)
                metrics_of_steps.append(metrics)
        return jax.device_get((state, metrics_of_steps)), state
