"""The layout of arrays on the devices of a run.

Every batch is split over the devices. The parameters, their moving averages and the optimisers'
moments are replicated on each device or, with "fully_sharded", split as well (ZeRO, Rajbhandari et
al. 2019, arXiv:1910.02054): each device then keeps a part of them, and the parts of a network's
parameters are gathered where the network is applied. In an ensemble of seeds the members are split
first.

Any layout computes what one device would compute. Means over the batch are means over the global
batch. So BatchNorm's statistics, ADA's r_t and the groups of a minibatch standard deviation depend
on the images of all devices, and no algorithm depends on their number.
"""

from math import gcd
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ganjax.config import ConfigError
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.phases import Phase
from ganjax.engine.state import Ema, GanState
from ganjax.ops import partitioning

if TYPE_CHECKING:
    Device = Any  # jaxlib has no stubs.
else:
    Device = jax.Device

# The default of config.sharding.
REPLICATED = "replicated"


class Layout(NamedTuple):
    """The shardings of a run.

    Attributes:
      mesh: the mesh of all devices of all processes, along the axis "data", or in an ensemble along
        the axes ("seed", "data").
      replicated: the sharding of arrays that every device holds whole, such as keys and metrics.
      batch: the sharding of arrays (N, ...) of one member's batch.
      batches: the sharding of arrays (reals, N, ...) of one member's batches.
      all_devices: the sharding of arrays (N, ...) that all devices share even in an ensemble, such
        as the samples of one member.
      members: the sharding of arrays (members, ...) of an ensemble.
    """

    mesh: Mesh
    replicated: NamedSharding
    batch: NamedSharding
    batches: NamedSharding
    all_devices: NamedSharding
    members: NamedSharding

    @property
    def platform(self) -> str:
        """The platform of the devices, such as "cpu"."""
        return self.mesh.devices.flat[0].platform


def make_layout(devices: list[Device] | None = None, num_seeds: int = 1) -> Layout:
    """Returns the layout over a list of devices.

    Args:
      devices: the devices; by default all devices of JAX.
      num_seeds: the number of members of an ensemble. The length of the mesh's axis "seed" is the
        largest that divides both the members and the devices; along the axis "data", devices share
        each member's batches.
    """
    devices = jax.devices() if devices is None else devices
    # The devices of a process are neighbours, so that its part of a batch is one slice.
    devices = sorted(devices, key=lambda device: (device.process_index, device.id))
    if num_seeds == 1:
        axes = {"data": len(devices)}
    else:
        seed_size = gcd(num_seeds, len(devices))
        axes = {"seed": seed_size, "data": len(devices) // seed_size}
    types = (AxisType.Auto,) * len(axes)
    mesh = Mesh(np.array(devices).reshape(*axes.values()), tuple(axes), axis_types=types)
    over_members = PartitionSpec("seed") if "seed" in axes else PartitionSpec()
    return Layout(
        mesh,
        NamedSharding(mesh, PartitionSpec()),
        NamedSharding(mesh, PartitionSpec("data")),
        NamedSharding(mesh, PartitionSpec(None, "data")),
        NamedSharding(mesh, PartitionSpec(tuple(axes))),
        NamedSharding(mesh, over_members),
    )


def check_batch(phase: Phase, layout: Layout, accumulate: int = 1) -> None:
    """Checks that the devices can share each batch, or each micro-batch, evenly.

    Args:
      phase: the phase that has the batch size.
      layout: the run's layout.
      accumulate: the number of micro-batches in a batch.

    Raises:
      ConfigError: the batch size is not divisible by the devices and micro-batches.
    """
    batch_size, devices = phase.batch_size, layout.mesh.shape["data"]
    divisor = devices * accumulate
    if batch_size % divisor:
        lower = batch_size // divisor * divisor
        nearest = f"{lower} or {lower + divisor}" if lower else f"{divisor}"
        who = f"{devices} devices cannot share " if devices > 1 else "one device cannot take "
        who += "it" if accumulate == 1 else f"config.accumulate={accumulate} micro-batches of it"
        raise ConfigError(f"{phase.batch_field}={batch_size}: {who} evenly; set {nearest}")


def state_sharding(layout: Layout, state: GanState, mode: str) -> Any:
    """Returns the sharding of a state, which is a tree of shardings or one for the whole state.

    Args:
      layout: the run's layout.
      state: the state, or its shapes.
      mode: "replicated", or "fully_sharded", which splits each array of parameters, moments and
        averages along its largest axis that the devices share evenly. Arrays without such an axis
        are replicated, and so are the players' variables.
    """
    if mode == REPLICATED:
        return layout.replicated

    def split(leaf):
        return NamedSharding(layout.mesh, _split(leaf.shape, layout.mesh.size))

    def replicate(tree):
        return jax.tree.map(lambda leaf: layout.replicated, tree)

    def split_player(player):
        params, moments = jax.tree.map(split, (player.params, player.opt_state))
        return player.replace(params=params, opt_state=moments, vars=replicate(player.vars))

    return GanState(
        step=layout.replicated,
        g=split_player(state.g),
        d=split_player(state.d),
        ema=Ema(jax.tree.map(split, state.ema.params), replicate(state.ema.vars)),
        aug=replicate(state.aug),
    )


def _split(shape: tuple[int, ...], devices: int) -> PartitionSpec:
    axes = [axis for axis, size in enumerate(shape) if size and size % devices == 0]
    if devices == 1 or not axes:
        return PartitionSpec()
    largest = max(axes, key=lambda axis: shape[axis])
    return PartitionSpec(*(None,) * largest, "data")


def on_devices(algorithm: Algorithm, layout: Layout, mode: str) -> Algorithm:
    """Returns the algorithm with functions for the devices of a layout.

    Convolutions with groups are computed in shares (`ganjax.ops.partitioning`). Split parameters
    are gathered where a network is applied, layer by layer as the compiler sees fit, and their
    gradients are summed over the devices. Without this the compiler would split some products
    over channels and send images between devices instead.

    Args:
      algorithm: the algorithm whose functions are wrapped.
      layout: the run's layout.
      mode: "replicated", or "fully_sharded".
    """
    if layout.mesh.size == 1:
        return algorithm
    partition = partitioning.Partition(
        layout.mesh, images="data", groups="seed" if "seed" in layout.mesh.shape else None
    )

    def placed(function):
        def applied(params, *args, **kwargs):
            if mode != REPLICATED:
                params = jax.lax.with_sharding_constraint(params, layout.replicated)
            with partitioning.partitioned(partition):
                return function(params, *args, **kwargs)

        return applied

    at, shared = algorithm.at, algorithm.d_gradient
    discriminate, penalty = placed(algorithm.discriminate), placed(algorithm.penalty)
    if shared is not None and shared.holds_for(algorithm):
        own = (discriminate, algorithm.d_loss, penalty)
        shared = shared._replace(compute=placed(shared.compute), of=own)
    return algorithm._replace(
        generate=placed(algorithm.generate),
        discriminate=discriminate,
        penalty=penalty,
        d_gradient=shared,
        sample=placed(algorithm.sample),
        at=None if at is None else lambda phase: on_devices(at(phase), layout, mode),
    )
