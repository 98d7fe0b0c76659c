"""Independent runs of one config at once: an ensemble of seeds.

Each member is the run that its seed alone would make, with its own initialisation, order of
images, noise and probability of augmentation: `config.seed` is the first's, the others' follow.
Outside of a dispatch its state is the tuple of theirs, which is also what a checkpoint holds.

How members share the devices is one of two, `one_by_one` and `together`. On one CPU a joint
program gains nothing over one launched for each member in turn: of 4 members a step of cgan takes
as long by `jax.vmap`, of dcgan 1.8 times as long (convolutions by the kernels of several members
are slow there); unrolled it is no faster either, and compiles for twice as long.
"""

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from ganjax.config import ConfigError
from ganjax.engine.state import GanState
from ganjax.parallel.sharding import REPLICATED, Layout
from ganjax.runtime import compiling
from ganjax.training import checkpoint
from ganjax.training.schema import RunConfig

Members = tuple[GanState, ...]
# Where the axis of members is while they step together: their number of steps is one.
AXES = GanState(step=None, g=0, d=0, ema=0, aug=0)


class Ensemble(NamedTuple):
    """How members step.

    Attributes:
      pack: members -> what `advance` takes.
      members: the inverse.
      advance: (packed, batches, keys, phase) -> (packed, metrics), where batches[i] are member
        i's of the dispatch, as `ganjax.training.dispatch.make_train_steps` takes them, and metrics[i]
        its metrics.
    """

    pack: Callable[[Members], Any]
    members: Callable[[Any], Members]
    advance: Callable[..., tuple[Any, tuple[dict[str, jax.Array], ...]]]


def seeds(config: RunConfig) -> tuple[int, ...]:
    """Of the members, in order.

    Raises:
      ConfigError: the last is none.
    """
    if config.seed + config.num_seeds > 2**32:
        raise ConfigError(
            f"config.num_seeds={config.num_seeds}: the last of them, counted from "
            f"config.seed={config.seed}, would be over {2**32 - 1}; set seed lower"
        )
    return tuple(range(config.seed, config.seed + config.num_seeds))


def check(config: RunConfig) -> None:
    """Raises ConfigError where several seeds cannot train at once."""
    if config.num_seeds == 1:
        return
    one = f"config.num_seeds={config.num_seeds}"
    if config.sharding != REPLICATED:
        raise ConfigError(
            f"{one} with config.sharding={config.sharding!r}: a model too large for one device "
            "leaves no room for several; set one of them back"
        )
    if jax.process_count() > 1:
        raise ConfigError(
            f"{one}: {jax.process_count()} processes train one run together; start an ensemble "
            "on one host, or set num_seeds=1"
        )


def make_ensemble(train_steps: Callable, num: int, layout: Layout, placed: Any) -> Ensemble:
    """The ensemble as it is fastest on the devices of a layout. It donates the states it advances.

    Args:
      train_steps: `ganjax.training.dispatch.make_train_steps`'s, not compiled.
      num: members.
      layout: of the run.
      placed: how the state of a single run lies (`ganjax.parallel.sharding.state_sharding`).
    """
    on_one_cpu = layout.mesh.size == 1 and layout.platform == "cpu"
    if num == 1 or on_one_cpu:
        return one_by_one(train_steps, layout, placed)
    return together(train_steps, num, layout)


def one_by_one(train_steps: Callable, layout: Layout, placed: Any) -> Ensemble:
    """One program of a single run, launched for each member in turn."""
    step = jax.jit(
        train_steps,
        static_argnames="phase",
        out_shardings=(placed, layout.replicated),
        donate_argnames="state",
        compiler_options=compiling.options(layout.platform),
    )

    def advance(members: Members, batches, keys, phase):
        both = [step(*each, phase=phase) for each in zip(members, batches, keys, strict=True)]
        return tuple(state for state, _ in both), tuple(metrics for _, metrics in both)

    return Ensemble(lambda members: members, lambda members: members, advance)


def together(train_steps: Callable, num: int, layout: Layout) -> Ensemble:
    """One program for all: apart over the mesh's axis "seed", by `jax.vmap` on each device.

    The devices that a member has for itself (where there are more devices than members) share
    its batches; see `ganjax.parallel.sharding.make_layout`.
    """
    places = layout.mesh.shape["seed"]
    packed = _at_axes({None: layout.replicated, 0: layout.members})
    stacked = PartitionSpec("seed")
    specs = _at_axes({None: PartitionSpec(), 0: stacked})

    def several(state, batches, keys, phase):
        step = partial(train_steps, phase=phase)
        if num > places:
            return jax.vmap(step, (AXES, 0, 0), (AXES, 0))(state, batches, keys)
        # An axis of 1: the program of a single run.
        first = itemgetter(0)
        alone = _per_member(first, state)
        state, metrics = step(alone, jax.tree.map(first, batches), keys[0])
        return _per_member(lambda leaf: leaf[None], state), jax.tree.map(lambda m: m[None], metrics)

    @partial(
        jax.jit,
        static_argnames="phase",
        out_shardings=(packed, layout.replicated),
        donate_argnames="state",
        compiler_options=compiling.options(layout.platform),
    )
    def step(state, batches, keys, *, phase):
        batches = jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)
        function = partial(several, phase=phase)
        if places > 1:
            function = jax.shard_map(
                function,
                mesh=layout.mesh,
                in_specs=(specs, stacked, stacked),
                out_specs=(specs, stacked),
                axis_names={"seed"},
                check_vma=False,
            )
        state, metrics = function(state, batches, _stacked(keys))
        return state, tuple({n: m[i] for n, m in metrics.items()} for i in range(num))

    def pack(members):
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
        return stacked.replace(step=members[0].step)

    def unpack(state):
        return tuple(_per_member(itemgetter(i), state) for i in range(num))

    return Ensemble(
        jax.jit(pack, out_shardings=packed),
        jax.jit(unpack, out_shardings=layout.replicated),
        lambda state, batches, keys, phase: step(state, batches, keys, phase=phase),
    )


def restore_or_init(
    checkpoints, init: Callable, keys, sharding, step: int | None = None
) -> Members:
    """As `ganjax.training.checkpoint.restore_or_init`, of each member's key."""
    restore = partial(checkpoint.restore_or_init, checkpoints)
    if len(keys) == 1 or checkpoints.latest is None:
        return tuple(restore(init, key, sharding, step) for key in keys)
    return restore(lambda keys: tuple(map(init, keys)), keys, sharding, step)


def saved(members: Members) -> GanState | Members:
    """What a checkpoint holds: of one member, it is that run's own."""
    return members if len(members) > 1 else members[0]


def _stacked(keys) -> jax.Array:
    """Keys as one array. (To stack them as such is, to `jax_debug_key_reuse`, to use them.)"""
    data = jnp.stack([jax.random.key_data(key) for key in keys])
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(keys[0]))


def _at_axes(choice: dict) -> GanState:
    """AXES with something else in place of each axis."""
    return jax.tree.map(choice.get, AXES, is_leaf=lambda axis: axis is None)


def _per_member(change: Callable, state: GanState) -> GanState:
    """`change` of every leaf that members do not share."""
    return jax.tree.map(change, state.replace(step=())).replace(step=state.step)
