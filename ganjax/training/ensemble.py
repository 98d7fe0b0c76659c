"""An ensemble of seeds: independent runs of one config, trained at once.

Each member is the run that its seed alone would give, with its own initialisation, order of
images, noise and probability of augmentation. The members' seeds are `config.seed`,
`config.seed` + 1, and so on. A checkpoint holds the tuple of the members' states.

There are two ways for members to share the devices, `one_by_one` and `together`. On a single CPU a
joint program gains nothing over one program launched for each member (docs/speed.md).
"""

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from ganjax.config import ConfigError
from ganjax.engine.state import GanState
from ganjax.errors import UserError
from ganjax.parallel.sharding import REPLICATED, Layout
from ganjax.runtime import compiling
from ganjax.training import checkpoint
from ganjax.training.schema import LoopConfig

Members = tuple[GanState, ...]
_FIRST: Any = 0  # An axis in place of a whole sub-tree holds for all of its leaves.
# The axis of members in a packed state. All members have the same step, which is stored once.
AXES = GanState(step=None, g=_FIRST, d=_FIRST, ema=_FIRST, aug=_FIRST)


class Ensemble(NamedTuple):
    """The functions by which the members of an ensemble advance.

    Attributes:
      pack: returns the packed state, which `advance` takes, given the members' states.
      unpack: returns the members' states, given a packed state.
      advance: trains all members: (packed state, batches, keys, phase) -> (packed state, metrics).
        batches[i] are member i's batches, as the function of
        `ganjax.training.dispatch.make_train_steps` takes them, and metrics[i] are its metrics. The
        state that is passed is donated.
      lower: returns the program that `advance` will call, lowered but not compiled, given the
        shapes of the members' states and of `advance`'s other arguments, with their shardings.
    """

    pack: Callable[[Members], Any]
    unpack: Callable[[Any], Members]
    advance: Callable[..., tuple[Any, tuple[dict[str, jax.Array], ...]]]
    lower: Callable[..., jax.stages.Lowered]


def seeds(config: LoopConfig) -> range:
    """Returns the members' seeds, in order, of which there may be more than memory holds.

    Raises:
      ConfigError: the last seed would be 2**32 or more.
    """
    if config.seed + config.num_seeds > 2**32:
        raise ConfigError(
            f"config.num_seeds={config.num_seeds}: the last of them, counted from "
            f"config.seed={config.seed}, would be over {2**32 - 1}; set "
            f"config.seed={2**32 - config.num_seeds} or lower"
        )
    return range(config.seed, config.seed + config.num_seeds)


def seed_at(config: LoopConfig, index: int) -> int:
    """Returns the seed of the member that a user asks for by its index, from 0.

    Raises:
      UserError: the run has no such member.
    """
    every = seeds(config)
    if index >= len(every):
        raise UserError(
            f"--seed_index={index}: the run has {len(every)} seed(s); the last is {len(every) - 1}"
        )
    return every[index]


def whose(seeds: Sequence[int]) -> list[str]:
    """Returns how messages name each member: " of seed 3", or "" in a run of one seed."""
    return [f" of seed {seed}" if len(seeds) > 1 else "" for seed in seeds]


def check(config: LoopConfig) -> None:
    """Checks that the seeds of a config can be trained at once.

    Raises:
      ConfigError: parameters are sharded, or several processes train the run.
    """
    if config.num_seeds == 1:
        return
    field = f"config.num_seeds={config.num_seeds}"
    if config.sharding != REPLICATED:
        raise ConfigError(
            f"{field} with config.sharding={config.sharding!r}: a model too large for one device "
            "leaves no room for several; set config.num_seeds=1 or config.sharding='replicated'"
        )
    if jax.process_count() > 1:
        raise ConfigError(
            f"{field}: {jax.process_count()} processes train one run together; start an ensemble "
            "on one host, or set num_seeds=1"
        )


def make_ensemble(
    train_steps: Callable, num_members: int, layout: Layout, state_sharding: Any
) -> Ensemble:
    """Makes the ensemble that is fastest on the devices of a layout.

    Args:
      train_steps: the function of `ganjax.training.dispatch.make_train_steps`, not compiled.
      num_members: the number of members.
      layout: the layout of arrays on the devices.
      state_sharding: the sharding of one member's state
        (`ganjax.parallel.sharding.state_sharding`).
    """
    on_one_cpu = layout.mesh.size == 1 and layout.platform == "cpu"
    if num_members == 1 or on_one_cpu:
        return one_by_one(train_steps, layout, state_sharding)
    return together(train_steps, num_members, layout)


