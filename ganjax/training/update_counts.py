"""The numbers of updates that optimisers keep where a rate is a schedule, and only there.

So a checkpoint from before a rate became a schedule, or a number, has other arrays than the state
that is to be restored. It is read as it is, and a number that it lacks is marked until that of the
run is known (`filled`).
"""

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ganjax.parallel import distributed

State = TypeVar("State")

# Stands for a number of updates that a checkpoint does not have.
UNKNOWN = -1

_Scheduled, _Injected = optax.ScaleByScheduleState, optax.InjectStatefulHyperparamsState
# The parts of an optimiser's state that have a number of updates, or in their place none.
_PARTS = (optax.EmptyState, _Scheduled, _Injected)


def as_saved(target: State, names: Collection[str]) -> State:
    """Returns a state with numbers of updates where a checkpoint has them, and only there.

    Args:
      target: the shapes of the state's arrays.
      names: the paths of the checkpoint's arrays (`ganjax.training.checksums`).
    """

    def saved(path, part):
        at = jax.tree_util.keystr(path, simple=True, separator="/")
        if not isinstance(part, _Injected):
            return _Scheduled(_count(target)) if f"{at}/count" in names else optax.EmptyState()
        counts = [
            name.removeprefix(f"{at}/hyperparams_states/").removesuffix("/count")
            for name in names
            if name.startswith(f"{at}/hyperparams_states/")
        ]
        return _with_counts(part, {name: _count(target) for name in counts})

    return _map_parts(saved, target)


def as_wanted(state: State, target: State) -> State:
    """Returns a state that was read by `as_saved` with numbers of updates where another has them.

    Args:
      state: the state.
      target: the shapes of the other's arrays. Numbers that `state` lacks are `UNKNOWN`.
    """

    def unknown():
        count = _count(target)
        return jnp.full(count.shape, UNKNOWN, count.dtype, device=count.sharding)

    def wanted(path, part, had):
        del path
        if isinstance(part, _Injected):
            known = {name: each.count for name, each in had.hyperparams_states.items()}
            names = part.hyperparams_states
            return _with_counts(had, {n: known[n] if n in known else unknown() for n in names})
        if type(part) is type(had):
            return had
        return _Scheduled(unknown()) if isinstance(part, _Scheduled) else part

    return _map_parts(wanted, target, state)


def filled(opt_state: State, updates: int) -> State:
    """Returns the state of an optimiser with a number of updates in place of each `UNKNOWN`."""

    def known(count):
        if int(count) != UNKNOWN:
            return count
        return distributed.device_put(np.int32(updates), count.sharding)

    def of_part(path, part):
        del path
        if isinstance(part, _Injected):
            states = part.hyperparams_states
            return _with_counts(part, {name: known(each.count) for name, each in states.items()})
        return _Scheduled(known(part.count)) if isinstance(part, _Scheduled) else part

    return _map_parts(of_part, opt_state)


def _map_parts(function: Callable[..., Any], tree: State, *others: Any) -> State:
    """Applies a function to a path and `_PARTS` of trees; other leaves are those of the last."""

    def each(path, *leaves):
        return function(path, *leaves) if isinstance(leaves[0], _PARTS) else leaves[-1]

    return jax.tree_util.tree_map_with_path(
        each, tree, *others, is_leaf=lambda node: isinstance(node, _PARTS)
    )


def _with_counts(part: Any, counts: dict[str, Any]) -> Any:
    empty = optax.schedules.WrappedSchedule(lambda count: count).init()
    states = {name: empty._replace(count=count) for name, count in counts.items()}
    return part._replace(hyperparams_states=states)


def _count(target: Any) -> Any:
    """Returns the shape of a number of updates, which is laid out as the number of steps."""
    return (target[0] if isinstance(target, tuple) else target).step
