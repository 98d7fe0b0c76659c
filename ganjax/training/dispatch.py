"""Several train steps in one program, for devices that wait for the host between short ones."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import jax
import jax.numpy as jnp

from ganjax.engine.phases import Phase
from ganjax.engine.state import GanState


def make_train_steps(train_step: Callable) -> Callable:
    """`train_steps(state, batches, key, *, phase) -> (state, metrics)`, n steps in a row.

    `batches` is a tuple of the n steps' batches, and metrics are (n, ...): each step's. Of one
    batch it is the step itself.

    Args:
      train_step: `ganjax.engine.step.make_train_step`'s.
    """

    def train_steps(state: GanState, batches, key, *, phase: Phase):
        if len(batches) == 1:
            return train_step(state, batches[0], key, phase=phase)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)
        return jax.lax.scan(
            lambda state, batch: train_step(state, batch, key, phase=phase), state, stacked
        )

    return train_steps


def groups(batches: Iterable, done: int, size: int, cadences: Sequence[int]) -> Iterator[tuple]:
    """The batches in tuples of `size`; of 1 where so many would run over something that is due.

    So there are two programs to compile, not one for each remainder. Where `size` is more than
    any cadence leaves room for, the tuples are of the shortest cadence.

    Args:
      batches: of the steps from `done` on.
      done: the steps done before the first.
      size: steps of a dispatch.
      cadences: a group may end, but not go on, at a multiple of any of these.
    """
    batches, size = iter(batches), min(size, *cadences)
    while True:
        ahead = min(cadence - done % cadence for cadence in cadences)
        group = tuple(islice(batches, size if size <= ahead else 1))
        if not group:
            return
        done += len(group)
        # At the end of the batches there may be too few.
        yield from [group] if len(group) == size else [(batch,) for batch in group]
