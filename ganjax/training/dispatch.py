"""Dispatch of several train steps as one program, for devices that would wait for the host."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import jax
import jax.numpy as jnp

from ganjax.engine.phases import Phase
from ganjax.engine.state import GanState
from ganjax.training.epochs import Interval


def make_train_steps(train_step: Callable) -> Callable:
    """Makes `train_steps(state, batches, key, *, phase) -> (state, metrics)`, n steps in a row.

    Its `batches` is a tuple of the n steps' batches, and its metrics are (n,) arrays. For n = 1 it
    is the train step itself, whose metrics are scalars.

    Args:
      train_step: the step that `ganjax.engine.step.make_train_step` returns.
    """

    def train_steps(state: GanState, batches: tuple, key: jax.Array, *, phase: Phase):
        if len(batches) == 1:
            return train_step(state, batches[0], key, phase=phase)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)
        return jax.lax.scan(
            lambda state, batch: train_step(state, batch, key, phase=phase), state, stacked
        )

    return train_steps


def groups(batches: Iterable, step: int, size: int, due: Sequence[Interval]) -> Iterator[tuple]:
    """Groups batches into dispatches of `size` steps that end wherever an action is due.

    If `size` steps would go beyond a step at which an action is due, or beyond the last batch, the
    dispatches have one step each. Thus there are two programs to compile, and not one for each
    remainder. A `size` beyond the shortest interval is reduced to that interval.

    Args:
      batches: the batches of the steps that follow, in order.
      step: the number of steps that are finished before the first of these batches.
      size: the number of steps in a dispatch.
      due: the intervals at which each action is due. A dispatch may end at a step at which one of
        them is, but not go on beyond it.

    Yields:
      The batches of a dispatch, as a tuple.
    """
    batches, size = iter(batches), min(size, *(interval.steps for interval in due))
    while True:
        until_due = min(interval.until(step) for interval in due)
        group = tuple(islice(batches, size if size <= until_due else 1))
        if not group:
            return
        step += len(group)
        yield from [group] if len(group) == size else [(batch,) for batch in group]
