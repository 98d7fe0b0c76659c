"""Dispatch of several train steps as one program, for devices that would wait for the host.

Their number is the config's, or "auto": single steps at the beginning of each phase are then timed,
and enough steps are taken together that the host has started a dispatch long before the device has
computed the one before. Since the number of steps in a program changes results by rounding, a
choice is kept in the run's history with the step from which it holds, and a run that is resumed
follows it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple

import jax

from ganjax.config import AUTO
from ganjax.engine.phases import Phase
from ganjax.engine.state import GanState
from ganjax.parallel import distributed
from ganjax.training.epochs import Interval
from ganjax.training.history import Dispatch

# The numbers of steps from which "auto" chooses. They divide usual intervals between pictures,
# evaluations and checkpoints, before which single steps would be left over.
CHOICES = (1, 2, 5, 10, 20)
# The single steps of a phase that are not timed, the first of which compiles, and those that are.
UNTIMED, TIMED = 3, 8
# The share of the device's time in which the host should have started it: the host writes metrics
# and reads batches besides.
SHARE = 0.5


def make_train_steps(train_step: Callable) -> Callable:
    """Makes `train_steps(state, batches, key, *, phase) -> (state, metrics)`, n steps in a row.

    The leaves of its `batches` have a first axis of n steps, and its metrics are (n,) arrays. For
    n = 1 it is the train step itself, whose metrics are scalars.

    Args:
      train_step: the step that `ganjax.engine.step.make_train_step` returns.
    """

    def train_steps(state: GanState, batches: dict, key: jax.Array, *, phase: Phase):
        if len(jax.tree.leaves(batches)[0]) == 1:
            batch = jax.tree.map(lambda leaf: leaf[0], batches)
            return train_step(state, batch, key, phase=phase)
        return jax.lax.scan(
            lambda state, batch: train_step(state, batch, key, phase=phase), state, batches
        )

    return train_steps


def counts(step: int, stop: int, size: int, due: Sequence[Interval]) -> Iterator[int]:
    """Yields the numbers of steps in dispatches, each of which ends wherever an action is due.

    If `size` steps would go beyond a step at which an action is due, or beyond `stop`, the
    dispatches have one step each. Thus there are two programs to compile, and not one for each
    remainder. A `size` beyond the shortest interval is reduced to that interval.

    Args:
      step: the number of steps that are finished before the first dispatch.
      stop: the number of steps that are finished after the last.
      size: the number of steps in a dispatch.
      due: the intervals at which each action is due. A dispatch may end at a step at which one of
        them is, but not go on beyond it.
    """
    size = min(size, *(interval.steps for interval in due))
    while step < stop:
        until = min(stop - step, *(interval.until(step) for interval in due))
        count = size if size <= until else 1
        yield count
        step += count


def steps_hiding(host: float, device: float) -> int:
    """Returns the least number of steps in a dispatch by which the host's time is hidden.

    It is the least of `CHOICES` whose steps keep the device busy for long enough that starting them
    takes at most `SHARE` of that time, or the largest.

    Args:
      host: the seconds that the host takes to start a dispatch.
      device: the seconds for which the device then goes on with a single step.
    """
    return next((count for count in CHOICES if host <= SHARE * count * device), CHOICES[-1])


class Chosen(NamedTuple):
    """A choice, and the seconds of `steps_hiding` by which it was made."""

    dispatch: Dispatch
    host: float
    device: float


class Pace:
    """The number of steps that a run takes in one dispatch at each of its steps.

    Args:
      wanted: config.steps_per_dispatch.
      past: what the run has chosen before, in the order of steps.
    """

    def __init__(self, wanted: int | str, past: Sequence[Dispatch]):
        self._wanted, self._past = wanted, list(past)
        self._phase: Phase | None = None
        self._times: list[tuple[float, float]] = []

    def size(self, step: int, phase: Phase) -> int:
        """Returns the number of steps in a dispatch after `step` steps of the run."""
        if isinstance(self._wanted, int):
            return self._wanted
        of_phase = self._choice(phase)
        return of_phase.steps if of_phase and of_phase.step <= step else 1

    def start(
        self, advance: Callable[[], tuple[Any, Any]], step: int, phase: Phase
    ) -> tuple[Any, Any, Chosen | None]:
        """Starts a dispatch and, while there is something to choose, waits for it and times it.

        Args:
          advance: the function that starts it and returns state and metrics.
          step: the number of steps that will be finished after it.
          phase: the phase of these steps.

        Returns:
          What `advance` returns, and a choice that was made, which holds from `step` on.
        """
        if self._wanted != AUTO or self._choice(phase):
            return *advance(), None
        if phase != self._phase:
            self._phase, self._times = phase, []
        begin = time.perf_counter()
        state, metrics = advance()
        started = time.perf_counter()
        jax.block_until_ready((state, metrics))
        self._times.append((started - begin, time.perf_counter() - started))
        done = len(self._times) == UNTIMED + TIMED
        return state, metrics, self._chosen(step) if done else None

    def _chosen(self, step: int) -> Chosen:
        host, device = (median(column) for column in zip(*self._times[UNTIMED:], strict=True))
        # Of several processes all must take the same number.
        seconds = distributed.broadcast_from_primary({"host": host, "device": device})
        choice = Dispatch(step=step, steps=steps_hiding(**seconds))
        self._past.append(choice)
        return Chosen(choice, **seconds)

    def _choice(self, phase: Phase) -> Dispatch | None:
        """Returns what was chosen in a phase, the last of it; None if nothing was."""
        of_phase = [each for each in self._past if phase.start < each.step <= phase.stop]
        return of_phase[-1] if of_phase else None
