"""A run's sizes against the memory that there is, before anything of these sizes is allocated.

Each estimate counts only arrays that a run certainly holds, so that nothing is refused that fits;
`ganjax.planning.dry_run` says what a run needs in all.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from ganjax.config import AUTO, ConfigError
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.phases import Phase
from ganjax.parallel.sharding import Layout
from ganjax.runtime import memory
from ganjax.training.domain import Domain, Need
from ganjax.training.schema import LoopConfig


def check(
    config: LoopConfig,
    domain: Domain,
    algorithm: Algorithm,
    state: Any,
    layout: Layout,
    sharding: Any,
) -> None:
    """Checks that the memory of a device holds the largest arrays of a run.

    Args:
      config: the run's config.
      domain: what the run is about.
      algorithm: its algorithm.
      state: the shapes of one member's state.
      layout: the layout of arrays on the devices.
      sharding: the sharding of one member's state: one for all leaves, or a tree of them.

    Raises:
      ConfigError: one of them is larger than the memory.
    """
    here = [each for each in layout.mesh.devices.flat if each.process_index == jax.process_index()]
    room = memory.of_device(here[0], len(here))
    for what, count, mend in _needs(config, domain, algorithm, state, layout, sharding):
        if count > room:
            raise ConfigError(
                f"{what} take {memory.described(count)} on a device, whose memory holds "
                f"{memory.described(room)}: {mend}"
            )


def state_bytes(state: Any) -> int:
    """Returns the bytes of one member's state, given its shapes."""
    return sum(map(_bytes, jax.tree.leaves(state)))


def latent_bytes(algorithm: Algorithm) -> int:
    """Returns the bytes of one latent."""
    return _bytes(jax.eval_shape(lambda: algorithm.latent(jax.random.key(0), 1)))


def _needs(
    config: LoopConfig,
    domain: Domain,
    algorithm: Algorithm,
    state: Any,
    layout: Layout,
    sharding: Any,
) -> list[Need]:
    members = math.ceil(config.num_seeds / layout.mesh.shape.get("seed", 1))
    of_state = members * sum(
        jax.tree.leaves(jax.tree.map(_bytes, state, jax.tree.broadcast(sharding, state)))
    )
    latent = latent_bytes(algorithm)
    needs = [
        Need(
            f"config.num_seeds={config.num_seeds}: parameters, moments and averages"
            if members > 1
            else "config.generator and config.discriminator: parameters, moments and averages",
            of_state,
            "set fewer seeds" if members > 1 else "set smaller widths, or a smaller latent_dim",
        )
    ]
    for phase in algorithm.phases:
        batch, of_one = phase.batch_size, domain.bytes(phase)
        reals = f"{algorithm.real_batches} batches of reals" if algorithm.real_batches > 1 else ""
        steps = _dispatched(config, phase)
        reals_bytes = steps * algorithm.real_batches * of_one.real
        count = batch * (reals_bytes + of_one.fake + latent)
        smaller = ["set a smaller batch"]
        smaller += ["a smaller n_critic"] if reals else []
        smaller += ["a smaller steps_per_dispatch"] if steps > 1 else []
        each = f" in each of {steps} steps," if steps > 1 else ""
        needs.append(
            Need(
                f"{phase.batch_field}={batch}: {reals or 'the reals'}{each} and the fakes of a "
                f"step at {phase.size}",
                members * count // layout.mesh.shape["data"],
                ", or ".join(smaller),
            )
        )
    return needs + domain.needs(latent)


def _dispatched(config: LoopConfig, phase: Phase) -> int:
    """Returns the least number of steps whose reals a dispatch of a phase holds."""
    between = [
        1 if getattr(config, f"{name}_every_epochs") else getattr(config, f"{name}_every")
        for name in ("sample", "eval", "checkpoint")
    ]
    # What a run chooses by itself is for steps that are short, and small.
    wanted = 1 if config.steps_per_dispatch == AUTO else config.steps_per_dispatch
    return min(wanted, phase.stop - phase.start, *between)


def _bytes(leaf: Any, sharding: Any = None) -> int:
    """Returns the bytes of an array, or of a device's part of it."""
    shape = leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)
    itemsize = 8 if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.dtype.itemsize
    return math.prod(shape) * itemsize
