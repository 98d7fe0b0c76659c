"""Reports of finished steps: metrics, pictures, figures, and an error if training has diverged."""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

import jax
import numpy as np

from ganjax.engine.phases import Phase
from ganjax.errors import UserError
from ganjax.metrics.fields import NO_FIGURE
from ganjax.pictures import images
from ganjax.training import checkpoint, ensemble
from ganjax.training.board import as_code, viewing
from ganjax.training.epochs import Cadence, Epochs
from ganjax.training.illnesses import Watch
from ganjax.training.loggers import hparams
from ganjax.training.schema import LoopConfig
from ganjax.training.window import Window, mean_and_spread, of_seed
from ganjax.training.writer import Writer

# How the names of grids end that are of a generator itself, beside those of its average.
RAW = "_raw"
LOSSES = ("d_loss", "g_loss")
# The metrics that every step measures. Others are NaN in a step that does not measure them.
ALWAYS_MEASURED = (*LOSSES, "d_grad_norm", "g_grad_norm")


class NonFiniteError(UserError):
    """The error when training has diverged: a metric or the state is infinite or NaN."""


class Pending:
    """A queue of writes of the results of finished steps.

    To write the results of a step the host must wait for them. The writes stay here until the next
    step has been dispatched, so that the device has work meanwhile.
    """

    def __init__(self):
        self._writes: list[Callable[[], None]] = []

    def add(self, write: Callable[..., None], *args) -> None:
        """Adds the call `write(*args)` to the queue."""
        self._writes.append(partial(write, *args))

    def write(self) -> None:
        """Writes everything that is pending, oldest first."""
        for write in self._writes:
            write()
        self._writes.clear()


