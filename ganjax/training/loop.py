"""The training loop of every algorithm: it restores, trains, writes, evaluates and saves."""

import contextlib
import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import ml_collections

from ganjax.data import pipeline
from ganjax.engine.phases import Phase, phase_of
from ganjax.engine.state import GanState
from ganjax.parallel import distributed
from ganjax.runtime.signals import Signals
from ganjax.training import ahead, attempts, dispatch, layer_table, orbax, setup, workdir
from ganjax.training.actions import (
    Checkpoint,
    Evaluation,
    Pictures,
    Snapshot,
    StopRequest,
    perform,
)
from ganjax.training.checkpoint import Checkpoints, best_step, latest_step
from ganjax.training.display import Display
from ganjax.training.ensemble import Members, saved_form
from ganjax.training.loggers import check as check_loggers
from ganjax.training.outputs import Outputs, open_outputs
from ganjax.training.setup import Run
from ganjax.training.start import AS_IT_IS, Start


class Interrupted(SystemExit):
    """The exit after SIGTERM or Ctrl-C, once the state is saved, with code 128 + the signal."""


def train(
    raw: ml_collections.ConfigDict | dict,
    folder: str | Path,
    display: Display | None = None,
    start: Start = AS_IT_IS,
    loggers: Collection[str] = (),
) -> GanState | Members:
    """Trains a config to its end, from the latest checkpoint if the folder holds one.

    All processes that joined (`ganjax.parallel.distributed`) call this with the same arguments, and
    with a folder that all can reach. Each reads its own part of the batches and saves its own part
    of the state; process 0 alone writes everything else. A signal to any process stops all of them
    at the same step.

    The folder gets config.json, attempts.jsonl, log.txt, metrics.jsonl, tensorboard/, samples/ and
    checkpoints/.

    Args:
      raw: the config, as `get_config` of a config file returns it.
      folder: the run's folder, which is made if it does not exist.
      display: what shows the run's progress; by default the terminal.
      start: how the run begins or goes on; by default from its last checkpoint, if it has one, as
        it was.
      loggers: the names of services that are told of the run: "wandb", "mlflow", "trackio".

    Returns:
      The state at the end of the run; a tuple of states, one for each seed, if config.num_seeds is
      not 1.

    Raises:
      ConfigError, DataError, CheckpointError: the run cannot begin; no step has been taken.
      UserError: a logger is not installed.
      NonFiniteError: training has diverged.
      SaveError: a checkpoint, or another file of the run, cannot be written.
      Interrupted: SIGTERM or Ctrl-C was received, and the state is saved.
    """
    check_loggers(loggers)
    run = setup.prepare(raw, Path(folder), start)
    config, ensemble = run.config, run.programs.ensemble
    with (
        setup.open_checkpoints(run) as checkpoints,
        # Within the context above, which would wait for the other processes when it ends.
        distributed.exiting_on_error(),
        distributed.on_primary(attempts.recorded(run.folder, config.total_steps)),
        orbax.naming_full_disk(checkpoints),
        contextlib.ExitStack() as stack,
    ):
        pace = dispatch.Pace(config.steps_per_dispatch, workdir.read_history(run.folder).dispatches)
        compiled = stack.enter_context(_compiling(run, checkpoints, pace))
        members = run.restore(checkpoints)
        step = int(members[0].step)
        # Opened only now, because metrics after the step that could be restored are removed.
        outputs = stack.enter_context(open_outputs(run, checkpoints, step, display, loggers))
        signals = stack.enter_context(Signals())
        if ending := _ending(run, checkpoints, step):
            outputs.writer.say(ending)
            return saved_form(members)
        networks = layer_table.short(run.networks)
        outputs.report.begin_run(step, networks, run.holds_out, run.domain.notes())
        stop = StopRequest(signals, distributed.Consensus(run.layout.mesh))
        checkpoint = Checkpoint(run, outputs, stop)
        pictures = Pictures(run, outputs)
        actions = pictures, Evaluation(run, outputs), checkpoint
        # What the first steps need not wait for comes once they are reported: the pictures of step
        # 0, whose program is compiled then, and Orbax.
        first = [*([] if step else pictures.untrained(members)), checkpoints.get_ready]
        state, members = ensemble.pack(members), ()
        compiled()
        for phase in (each for each in run.algorithm.phases if step < each.stop):
            if 0 < step == phase.start:
                state = _begin(run, outputs, phase, state)
            reals = phase.batch_size * run.algorithm.n_critic * len(run.seeds)
            # The order, which resuming relies on: advance, write what the step before left (so that
            # the device has work), pictures, evaluation, checkpoint (after all writes), stop.
            for count, batches in _dispatches(run, phase, step, pace):
                step += count  # Counted here, since reading the state's own step would wait for it.
                advance = partial(_advance, run, state, batches, phase)
                state, metrics, choice = pace.start(advance, step, phase)
                if choice:
                    _keep(run, outputs, choice)
                stop.update()
                checkpoints.raise_failure()
                outputs.pending.write()
                outputs.pending.add(outputs.report.metrics, step, count, reals, metrics)
                while first:
                    outputs.pending.add(first.pop())
                perform(actions, Snapshot(step, phase, state, ensemble.unpack))
                if step < config.total_steps and checkpoint.is_due(step, phase):
                    if ending := _early_stop(run, checkpoints, step):
                        return _finish(run, outputs, state, ending)
                    if stop.signal:
                        outputs.checkpoints.wait()
                        outputs.writer.say(_interruption(run, step, stop.signal))
                        raise Interrupted(128 + stop.signal)
        ending = f"finished at step {step}: samples in {run.folder / 'samples'}"
        return _finish(run, outputs, state, ending)


