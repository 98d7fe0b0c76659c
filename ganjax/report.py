"""What the loop tells of finished steps: metrics, pictures, figures, and divergence."""

import math
import time
from pathlib import Path

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from ganjax import checkpoint, images
from ganjax.config import RunConfig
from ganjax.errors import UserError
from ganjax.phases import Phase
from ganjax.writer import Writer

# The engine's own. Any other metric is NaN in a step that does not measure it.
ALWAYS = ("d_loss", "g_loss", "d_grad_norm", "g_grad_norm")


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
        self._begun = time.perf_counter()
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
        self._begun, self._window = time.perf_counter(), None

    def metrics(self, step: int, seen: int, metrics: dict[str, jax.Array]) -> None:
        """Checks a step's metrics and writes them if it is their turn.

        Args:
          step: of the metrics.
          seen: the reals that the discriminator was trained on in the step.
          metrics: scalars on the device; those not of the engine are NaN where this step does
            not measure them, and written as last measured.

        Raises:
          NonFiniteError: one of them is not finite, or is NaN though it is the engine's.
        """
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        values = {n: v for n, v in values.items() if n in ALWAYS or not math.isnan(v)}
        self._check(step, values)
        self._latest |= values
        now = time.perf_counter()
        self._writer.advance()
        if self._window is None:
            self._writer.say(f"first step after {now - self._begun:.1f} s")
            self._window = (now, 0)
        else:
            since, count = self._window
            self._window = (since, count + seen)
        if step % self._config.log_every == 0 or step == self._config.total_steps:
            since, count = self._window
            values = dict(sorted(self._latest.items()))
            if count:
                values["images_per_second"] = count / (now - since)
                self._window = (now, 0)
            self._writer.write_scalars(step, values)

    def samples(self, step: int, pictures: jax.Array, names: list[str]) -> None:
        """Writes a grid of samples, under their names if there are any, a class a column."""
        cells = np.asarray(jax.device_get(pictures))
        if names:
            cells = images.captioned(cells, above=names)
        picture = images.grid(cells, images.columns(len(cells), len(set(names)) or 1))
        if self._writer.primary:
            images.save_png(self._folder / "samples" / f"step_{step:08d}.png", picture)
        self._writer.write_images(step, {"samples": picture})

    def evaluation(
        self,
        step: int,
        values: list[dict[str, jax.Array]],
        figures: dict[str, float],
    ) -> None:
        """Writes the means over the held-out batches, and the figures.

        Args:
          step: of the state.
          values: of each batch, on the device.
          figures: of the samples.
        """
        rows = jax.device_get(values)
        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        means |= figures
        self._check(step, means)
        self._writer.write_scalars(step, means)
        self._evaluated = (step, means)

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

    def _check(self, step: int, values: dict[str, float]) -> None:
        bad = [f"{name}={value}" for name, value in values.items() if not math.isfinite(value)]
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