class Report:
    """The report of a run: it turns what the loop computes into metrics, pictures and messages.

    Its methods raise a NonFiniteError for values that are infinite or NaN.

    Args:
      writer: the writer of metrics, pictures and messages.
      folder: the run's folder.
      config: the run's config.
      checkpoints: the run's checkpoints, the last good one of which an error names.
      epochs: the run's epochs.
      log: the cadence of lines of metrics, besides that of the last step.
      window: the metrics since the last line.
      watch: a watch over the metrics for known illnesses.
      scaled_losses: whether the losses are scaled. If so, a gradient may overflow: the step then
        skips it, and its norm is not measured.
    """

    def __init__(
        self,
        writer: Writer,
        folder: Path,
        config: LoopConfig,
        checkpoints: checkpoint.Checkpoints,
        *,
        epochs: Epochs,
        log: Cadence,
        window: Window,
        watch: Watch,
        scaled_losses: bool = False,
    ):
        self._checkpoints = checkpoints
        self._writer = writer
        self._folder = folder
        self._config = config
        self._epochs, self._log, self.window, self._watch = epochs, log, window, watch
        self._seeds = ensemble.seeds(config)
        self._always_measured = LOSSES if scaled_losses else ALWAYS_MEASURED
        # The time at which the last dispatch ended, or the phase began.
        self._last_end = time.perf_counter()
        # The step and the figures of the last evaluation.
        self._evaluated: tuple[int, dict[str, float]] = (0, {})
        # The numbers of steps in the dispatches of the phase so far: the first of each compiles.
        self._compiled: set[int] = set()
        # For images_per_second: the time at which it was last written, or at which a dispatch that
        # is left out ended, and the number of real images trained on since then.
        self._rate, self._leaves_out = (self._last_end, 0), False

    def begin_run(
        self, step: int, networks: str, holds_out: bool = True, notes: Sequence[str] = ()
    ) -> None:
        """Prints and writes what is trained, and starts the clock.

        Args:
          step: the step from which the run goes on.
          networks: a description of the networks.
          holds_out: whether any images are held out.
          notes: further lines about the run.
        """
        self._writer.say(networks)
        config = self._config
        several = f" of {config.num_seeds} seeds" if config.num_seeds > 1 else ""
        self._writer.say(
            f"{config.algorithm} on {config.data.source}{several}, steps {step} to "
            f"{config.total_steps} ({self._epochs.described(config.total_steps)}), "
            f"{jax.device_count()} x {jax.devices()[0].device_kind}, {self._folder}; compiling"
        )
        if not holds_out:
            self._writer.say(
                "no images are held out: evaluations compare samples with training images, and "
                "there are no losses of held-out images"
            )
        for line in notes:
            self._writer.say(line)
        best = config.evaluation.best
        self._writer.say(viewing(self._folder))
        self._writer.write_hparams(
            hparams(config), [*LOSSES, *([] if best == NO_FIGURE else [best])]
        )
        self._writer.write_texts(
            {"config": as_code(config.model_dump_json(indent=2)), "networks": as_code(networks)}
        )
        self._last_end = time.perf_counter()

    def begin_phase(self, phase: Phase) -> None:
        """Prints that a phase other than the first begins, which compiles, and resets the clock."""
        size, batch = phase.size, phase.batch_size
        self._writer.say(
            f"steps {phase.start} to {phase.stop}: {size}, batches of {batch}, "
            f"{self._epochs.steps(phase):.4g} steps an epoch; compiling"
        )
        self._last_end, self._compiled = time.perf_counter(), set()

    def leave_out(self) -> None:
        """Leaves the time until the end of the next dispatch out of images_per_second."""
        self._leaves_out = True

    def metrics(
        self, step: int, count: int, reals: int, metrics: Sequence[dict[str, jax.Array]]
    ) -> None:
        """Checks the metrics of a dispatch, and writes a line where one is due.

        A line has means since the line before, and last values of what is no mean
        (`ganjax.training.window`).

        Args:
          step: the last step of the dispatch.
          count: the number of steps in the dispatch.
          reals: the number of real images that the discriminators were trained on in one step.
          metrics: the metrics of each member, on the device: scalars, or (count,) arrays. Those
            that a step does not measure are NaN.

        Raises:
          NonFiniteError: a metric is infinite, or is NaN although every step measures it.
        """
        # jax.device_get would take a tenth of a millisecond of the processor more.
        values = {
            name: np.array([np.asarray(member[name]) for member in metrics]).reshape(-1, count)
            for name in metrics[0]
        }
        start, end = self._last_end, time.perf_counter()
        self._last_end = end
        untimed = self._leaves_out or count not in self._compiled
        if not self._compiled:
            self._writer.say(f"first step after {end - start:.1f} s")
        if untimed:
            self._compiled.add(count)
            self._rate, self._leaves_out = (end, 0), False
        for i in range(count):
            if not untimed:
                self._rate = (self._rate[0], self._rate[1] + reals)
            # All steps of a dispatch are assumed to have lasted equally long.
            step_end = start + (i + 1) / count * (end - start)
            of_step = {name: value[:, i] for name, value in values.items()}
            self._step_metrics(step - count + 1 + i, of_step, step_end)

    def _step_metrics(self, step: int, values: dict[str, np.ndarray], end: float) -> None:
        """Checks and writes a step's metrics, (members,) arrays. The step ended at time `end`."""
        measured = {
            name: value
            for name, value in values.items()
            if name in self._always_measured or not any(map(math.isnan, value.tolist()))
        }
        self._check(step, measured)
        self.window.add(measured)
        self._writer.advance()
        if self._log.is_due(step) or step == self._config.total_steps:
            start, reals = self._rate
            scalars = mean_and_spread(self.window.line())
            if reals:
                scalars["images_per_second"] = reals / (end - start)
                self._rate = (end, 0)
            self._write(step, scalars)

    def _write(self, step: int, scalars: dict[str, float]) -> None:
        """Writes a line of metrics, and tells of an illness that it is the first to show."""
        self._writer.write_scalars(step, scalars)
        for line in self._watch({"step": step} | scalars):
            self._writer.say(f"step {step}: {line}")

    def pictures(
        self, step: int, drawn: Sequence[Callable[[], np.ndarray]], *, raw: bool = False
    ) -> None:
        """Writes a picture of each member's samples.

        Args:
          step: the step of the generators.
          drawn: for each member, the function that returns its picture, uint8 (H, W, C).
          raw: whether the samples are of the generators themselves, not of their averages.
        """
        ending = RAW if raw else ""
        for seed, draw in zip(self._seeds, drawn, strict=True):
            name = "samples" if len(drawn) == 1 else f"samples/seed_{seed}"
            picture = draw()
            if self._writer.primary:
                (self._folder / name).mkdir(exist_ok=True)
                images.save_png(self._folder / name / f"step_{step:08d}{ending}.png", picture)
            self._writer.write_images(step, {f"{name}{ending}": picture})

    def evaluation(
        self,
        step: int,
        losses: Sequence[list[dict[str, jax.Array]]],
        figures: Sequence[dict[str, float]],
    ) -> None:
        """Writes the means of the held-out losses, and the figures of the samples.

        Of several members, each member's figures are written beside the means. Warnings of a run
        that goes on compare with them, and sweeps compare seeds.

        Args:
          step: the step of the members.
          losses: the metrics of each member on each held-out batch, on the device; no batches if
            no images are held out.
          figures: the figures of each member's samples.

        Raises:
          NonFiniteError: a mean or a figure is not finite.
        """
        members = []
        for batches, of_samples in zip(jax.device_get(losses), figures, strict=True):
            names = batches[0] if batches else ()
            means = {name: float(np.mean([batch[name] for batch in batches])) for name in names}
            members.append(means | of_samples)
        # A figure that one of the members could not measure has no mean.
        names = [name for name in members[0] if all(name in member for member in members)]
        values = {name: np.array([member[name] for member in members]) for name in names}
        self._check(step, values)
        scalars = mean_and_spread(values)
        if len(members) > 1:
            for seed, of_samples in zip(self._seeds, figures, strict=True):
                scalars |= of_seed(of_samples, seed)
        if scalars:
            self._write(step, scalars)
        self._evaluated = (step, scalars)

    def figures(self, step: int) -> dict[str, float]:
        """Returns the figures of the evaluation at a step, or {} if there was none."""
        return self._evaluated[1] if self._evaluated[0] == step else {}

    def check_finite(self, step: int, finite: jax.Array) -> None:
        """Raises an error if a state has a value that is not finite.

        Args:
          step: the step of the state.
          finite: whether all values of the state are finite, a boolean on the device.

        Raises:
          NonFiniteError: a value is not finite.
        """
        if not jax.device_get(finite):
            self._diverged(step, "a parameter or average is not finite")

    def _check(self, step: int, values: dict[str, np.ndarray]) -> None:
        """Raises a NonFiniteError if a value of the (members,) arrays is not finite."""
        bad = [
            f"{name}={value}{of_seed}"
            for name, of_members in values.items()
            if not all(map(math.isfinite, of_members.tolist()))
            for value, of_seed in zip(of_members, ensemble.whose(self._seeds), strict=True)
            if not math.isfinite(value)
        ]
        if bad:
            self._diverged(step, ", ".join(bad))

    def _diverged(self, step: int, what: str) -> NoReturn:
        self._checkpoints.wait()
        saved = checkpoint.latest_step(self._checkpoints)
        at = self._folder / checkpoint.FOLDER
        last = f"the last good checkpoint is step {saved} ({at}; it can be sampled)"
        there = " from there by --allow_change, from an earlier one by --from_step too, or"
        raise NonFiniteError(
            f"step {step}: {what}; {last if saved else 'there is no checkpoint yet'}. The same "
            "config diverges again: try lower learning rates, a larger batch or another seed,"
            f"{there if saved else ''} by --new in another folder"
        )