def one_by_one(train_steps: Callable, layout: Layout, state_sharding: Any) -> Ensemble:
    """Makes an ensemble whose members advance one after another, by the program of a single run.

    Its packed state is the tuple of the members' states. See `make_ensemble` for the arguments.
    """
    step = jax.jit(
        train_steps,
        static_argnames="phase",
        out_shardings=(state_sharding, layout.replicated),
        donate_argnames="state",
        compiler_options=compiling.options(layout.platform),
    )

    def advance(members: Members, batches, keys, phase):
        advanced = [
            step(member, of_member, key, phase=phase)
            for member, of_member, key in zip(members, batches, keys, strict=True)
        ]
        return tuple(state for state, _ in advanced), tuple(metrics for _, metrics in advanced)

    def lower(members: Members, batches, keys, phase):
        return step.lower(members[0], batches[0], keys[0], phase=phase)

    return Ensemble(lambda members: members, lambda members: members, advance, lower)


def together(train_steps: Callable, num_members: int, layout: Layout) -> Ensemble:
    """Makes an ensemble whose members advance in one program.

    The members are split over the mesh's axis "seed"; those that share a place on this axis run
    under `jax.vmap`. If there are more devices than members, the devices of one member share its
    batches (`ganjax.parallel.sharding.make_layout`). The leaves of the packed state are the
    members' leaves, stacked along `AXES`. See `make_ensemble` for the arguments.
    """
    places = layout.mesh.shape["seed"]
    packed = _at_axes({None: layout.replicated, 0: layout.members})
    stacked = PartitionSpec("seed")
    specs = _at_axes({None: PartitionSpec(), 0: stacked})

    def advance_place(state, batches, keys, phase):
        step = partial(train_steps, phase=phase)
        if num_members > places:
            return jax.vmap(step, (AXES, 0, 0), (AXES, 0))(state, batches, keys)
        # A single member, along an axis of 1, runs the program of a single run.
        first = itemgetter(0)
        member = _per_member(first, state)
        state, metrics = step(member, jax.tree.map(first, batches), keys[0])
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
        function = partial(advance_place, phase=phase)
        if places > 1:
            function = jax.shard_map(
                function,
                mesh=layout.mesh,
                in_specs=(specs, stacked, stacked),
                out_specs=(specs, stacked),
                axis_names={"seed"},
                check_vma=False,
            )
        state, metrics = function(state, batches, _stack_keys(keys))
        return state, tuple(
            {name: values[i] for name, values in metrics.items()} for i in range(num_members)
        )

    def pack(members):
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
        return stacked.replace(step=members[0].step)

    def unpack(state):
        return tuple(_per_member(itemgetter(i), state) for i in range(num_members))

    def lower(members: Members, batches, keys, phase):
        state = jax.eval_shape(pack, members)
        of_leaves = jax.tree.broadcast(packed, state)
        state = jax.tree.map(lambda leaf, of: leaf.update(sharding=of), state, of_leaves)
        return step.lower(state, batches, keys, phase=phase)

    return Ensemble(
        jax.jit(pack, out_shardings=packed),
        jax.jit(unpack, out_shardings=layout.replicated),
        lambda state, batches, keys, phase: step(state, batches, keys, phase=phase),
        lower,
    )


def restore_or_init(
    checkpoints: checkpoint.Checkpoints,
    init: Callable[[jax.Array], GanState],
    keys: Sequence[jax.Array],
    sharding: Any,
    tried: Sequence[int] | None = None,
) -> Members:
    """Restores the members from a checkpoint, or initialises them if there is none.

    Args:
      checkpoints: the run's checkpoints.
      init: returns the state of a member at step 0, given its key.
      keys: each member's root key.
      sharding: the sharding of one member's state, as for
        `ganjax.training.checkpoint.restore_or_init`.
      tried: the steps of the checkpoints to try, in order; by default all, the latest first.

    Raises:
      CheckpointError: the checkpoint cannot be read.
    """
    restore = partial(checkpoint.restore_or_init, checkpoints)
    if len(keys) == 1 or not checkpoints.steps:
        return tuple(restore(init, key, sharding, tried) for key in keys)
    return restore(lambda keys: tuple(map(init, keys)), keys, sharding, tried)


def saved_form(members: Members) -> GanState | Members:
    """Returns the members' states as a checkpoint holds them: a single one without a tuple."""
    return members[0] if len(members) == 1 else members


def _stack_keys(keys: Sequence[jax.Array]) -> jax.Array:
    """Stacks keys, which under `jax_debug_key_reuse` jnp.stack would count as a use of each."""
    data = jnp.stack([jax.random.key_data(key) for key in keys])
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(keys[0]))


def _at_axes(choices: dict) -> GanState:
    """Returns `AXES` with each axis replaced by its entry in `choices`."""
    return jax.tree.map(choices.get, AXES, is_leaf=lambda axis: axis is None)


def _per_member(change: Callable, state: GanState) -> GanState:
    """Applies `change` to every leaf of a packed state that has an axis of members."""
    return jax.tree.map(change, state.replace(step=())).replace(step=state.step)
