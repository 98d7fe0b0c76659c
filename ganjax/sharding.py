"""How arrays lie on the devices: the batch is split, everything else is on each.

Of an ensemble, the members are split first.
"""

from math import gcd
from typing import NamedTuple

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ganjax.config import ConfigError


class Layout(NamedTuple):
    """The shardings of one run.

    Attributes:
      mesh: all devices of all processes along the axis "data"; of an ensemble, ("seed", "data").
      replicated: of the state, keys and metrics.
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


def make_layout(devices: list[jax.Device] | None = None, num_seeds: int = 1) -> Layout:
    """The layout over `devices`, by default all that JAX sees.

    Args:
      devices: to use.
      num_seeds: members of an ensemble. The axis "seed" is the longest that shares both
        them and the devices evenly; what is left of the devices shares each member's batches.
    """
    devices = jax.devices() if devices is None else devices
    if num_seeds == 1:
        axes = {"data": len(devices)}
    else:
        places = gcd(num_seeds, len(devices))
        axes = {"seed": places, "data": len(devices) // places}
    types = (AxisType.Auto,) * len(axes)
    mesh = jax.make_mesh(tuple(axes.values()), tuple(axes), types, devices=devices)
    of_members = PartitionSpec("seed") if "seed" in axes else PartitionSpec()
    return Layout(
        mesh,
        NamedSharding(mesh, PartitionSpec()),
        NamedSharding(mesh, PartitionSpec("data")),
        NamedSharding(mesh, PartitionSpec(None, "data")),
        NamedSharding(mesh, PartitionSpec(tuple(axes))),
        NamedSharding(mesh, of_members),
    )


def check_batch(batch_size: int, layout: Layout, accumulate: int = 1) -> None:
    """Raises ConfigError unless the devices share the batch, or each micro-batch, evenly.

    Args:
      batch_size: of a phase.
      layout: of the run.
      accumulate: micro-batches of a batch.
    """
    devices = layout.mesh.shape["data"]
    count = devices * accumulate
    if batch_size % count:
        lower = batch_size // count * count
        nearest = f"{lower} or {lower + count}" if lower else f"{count}"
        who = f"{devices} devices cannot share "
        who += "it" if accumulate == 1 else f"config.accumulate={accumulate} micro-batches of it"
        raise ConfigError(f"config.batch_size={batch_size}: {who} evenly; set {nearest}")
