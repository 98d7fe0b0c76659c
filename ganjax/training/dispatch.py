"""Several train steps in one program, for devices that wait for the host between short steps."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import jax
import jax.numpy as jnp

from ganjax.engine.phases import Phase
from ganjax.engine.state import GanState


def make_train_steps(train_step: Callable) -> Callable:
    """Makes `train_steps(state, batches, key, *, phase) -> (state, metrics)`: n steps in a row.

    Its `batches` is a tuple of the n steps' batches, and its metrics have a leading axis of n. For
    n = 1 it is the train step itself, and the metrics have no such axis.

    Args:
      train_step: the step of `ganjax.engine.step.make_train_step`.
    """

    def train_steps(state: GanState, batches: tuple, key: jax.Array, *, phase: Phase):
        if len(batches) == 1:
            return train_step(state, batches[0], key, phase=phase)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)
        return jax.lax.scan(
            lambda state, batch: train_step(state, batch, key, phase=phase), state, stacked
        )

    return train_steps


def groups(batches: Iterable, step: int, size: int, cadences: Sequence[int]) -> Iterator[tuple]:
    """Groups batches into dispatches of `size` steps that end wherever something is due.

    Where `size` steps would go beyond a step at which something is due, or beyond the last batch,
    the dispatches have one step each: so there are two programs to compile, and not one for each
    remainder. A `size` beyond the shortest cadence is taken as that cadence.

    Args:
      batches: the batches of the steps that follow, in order.
      step: the number of steps that are finished before the first of them.
      size: the number of steps in a dispatch.
      cadences: how many steps lie between two at which something is due, for each such thing. A
        dispatch may end, but not go on, at a multiple of any of these.

    Yields:
      Tuples of batches.
    """
    batches, size = iter(batches), min(size, *cadences)
    while True:
        until_due = min(cadence - step % cadence for cadence in cadences)
        group = tuple(islice(batches, size if size <= until_due else 1))
        if not group:
            return
        step += len(group)
        yield from [group] if len(group) == size else [(batch,) for batch in group]
