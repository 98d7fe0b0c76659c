"""The outputs of a run: its metrics, pictures, messages and checkpoints."""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import jax

from ganjax.engine.algorithm import NoLossScaling
from ganjax.training import checkpoint, glossary, schema, workdir
from ganjax.training.display import Display
from ganjax.training.epochs import Epochs
from ganjax.training.history import History
from ganjax.training.illnesses import Watch
from ganjax.training.report import Pending, Report
from ganjax.training.setup import Run
from ganjax.training.window import Window
from ganjax.training.writer import METRICS, Writer, read_metrics


@dataclass(frozen=True)
class Outputs:
    """The open files of a run, to which its metrics, pictures and checkpoints are written.

    Attributes:
      writer: the writer of metrics, pictures and messages.
      checkpoints: the run's checkpoints.
      report: the report, which turns the results of steps into what the writer writes.
      pending: the writes that wait until the next step has been dispatched.
    """

    writer: Writer
    checkpoints: checkpoint.Checkpoints
    report: Report
    pending: Pending


@contextlib.contextmanager
def open_outputs(
    run: Run,
    checkpoints: checkpoint.Checkpoints,
    step: int,
    display: Display | None = None,
    loggers: Iterable[str] = (),
) -> Iterator[Outputs]:
    """Opens the outputs of a run.

    Args:
      run: the run.
      checkpoints: the run's checkpoints, of which the latest can be read.
      step: the step from which the run goes on, after which metrics are removed.
      display: what shows the run's progress; by default the terminal.
      loggers: the names of loggers that are told of the run (`ganjax.training.loggers`).
    """
    primary = jax.process_index() == 0
    past = workdir.settle(run.folder, step) if primary else History()
    epochs = _epochs(run, past)
    # What the old fields have measured says nothing of the new ones, or is measured no more.
    changes = any(change.step == step for change in past.changes)
    window = {} if changes else checkpoint.window(checkpoints)
    with Writer(
        run.folder,
        step,
        run.config.total_steps,
        primary=primary,
        epoch_at=epochs.at,
        display=display,
        describe=partial(glossary.description, own=run.algorithm.meanings),
        loggers=loggers,
    ) as writer:
        scaled = not isinstance(run.algorithm.loss_scaling, NoLossScaling)
        report = Report(
            writer,
            run.folder,
            run.config,
            checkpoints,
            epochs=epochs,
            log=run.cadences.log,
            window=Window(run.algorithm.last_values, window),
            watch=Watch(run.config, read_metrics(run.folder / METRICS) if writer.primary else ()),
            scaled_losses=scaled,
        )
        for line in past.lines(step):
            writer.say(line)
        yield Outputs(writer, checkpoints, report, Pending())


def _epochs(run: Run, past: History) -> Epochs:
    """Returns the epochs of a run, in which its earlier steps count as they were trained."""
    stretches = past.stretches(run.config.model_dump(mode="json"))
    earlier = [schema.load(fields) for _, fields in stretches[:-1]]
    before = [Epochs.of(module.build(config), run.epochs.images) for config, module in earlier]
    stops = [start for start, _ in stretches[1:]]
    return dataclasses.replace(run.epochs, before=tuple(zip(stops, before, strict=True)))
