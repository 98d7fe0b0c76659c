"""How arrays lie on the devices.

The batch is split. The parameters, their averages and the optimisers' moments are on each
device, or split too ("fully_sharded": ZeRO, Rajbhandari et al. 2019, arXiv:1910.02054): then
each device keeps its part of them, and all parts of a network's parameters come together where
the network is applied. Of an ensemble, the members are split first.

Either way a step computes what one device would: a mean over the batch is one over the global
batch. BatchNorm's statistics and ADA's r_t are of all devices' images, and so are the groups of
a minibatch standard deviation; nothing of an algorithm asks how many devices there are.
"""

from math import gcd
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ganjax.config import ConfigError
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.phases import Phase
from ganjax.engine.state import Ema, GanState

REPLICATED, FULLY_SHARDED = "replicated", "fully_sharded"


class Layout(NamedTuple):
    """The shardings of one run.

    Attributes:
      mesh: all devices of all processes along the axis "data"; of an ensemble, ("seed", "data").
      replicated: of keys, metrics and all of a state that is not split.
      batch: of (N, ...) arrays.
      batches: of (reals, N, ...) arrays.
      everywhere: of (N, ...) arrays that all devices share, as samples of one member.
      members: of (members, ...) arrays.
    """

    mesh: Mesh
    replicated: NamedSharding
    batch: NamedSharding
    batches: NamedSharding
    everywhere: NamedSharding
    members: NamedSharding

    @property
    def platform(self) -> str:
        """Of the devices, such as "cpu"."""
        return self.mesh.devices.flat[0].platform


def make_layout(devices: list[jax.Device] | None = None, num_seeds: int = 1) -> Layout:
    """The layout over `devices`, by default all that JAX sees.

    Args:
      devices: to use.
      num_seeds: members of an ensemble. The axis "seed" is the longest that shares both
        them and the devices evenly; what is left of the devices shares each member's batches.
    """
    devices = jax.devices() if devices is None else devices
    # A process's devices stand together, so that its part of a batch is one slice.
    devices = sorted(devices, key=lambda device: (device.process_index, device.id))
    if num_seeds == 1:
        axes = {"data": len(devices)}
    else:
        places = gcd(num_seeds, len(devices))
        axes = {"seed": places, "data": len(devices) // places}
    types = (AxisType.Auto,) * len(axes)
    mesh = Mesh(np.array(devices).reshape(*axes.values()), tuple(axes), axis_types=types)
    of_members = PartitionSpec("seed") if "seed" in axes else PartitionSpec()
    return Layout(
        mesh,
        NamedSharding(mesh, PartitionSpec()),
        NamedSharding(mesh, PartitionSpec("data")),
        NamedSharding(mesh, PartitionSpec(None, "data")),
        NamedSharding(mesh, PartitionSpec(tuple(axes))),
        NamedSharding(mesh, of_members),
    )


def check_batch(phase: Phase, layout: Layout, accumulate: int = 1) -> None:
    """Raises ConfigError unless the devices share the batch, or each micro-batch, evenly.

    Args:
      phase: whose batches.
      layout: of the run.
      accumulate: micro-batches of a batch.
    """
    batch_size, devices = phase.batch_size, layout.mesh.shape["data"]
    count = devices * accumulate
    if batch_size % count:
        lower = batch_size // count * count
        nearest = f"{lower} or {lower + count}" if lower else f"{count}"
        who = f"{devices} devices cannot share " if devices > 1 else "one device cannot take "
        who += "it" if accumulate == 1 else f"config.accumulate={accumulate} micro-batches of it"
        raise ConfigError(f"{phase.batch_field}={batch_size}: {who} evenly; set {nearest}")


def state_sharding(layout: Layout, state: GanState, how: str) -> Any:
    """How a state lies: a tree of shardings, or one for all of it.

    Args:
      layout: the run's.
      state: its shapes.
      how: "replicated"; or "fully_sharded", which splits parameters, moments and averages along
        their largest axis that the devices share evenly. What has none is on each device, and
        so are the players' variables.
    """
    if how == REPLICATED:
        return layout.replicated

    def split(leaf):
        return NamedSharding(layout.mesh, _split(leaf.shape, layout.mesh.size))

    def whole(tree):
        return jax.tree.map(lambda leaf: layout.replicated, tree)

    def player(each):
        params, moments = jax.tree.map(split, (each.params, each.opt_state))
        return each.replace(params=params, opt_state=moments, vars=whole(each.vars))

    return GanState(
        step=layout.replicated,
        g=player(state.g),
        d=player(state.d),
        ema=Ema(jax.tree.map(split, state.ema.params), whole(state.ema.vars)),
        aug=whole(state.aug),
    )


def _split(shape: tuple[int, ...], count: int) -> PartitionSpec:
    axes = [axis for axis, size in enumerate(shape) if size and size % count == 0]
    if count == 1 or not axes:
        return PartitionSpec()
    largest = max(axes, key=lambda axis: shape[axis])
    return PartitionSpec(*(None,) * largest, "data")


def gathered(algorithm: Algorithm, layout: Layout, how: str) -> Algorithm:
    """The algorithm whose networks take split parameters.

    Parameters are made whole where a network is applied, layer by layer as the compiler sees
    fit, and gradients are summed over the devices on the way back. Left to itself the compiler
    would split some products over channels, and send images round instead.

    Args:
      algorithm: whose functions to wrap.
      layout: the run's.
      how: as for `state_sharding`.
    """
    if how == REPLICATED:
        return algorithm

    def on_whole(function):
        def applied(params, *rest):
            whole = jax.lax.with_sharding_constraint(params, layout.replicated)
            return function(whole, *rest)

        return applied

    at = algorithm.at
    return algorithm._replace(
        generate=on_whole(algorithm.generate),
        discriminate=on_whole(algorithm.discriminate),
        penalty=on_whole(algorithm.penalty),
        sample=on_whole(algorithm.sample),
        at=None if at is None else lambda phase: gathered(at(phase), layout, how),
    )
