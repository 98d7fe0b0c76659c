"""Periodic actions of a run while it trains: pictures, evaluations and checkpoints.

Each action knows when it is due. The loop (`ganjax.training.loop`) performs them in the order that
it states. Pictures and evaluations leave their results in `Outputs.pending`, to be written after
the next step has been dispatched, so that neither waits for the device. A checkpoint does wait,
because no state may be saved that is not finite.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.data import pipeline
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.phases import Phase
from ganjax.engine.state import Ema
from ganjax.metrics.fields import NO_FIGURE
from ganjax.runtime import compiling
from ganjax.runtime.signals import Signals
from ganjax.training import checkpoint, ensemble
from ganjax.training.epochs import Cadence
from ganjax.training.outputs import Outputs
from ganjax.training.setup import Run

# So many batches give a stable mean; a large held-out split need not be read at every evaluation.
EVAL_BATCHES = 16


@dataclass(frozen=True)
class Snapshot:
    """The state of a run after a step, which the actions of that step share.

    Attributes:
      step: the number of finished steps.
      phase: the phase of the last finished step.
      state: the state of all members, as the ensemble packs it.
      unpack: the function that returns the state of each member, given a packed state.
    """

    step: int
    phase: Phase
    state: Any
    unpack: Callable[[Any], ensemble.Members]

    @cached_property
    def members(self) -> ensemble.Members:
        """The state of each member. It may be a copy, so no snapshot should outlive its step."""
        return self.unpack(self.state)


class StopRequest:
    """A user's request, by SIGTERM or Ctrl-C, that the run stops. All processes see the same.

    Args:
      signals: the signals that this process has received.
      agree: the function that returns the number that all processes agree on, given that of this
        process (`ganjax.parallel.distributed.Consensus`).

    Attributes:
      signal: the number of the signal, or 0 while there is none.
    """

    def __init__(self, signals: Signals, agree: Callable[[int], int]):
        self._signals = signals
        self._agree = agree
        self.signal = 0

    def update(self) -> None:
        """Asks all processes for a signal. All of them must call it at the same steps."""
        self.signal = self._agree(self._signals.received or 0)


class Action:
    """An action that a run performs at a cadence and at the end of each phase."""

    def __init__(self, cadence: Cadence):
        self.cadence = cadence

    def is_due(self, step: int, phase: Phase) -> bool:
        """Returns whether to perform the action after `step` steps, the last of them in `phase`."""
        return self.cadence.is_due(step) or step == phase.stop

    def __call__(self, snapshot: Snapshot) -> None:
        """Performs the action on the state of a run."""
        raise NotImplementedError


def perform(actions: Iterable[Action], snapshot: Snapshot) -> None:
    """Performs the actions that are due after a snapshot's step, in their order."""
    for action in actions:
        if action.is_due(snapshot.step, snapshot.phase):
            action(snapshot)


class Pictures(Action):
    """The action that draws a picture of each member's samples, as the run's domain draws them.

    Samples are those of the averaged generator. Where there is an average, another picture has
    those of the generator itself.

    Args:
      run: the run.
      outputs: the outputs that the pictures are added to.
    """

    def __init__(self, run: Run, outputs: Outputs):
        super().__init__(run.cadences.sample)
        self._outputs = outputs
        self._draw_member = run.domain.pictures(run)
        self._averaged = {
            phase: has_average(run.algorithm, phase) for phase in run.algorithm.phases
        }

    def __call__(self, snapshot: Snapshot) -> None:
        self._draw(snapshot, [member.ema for member in snapshot.members])
        if self._averaged[snapshot.phase]:
            raw = [Ema(member.g.params, member.g.vars) for member in snapshot.members]
            self._draw(snapshot, raw, raw=True)

    def untrained(self, members: ensemble.Members) -> list[Callable[[], None]]:
        """Returns what draws and writes the pictures of step 0, for `Pending`; may be nothing.

        It keeps copies of the averages, since the first steps donate the members' states. The time
        that it takes, mostly to compile, is left out of the run's images_per_second.
        """
        if self._draw_member is None:
            return []
        copy, report = jax.jit(partial(jax.tree.map, jnp.copy)), self._outputs.report
        generators = [copy(member.ema) for member in members]

        def write():
            report.pictures(0, self._drawn(generators, next(iter(self._averaged))))
            report.leave_out()

        return [write]

    def _draw(self, snapshot: Snapshot, generators: Sequence[Ema], *, raw: bool = False) -> None:
        if self._draw_member is not None:
            drawn = self._drawn(generators, snapshot.phase)
            write = partial(self._outputs.report.pictures, raw=raw)
            self._outputs.pending.add(write, snapshot.step, drawn)

    def _drawn(self, generators: Sequence[Ema], phase: Phase) -> list[Callable[[], np.ndarray]]:
        """Starts to draw samples; returns for each member the function that waits for them."""
        draw = self._draw_member
        assert draw is not None  # As the callers have found.
        return [draw(generator, phase, index) for index, generator in enumerate(generators)]


