"""What the loop tells of finished steps: metrics, pictures, figures, and divergence."""

import math
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from ganjax.engine.phases import Phase
from ganjax.errors import UserError
from ganjax.pictures import images
from ganjax.training import checkpoint, ensemble
from ganjax.training.schema import RunConfig
from ganjax.training.writer import Writer

# The engine's own. Any other metric is NaN in a step that does not measure it.
LOSSES = ("d_loss", "g_loss")
ALWAYS = (*LOSSES, "d_grad_norm", "g_grad_norm")


class NonFiniteError(UserError):
    """A loss or a gradient is infinite or NaN."""


class Report:
    """What the loop tells of finished steps."""

    def __init__(
        self,
        writer: Writer,
        folder: Path,
        config: RunConfig,
        checkpoints: ocp.training.Checkpointer,
    ):
        self._checkpoints = checkpoints
        self._writer = writer
        self._folder = folder
        self._config = config
        # The last dispatch's end, or a phase's begin.
        self._then = time.perf_counter()
        # Under loss scaling a gradient that overflows is measured and left out.
        self._always = LOSSES if config.precision == "float16" else ALWAYS
        # Each metric as last measured.
        self._latest = {}
        # (step, figures) of the last evaluation.
        self._evaluated = (0, {})
        # (time, reals since then) of the rate: all that a phase does but its compilation.
        self._window = None

    def begin(self, phase: Phase) -> None:
        """A phase after the first begins, which is compiled and timed by itself."""
        size, batch = phase.image_size, phase.batch_size
        self._writer.say(
            f"steps {phase.start} to {phase.stop}: {size}x{size}, batches of {batch}; compiling"
        )
        self._then, self._window = time.perf_counter(), None

    def metrics(
        self, step: int, count: int, seen: int, metrics: Sequence[dict[str, jax.Array]]
    ) -> None:
        """Checks the metrics of a dispatch's steps and writes those whose turn it is.

        Args:
          step: the last one.
          count: of its steps.
          seen: the reals that the discriminators were trained on in a step.
          metrics: of each member, on the device, scalars or (count,); those not of the engine are
            NaN where a step does not measure them, and written as last measured.

        Raises:
          NonFiniteError: one of them is not finite, or is NaN though it is the engine's.
        """
        members = jax.device_get(metrics)
        every = {n: np.stack([m[n].reshape(count) for m in members]) for n in members[0]}
        then, now = self._then, time.perf_counter()
        self._then = now
        compiled, self._window = self._window is None, self._window or (now, 0)
        if compiled:
            self._writer.say(f"first step after {now - then:.1f} s")
        for i in range(count):
            if not compiled:
                self._window = (self._window[0], self._window[1] + seen)
            values = {name: value[:, i] for name, value in every.items()}
            # As if its steps had come one by one.
            self._step(step - count + 1 + i, values, then + (i + 1) / count * (now - then))

    def _step(self, step: int, values: dict[str, np.ndarray], now: float) -> None:
        """One step's (members,) values of each metric, done at the time `now`."""
        values = {n: v for n, v in values.items() if n in self._always or not np.isnan(v).any()}
        self._check(step, values)
        self._latest |= mean_and_spread(values)
        self._writer.advance()
        if step % self._config.log_every == 0 or step == self._config.total_steps:
            since, count = self._window
            values = dict(sorted(self._latest.items()))
            if count:
                values["images_per_second"] = count / (now - since)
                self._window = (now, 0)
            self._writer.write_scalars(step, values)

    def samples(self, step: int, pictures: Sequence[jax.Array], names: list[str]) -> None:
        """Writes a grid of each member's samples.

        Args:
          step: of the state.
          pictures: of each member.
          names: of the pictures' classes, of which each has a column, or [].
        """
        for seed, cells in zip(ensemble.seeds(self._config), pictures, strict=True):
            where = "samples" if len(pictures) == 1 else f"samples/seed_{seed}"
            self._samples(step, np.asarray(jax.device_get(cells)), names, where)

    def _samples(self, step, cells, names, where):
        columns = self._config.sample_grid[1]
        if names:
            cells = images.captioned(cells, above=names)
            columns = images.columns(len(cells), len(set(names)))
        picture = images.grid(cells, columns)
        if self._writer.primary:
            (self._folder / where).mkdir(exist_ok=True)
            images.save_png(self._folder / where / f"step_{step:08d}.png", picture)
        self._writer.write_images(step, {where: picture})

    def evaluation(
        self,
        step: int,
        values: Sequence[list[dict[str, jax.Array]]],
        figures: Sequence[dict[str, float]],
    ) -> None:
        """Writes the means over the held-out batches, and the figures.

        Args:
          step: of the state.
          values: of each member, of each batch, on the device.
          figures: of each member, of its samples.
        """
        members = []
        for rows, more in zip(jax.device_get(values), figures, strict=True):
            means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
            members.append(means | more)
        # What a member could not measure has no mean.
        names = [name for name in members[0] if all(name in member for member in members)]
        every = {name: np.array([member[name] for member in members]) for name in names}
        self._check(step, every)
        found = mean_and_spread(every)
        self._writer.write_scalars(step, found)
        self._evaluated = (step, found)

    def figures(self, step: int) -> dict[str, float]:
        """Of the evaluation of `step`, {} if there was none."""
        return self._evaluated[1] if self._evaluated[0] == step else {}

    def state(self, step: int, finite: jax.Array) -> None:
        """Refuses a state with a value that is not finite.

        Raises:
          NonFiniteError: there is one.
        """
        if not jax.device_get(finite):
            self._diverged(step, "a parameter or average is not finite")

    def _check(self, step: int, values: dict[str, np.ndarray]) -> None:
        seeds = ensemble.seeds(self._config)
        whose = [f" of seed {seed}" if len(seeds) > 1 else "" for seed in seeds]
        bad = [
            f"{name}={value}{of}"
            for name, each in values.items()
            for value, of in zip(each, whose, strict=True)
            if not math.isfinite(value)
        ]
        if bad:
            self._diverged(step, ", ".join(bad))

    def _diverged(self, step: int, what: str):
        self._checkpoints.wait()
        saved = checkpoint.latest_step(self._checkpoints)
        last = f"the last good checkpoint is step {saved}" if saved else "no checkpoint yet"
        raise NonFiniteError(
            f"step {step}: {what}; {last} ({self._folder / checkpoint.FOLDER}; it can be sampled). "
            "The same config diverges again: try lower learning rates, a larger batch or another "
            "seed, in another --workdir"
        )


def mean_and_spread(values: dict[str, np.ndarray]) -> dict[str, float]:
    """name -> the mean over members and, of several, name_seed_std, their sample deviation.

    Args:
      values: name -> (members,).
    """
    found = {}
    for name, each in values.items():
        each = each.astype(np.float64)
        found[name] = float(each.mean())
        if len(each) > 1:
            found[f"{name}_seed_std"] = float(each.std(ddof=1))
    return found
