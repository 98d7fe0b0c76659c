"""Epochs: the length of a run, and of the intervals at which it acts, in passes over its images.

An epoch is floor(N / (batch size x batches of reals in a step)) train steps, the length of a loop
over a data loader that drops the last, incomplete batch. It measures length alone: batches continue
across the end of an epoch, so that no image is left out (`ganjax.data.pipeline.order`). Each phase
of a growing run has epochs of its own.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from ganjax.config import ConfigError
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.phases import Phase, phase_of
from ganjax.runtime.limits import LARGEST
from ganjax.training.schema import Loaded, LoopConfig

# The fields of lengths in steps, and those of the same lengths in epochs. The latter take
# precedence where they are not 0.
PAIRS = {
    "total_steps": "total_epochs",
    "log_every": "log_every_epochs",
    "sample_every": "sample_every_epochs",
    "eval_every": "eval_every_epochs",
    "checkpoint_every": "checkpoint_every_epochs",
}
# A number of steps that reaches the last phase of any run.
ENDLESS = 1 << 26


class Interval(NamedTuple):
    """The interval between two performances of an action.

    Attributes:
      steps: its length in steps.
      start: the step from which intervals are counted.
    """

    steps: int
    start: int = 0

    def until(self, step: int) -> int:
        """Returns the number of steps from `step` to the next performance, at least 1."""
        return self.steps - (step - self.start) % self.steps


class Cadence(NamedTuple):
    """The steps at which an action of a run is due.

    Attributes:
      phases: the phases of the run.
      intervals: the interval of each phase.
    """

    phases: tuple[Phase, ...]
    intervals: tuple[Interval, ...]

    def of(self, phase: Phase) -> Interval:
        """Returns the interval of a phase."""
        return self.intervals[self.phases.index(phase)]

    def is_due(self, step: int) -> bool:
        """Returns whether the action is due after `step` steps."""
        interval = self.of(phase_of(self.phases, step))
        return interval.until(step) == interval.steps


class Cadences(NamedTuple):
    """The cadences of a run, by the names of the fields `<name>_every` of `LoopConfig`."""

    log: Cadence
    sample: Cadence
    eval: Cadence
    checkpoint: Cadence


@dataclass(frozen=True)
class Epochs:
    """Converts between train steps and epochs.

    Attributes:
      images: the number of training images.
      real_batches: the number of batches of reals in a train step.
      phases: the phases of the run.
      before: the epochs of earlier steps if the size of batches changed at a step: for each stretch
        the step that ended it, and its epochs.
    """

    images: int
    real_batches: int
    phases: tuple[Phase, ...]
    before: tuple[tuple[int, "Epochs"], ...] = ()

    @classmethod
    def of(cls, algorithm: Algorithm, images: int) -> "Epochs":
        """Returns the epochs of an algorithm that is trained on a number of images."""
        return cls(images, algorithm.real_batches, algorithm.phases)

    def reals(self, phase: Phase) -> int:
        """Returns the number of images that a train step of a phase reads."""
        return phase.batch_size * self.real_batches

    def steps(self, phase: Phase) -> float:
        """Returns the number of train steps in an epoch of a phase.

        It is whole unless a single step reads more images than there are; then it is the fraction
        of a step that reads as many.
        """
        reals = self.reals(phase)
        return self.images // reals or self.images / reals

    def at(self, step: int) -> float:
        """Returns the number of epochs in the first `step` steps of the run."""
        return self._total(step, lambda epochs, phase, steps: steps / epochs.steps(phase))

    def passes(self, step: int) -> float:
        """Returns how often the first `step` steps read each image, on average.

        It is less than the number of epochs if the images do not fill whole batches.
        """
        reals = self._total(step, lambda epochs, phase, steps: steps * epochs.reals(phase))
        return reals / self.images

    def _total(self, step: int, count: Callable[["Epochs", Phase, int], float]) -> float:
        """Adds up what the steps of each phase count, in each stretch of equal batches."""
        total, start = 0.0, 0
        for stop, epochs in (*self.before, (step, self)):
            stop = min(stop, step)
            for phase in epochs.phases:
                steps = _steps_in(phase, stop) - _steps_in(phase, start)
                total += count(epochs, phase, steps)
            start = stop
        return total

    def step_at(self, epochs: float) -> int:
        """Returns the number of steps in a number of epochs, rounded, at least 1.

        Raises:
          ConfigError: a single step reads more images than there are, or they are too many steps.
        """
        left, step = epochs, 0
        for phase in self.phases:
            per_epoch = self._whole(phase, "total_epochs", epochs)
            if left * per_epoch > LARGEST:
                raise ConfigError(
                    f"config.total_epochs={epochs:g}: these are {left * per_epoch:.3g} steps, and "
                    f"a run has at most {LARGEST:,}; set {LARGEST / per_epoch:.4g} epochs or fewer"
                )
            step = phase.start + round(left * per_epoch)
            if step <= phase.stop:
                break
            left -= (phase.stop - phase.start) / per_epoch
        return max(1, step)

    def cadences(self, config: LoopConfig) -> Cadences:
        """Returns the cadences of a run of these epochs.

        Intervals in steps are counted from the first step of the run, those in epochs from the
        first step of each phase.

        Raises:
          ConfigError: an interval is in epochs, but a single step reads more images than there are.
        """
        return Cadences(*(self._cadence(config, f"{name}_every") for name in Cadences._fields))

    def _cadence(self, config: LoopConfig, field: str) -> Cadence:
        epochs = getattr(config, PAIRS[field])
        if not epochs:
            return Cadence(self.phases, (Interval(getattr(config, field)),) * len(self.phases))
        lengths = (epochs * self._whole(phase, PAIRS[field], epochs) for phase in self.phases)
        steps = (max(1, round(min(length, LARGEST))) for length in lengths)
        intervals = (Interval(n, phase.start) for n, phase in zip(steps, self.phases, strict=True))
        return Cadence(self.phases, tuple(intervals))

    def _whole(self, phase: Phase, field: str, value: float) -> float:
        """Returns the number of train steps in an epoch, for the value of a field in epochs."""
        reals = self.reals(phase)
        if reals <= self.images:
            return self.steps(phase)
        in_steps = next(steps for steps, epochs in PAIRS.items() if epochs == field)
        raise ConfigError(
            f"config.{field}={value:g}: a train step at {phase.size} reads {reals} images "
            f"({phase.batch_field}={phase.batch_size} x {self.real_batches}) and there are "
            f"{self.images}, so that an epoch has no whole step; set a smaller batch, or give the "
            f"length in steps by config.{in_steps}"
        )

    def described(self, step: int) -> str:
        """Describes the first `step` steps for the user."""
        return (
            f"{self.at(step):.4g} epochs, {self.passes(step):.4g} passes of {self.images:,} images"
        )


def _steps_in(phase: Phase, step: int) -> int:
    """Returns the number of steps of a phase among the first `step` steps of a run."""
    return max(0, min(step, phase.stop) - phase.start)


def settle(loaded: Loaded, count_images: Callable[[], int]) -> tuple[LoopConfig, Algorithm]:
    """Returns a config whose total_steps follows from its total_epochs, and its algorithm.

    Args:
      loaded: the checked config and the module of its algorithm.
      count_images: the function that counts the training images. It is called only if total_epochs
        is not 0.

    Raises:
      ConfigError: the algorithm cannot be built, or no number of steps is that many epochs.
    """
    config, module = loaded
    if not config.total_epochs:
        return config, module.build(config)

    def of_length(steps: int) -> tuple[LoopConfig, Algorithm]:
        changed = config.model_copy(update={"total_steps": steps})
        return changed, module.build(changed)

    _, endless = of_length(ENDLESS)
    images = count_images()
    steps = Epochs.of(endless, images).step_at(config.total_epochs)
    settled, algorithm = of_length(steps)
    if Epochs.of(algorithm, images).step_at(config.total_epochs) != steps:
        raise ConfigError(
            f"config.total_epochs={config.total_epochs:g}: the phases of {config.algorithm} depend "
            "on its length; give it in steps by config.total_steps"
        )
    return settled, algorithm


def prefer(config: Any, given: Collection[str]) -> None:
    """Lets lengths in steps that flags give take precedence over lengths in epochs of the file.

    Args:
      config: the config, a dict or a ConfigDict, which is changed in place.
      given: the names of the fields that flags give.

    Raises:
      ConfigError: flags give a length both in steps and in epochs.
    """
    for steps, epochs in PAIRS.items():
        if steps not in given or not config.get(epochs):
            continue
        if epochs in given:
            raise ConfigError(
                f"config.{epochs}={config[epochs]:g}: it gives the same "
                f"length as config.{steps}={config[steps]}; take one of them away"
            )
        config[epochs] = 0.0
