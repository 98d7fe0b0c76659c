"""How arrays lie on the devices: the batch is split, everything else is on each."""

from typing import NamedTuple

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ganjax.config import ConfigError


class Layout(NamedTuple):
    """The shardings of one run.

    Attributes:
      mesh: all devices of all processes along the axis "data".
      replicated: of the state, keys and metrics.
      batch: of (N, ...) arrays.
      batches: of (reals, N, ...) arrays.
    """

    mesh: Mesh
    replicated: NamedSharding
    batch: NamedSharding
    batches: NamedSharding


def make_layout(devices: list[jax.Device] | None = None) -> Layout:
    """The layout over `devices`, by default all that JAX sees."""
    devices = jax.devices() if devices is None else devices
    mesh = jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)
    return Layout(
        mesh,
        NamedSharding(mesh, PartitionSpec()),
        NamedSharding(mesh, PartitionSpec("data")),
        NamedSharding(mesh, PartitionSpec(None, "data")),
    )


def check_batch(batch_size: int, layout: Layout) -> None:
    """Raises ConfigError unless the devices share the batch evenly."""
    count = layout.mesh.size
    if batch_size % count:
        lower = batch_size // count * count
        nearest = f"{lower} or {lower + count}" if lower else f"{count}"
        raise ConfigError(
            f"config.batch_size={batch_size}: {count} devices cannot share it evenly; set {nearest}"
        )