class Evaluation(Action):
    """The action that evaluates each member: D's loss on held-out reals, and figures of samples.

    Args:
      run: the run.
      outputs: the outputs that the figures, and warnings about them, are added to.
    """

    def __init__(self, run: Run, outputs: Outputs):
        super().__init__(run.cadences.eval)
        self._run, self._outputs = run, outputs
        self._measure = run.domain.measure(run)

    def __call__(self, snapshot: Snapshot) -> None:
        losses = self._held_out_losses(snapshot)
        figures = [self._figures(snapshot, index) for index in range(len(self._run.seeds))]
        self._outputs.pending.add(self._outputs.report.evaluation, snapshot.step, losses, figures)

    def _held_out_losses(self, snapshot: Snapshot) -> list[list[dict[str, jax.Array]]]:
        """Returns the eval step's metrics for each member and held-out batch, on the device."""
        run, phase = self._run, snapshot.phase
        if not run.images[phase].held_out.size:
            return [[] for _ in run.seeds]
        # Batches are as large as those that a train step holds at once, so that memory suffices.
        batches = pipeline.eval_batches(
            run.images[phase].held_out,
            phase.batch_size // run.algorithm.accumulate,
            limit=EVAL_BATCHES * run.algorithm.accumulate,
            sharding=run.layout.batches,
        )
        losses = [[] for _ in run.seeds]
        for index, batch in enumerate(batches):
            for rows, member, key in zip(losses, snapshot.members, run.keys, strict=True):
                eval_step = run.programs.eval_step
                rows.append(eval_step(member, batch, np.int32(index), key, phase=phase))
        return losses

    def _figures(self, snapshot: Snapshot, index: int) -> dict[str, float]:
        """Measures one member's samples, and passes on what there is to warn of."""
        measured = self._measure(snapshot.members[index].ema, snapshot.phase, index)
        whose = ensemble.whose(self._run.seeds)[index]
        for line in measured.warnings:
            say = self._outputs.writer.say
            self._outputs.pending.add(say, f"step {snapshot.step}{whose}: {line}")
        return measured.figures


class Checkpoint(Action):
    """The action that saves the state of all members, unless one of its values is not finite.

    It is also due when the run is to stop, and at every evaluation if the best checkpoint is kept.

    Args:
      run: the run.
      outputs: the outputs that hold the checkpoints.
      stop: the request that the run stops.
    """

    def __init__(self, run: Run, outputs: Outputs, stop: StopRequest):
        super().__init__(run.cadences.checkpoint)
        self._run, self._outputs, self._stop = run, outputs, stop

    def is_due(self, step: int, phase: Phase) -> bool:
        evaluated = self._run.cadences.eval.is_due(step)
        keeps_best = self._run.config.evaluation.best != NO_FIGURE
        return super().is_due(step, phase) or (keeps_best and evaluated) or bool(self._stop.signal)

    def __call__(self, snapshot: Snapshot) -> None:
        step, outputs = snapshot.step, self._outputs
        finite = self._run.programs.all_finite(snapshot.state)
        outputs.pending.add(outputs.report.check_finite, step, finite)
        outputs.pending.write()
        checkpoint.save(
            outputs.checkpoints,
            step,
            ensemble.saved_form(snapshot.members),
            outputs.report.figures(step),
            outputs.report.window.saved(),
        )


def has_average(algorithm: Algorithm, phase: Phase) -> bool:
    """Returns whether the generator's average differs from the generator by the end of a phase."""
    # One program, since each operation on its own would be compiled as another.
    once = compiling.options_once(jax.default_backend())
    decay = jax.jit(
        lambda step: jnp.asarray(algorithm.in_phase(phase).ema_decay(step)), compiler_options=once
    )
    return float(decay(np.int32(phase.stop - 1))) > 0