def _compiling(
    run: Run, checkpoints: Checkpoints, pace: dispatch.Pace
) -> AbstractContextManager[Callable[[], None]]:
    """Returns `ahead.compiling` for the run's next step, if it has one."""
    step = latest_step(checkpoints)
    if _ending(run, checkpoints, step):
        return contextlib.nullcontext(lambda: None)
    return ahead.compiling(run, step, pace.size)


def _begin(run: Run, outputs: Outputs, phase: Phase, state: Any) -> Any:
    """Begins a phase other than the first, and returns the state from which it trains."""
    ensemble, begin = run.programs.ensemble, run.programs.begin
    members = ensemble.unpack(state)
    state = ensemble.pack(tuple(begin(member, phase=phase) for member in members))
    outputs.pending.write()
    outputs.report.begin_phase(phase)
    return state


def _advance(run: Run, state: Any, batches: tuple, phase: Phase) -> tuple[Any, tuple]:
    """Starts the steps of a dispatch, and returns the state after them and their metrics."""
    with jax.transfer_guard("disallow"):  # Implicit transfers would stall the device.
        return run.programs.ensemble.advance(state, batches, run.keys, phase)


def _keep(run: Run, outputs: Outputs, chosen: dispatch.Chosen) -> None:
    """Keeps a chosen number of steps in a dispatch in the run's folder, and tells of it."""
    with distributed.sharing_errors():
        if jax.process_index() == 0:
            workdir.keep_dispatch(run.folder, chosen.dispatch)
    outputs.writer.say(
        f"steps_per_dispatch={chosen.dispatch.steps} from step {chosen.dispatch.step} on: the host "
        f"starts a dispatch in {1e3 * chosen.host:.2g} ms, and the device goes on with a step for "
        f"{1e3 * chosen.device:.2g} ms"
    )


def _dispatches(
    run: Run, phase: Phase, step: int, pace: dispatch.Pace
) -> Iterator[tuple[int, tuple]]:
    """Reads the batches of the steps that are left of a phase, a dispatch at a time.

    Args:
      run: the run.
      phase: the phase.
      step: the number of finished steps.
      pace: the number of steps in a dispatch.

    Yields:
      The number of steps of a dispatch, and each member's batches with an axis of these steps.
    """
    training = run.images[phase].training
    on_device = pipeline.put_all(training, run.layout.batches) if run.domain.on_device else None
    while step < phase.stop:
        size = pace.size(step, phase)
        counts = partial(dispatch.counts, step, phase.stop, size, run.due(phase))
        per_member = [
            pipeline.train_batches(
                training,
                phase,
                seed=seed,
                reals=run.algorithm.real_batches,
                start=step,
                sharding=run.layout.batches,
                on_device=on_device,
                mirror=run.domain.mirror,
                dispatches=counts(),
            )
            for seed in run.seeds
        ]
        for count, batches in zip(counts(), zip(*per_member, strict=True), strict=True):
            yield count, batches
            step += count
            if pace.size(step, phase) != size:
                break  # The batches that were read ahead are of dispatches of the old size.


def _ending(run: Run, checkpoints: Checkpoints, step: int) -> str | None:
    """Returns a line that says why a run has no step left after `step`; None if it has one."""
    config = run.config
    if step < config.total_steps:
        return _early_stop(run, checkpoints, step)
    on = f"To train on: --config.total_steps={2 * step}"
    if "config.total_steps" not in config.continuable:
        on += " --allow_change=total_steps (its learning rates have fallen to 0, and rise again)"
    return f"{run.folder} is finished at step {step}. {on}; to begin anew: --new"


def _early_stop(run: Run, checkpoints: Checkpoints, step: int) -> str | None:
    """Returns a line that says why a run stops before total_steps; None if it goes on.

    It stops when config.evaluation.patience evaluations in a row were no better than the best.
    Since this depends only on what is saved, a run that has stopped stays finished.
    """
    wanted = run.config.evaluation
    if not wanted.patience:
        return None
    best = best_step(checkpoints, wanted.best)
    interval = run.cadences.eval.of(phase_of(run.algorithm.phases, step))
    if best is None or step - best < wanted.patience * interval.steps:
        return None
    return (
        f"{run.folder} is finished at step {step}: {wanted.best} was best at step {best}, "
        f"{wanted.patience} evaluations ago. That checkpoint is what is sampled"
    )


def _interruption(run: Run, step: int, number: int) -> str:
    command = f"--workdir={run.folder} in place of --new" if run.start.new else "the same command"
    return (
        f"stopped by {signal.Signals(number).name} at step {step} of {run.config.total_steps}: "
        f"saved; {command} goes on from there"
    )


def _finish(run: Run, outputs: Outputs, state: Any, ending: str) -> GanState | Members:
    """Waits until the last checkpoint is saved, prints why the run ends, and returns its state."""
    outputs.checkpoints.wait()
    outputs.writer.say(ending)
    return saved_form(run.programs.ensemble.unpack(state))
