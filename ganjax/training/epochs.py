"""Epochs: how long a run is, and when it does something, in passes over its images.

An epoch is as many train steps as whole batches can be filled from the training images: floor(N /
(batch size x batches of reals in a step)), as in a loop over a data loader that drops the
remainder. It is a measure of length only: batches go on across its end and no image is left out
(`ganjax.data.pipeline.order`). The phases of a growing run have epochs of their own.

Each field of `PAIRS` says a length in steps, and its partner says it in epochs.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from ganjax.config import ConfigError
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.phases import Phase, phase_of
from ganjax.training.schema import Loaded, RunConfig

# Fields in steps, and their partners in epochs. A partner that is not 0 goes first.
PAIRS = {
    "total_steps": "total_epochs",
    "log_every": "log_every_epochs",
    "sample_every": "sample_every_epochs",
    "eval_every": "eval_every_epochs",
    "checkpoint_every": "checkpoint_every_epochs",
}
# So many steps reach the last phase of any run.
ENDLESS = 1 << 26


class Every(NamedTuple):
    """What comes again and again in one phase.

    Attributes:
      steps: how many steps lie between.
      start: the step that they are counted from.
    """

    steps: int
    start: int = 0

    def until(self, step: int) -> int:
        """Returns how many steps after `step` it comes next, at least 1."""
        return self.steps - (step - self.start) % self.steps


class Cadence(NamedTuple):
    """What comes again and again in a run, in every phase at intervals of its own.

    Attributes:
      phases: the phases of the run.
      every: the intervals of each phase.
    """

    phases: tuple[Phase, ...]
    every: tuple[Every, ...]

    def of(self, phase: Phase) -> Every:
        """Returns the intervals of a phase."""
        return self.every[self.phases.index(phase)]

    def comes(self, step: int) -> bool:
        """Returns whether it comes after `step` steps."""
        every = self.of(phase_of(self.phases, step))
        return every.until(step) == every.steps


class Cadences(NamedTuple):
    """When a run does what it does now and then; see the fields `*_every` of `RunConfig`."""

    log: Cadence
    sample: Cadence
    eval: Cadence
    checkpoint: Cadence


@dataclass(frozen=True)
class Epochs:
    """Converts between train steps and epochs.

    Attributes:
      images: N, the number of training images.
      real_batches: the batches of reals in a train step.
      phases: the phases of the run.
    """

    images: int
    real_batches: int
    phases: tuple[Phase, ...]

    @classmethod
    def of(cls, algorithm: Algorithm, images: int) -> "Epochs":
        """Returns the epochs of an algorithm that is trained on so many images."""
        return cls(images, algorithm.real_batches, algorithm.phases)

    def reals(self, phase: Phase) -> int:
        """Returns how many images a train step of a phase reads."""
        return phase.batch_size * self.real_batches

    def steps(self, phase: Phase) -> float:
        """Returns the train steps in an epoch of a phase, a whole number.

        Where a single step reads more images than there are it is the fraction that reads as many.
        """
        reals = self.reals(phase)
        return self.images // reals or self.images / reals

    def at(self, step: int) -> float:
        """Returns how many epochs the first `step` steps of the run are."""
        return sum(_steps_in(phase, step) / self.steps(phase) for phase in self.phases)

    def passes(self, step: int) -> float:
        """Returns how often the first `step` steps of the run read each image, on average.

        That is less than the epochs where N is no multiple of the reals in a step.
        """
        reals = sum(_steps_in(phase, step) * self.reals(phase) for phase in self.phases)
        return reals / self.images

    def step_at(self, epochs: float) -> int:
        """Returns the step at which so many epochs have passed, at least 1; it may be fractional.

        Raises:
          ConfigError: a single step reads more images than there are.
        """
        left, step = epochs, 0
        for phase in self.phases:
            per_epoch = self._whole(phase, "total_epochs", epochs)
            step = phase.start + round(left * per_epoch)
            if step <= phase.stop:
                break
            left -= (phase.stop - phase.start) / per_epoch
        return max(1, step)

    def cadences(self, config: RunConfig) -> Cadences:
        """Returns when a run of these epochs does what it does now and then.

        Steps are counted from the run's first one, and epochs from the first step of each phase.

        Raises:
          ConfigError: an epoch is to be waited for, and a single step reads more images than there
            are.
        """
        return Cadences(*(self._cadence(config, f"{name}_every") for name in Cadences._fields))

    def _cadence(self, config: RunConfig, field: str) -> Cadence:
        epochs = getattr(config, PAIRS[field])
        if not epochs:
            return Cadence(self.phases, (Every(getattr(config, field)),) * len(self.phases))
        steps = (round(epochs * self._whole(each, PAIRS[field], epochs)) for each in self.phases)
        every = (Every(max(1, n), phase.start) for n, phase in zip(steps, self.phases, strict=True))
        return Cadence(self.phases, tuple(every))

    def _whole(self, phase: Phase, field: str, value: float) -> float:
        """Returns the train steps in an epoch, for a field that is given in epochs."""
        reals = self.reals(phase)
        if reals <= self.images:
            return self.steps(phase)
        in_steps = next(steps for steps, epochs in PAIRS.items() if epochs == field)
        size = phase.image_size
        raise ConfigError(
            f"config.{field}={value:g}: a train step at {size}x{size} reads {reals} images "
            f"({phase.batch_field}={phase.batch_size} x {self.real_batches}) and there are "
            f"{self.images}, so that an epoch has no whole step; set a smaller batch, or say the "
            f"length in steps by config.{in_steps}"
        )

    def described(self, step: int) -> str:
        """Describes the first `step` steps for the user."""
        return (
            f"{self.at(step):.4g} epochs, {self.passes(step):.4g} passes of {self.images:,} images"
        )


def _steps_in(phase: Phase, step: int) -> int:
    """Returns how many of the first `step` steps of a run are in a phase."""
    return max(0, min(step, phase.stop) - phase.start)


def settle(loaded: Loaded, count_images: Callable[[], int]) -> tuple[RunConfig, Algorithm]:
    """Returns a config whose total_steps is what its total_epochs are, and its algorithm.

    Args:
      loaded: the checked config and the module of its algorithm.
      count_images: counts the training images. It is called only where total_epochs is not 0.

    Raises:
      ConfigError: the algorithm cannot be built, or no number of steps is that many epochs.
    """
    config, module = loaded
    if not config.total_epochs:
        return config, module.build(config)

    def of_length(steps: int) -> tuple[RunConfig, Algorithm]:
        changed = config.model_copy(update={"total_steps": steps})
        return changed, module.build(changed)

    _, endless = of_length(ENDLESS)
    images = count_images()
    steps = Epochs.of(endless, images).step_at(config.total_epochs)
    settled, algorithm = of_length(steps)
    if Epochs.of(algorithm, images).step_at(config.total_epochs) != steps:
        raise ConfigError(
            f"config.total_epochs={config.total_epochs:g}: the phases of {config.algorithm} depend "
            "on how long the run is; say its length by config.total_steps"
        )
    return settled, algorithm


def prefer(config: Any, given: Collection[str]) -> None:
    """Has lengths that were given by flag go before their partners in the config file.

    Args:
      config: the config, a dict or a ConfigDict, which is changed in place.
      given: the names of the fields that were given by flag.

    Raises:
      ConfigError: a length was given in both ways.
    """
    for steps, epochs in PAIRS.items():
        if steps not in given or not config.get(epochs):
            continue
        if epochs in given:
            raise ConfigError(
                f"config.{epochs}={config[epochs]:g}: it says the same as "
                f"config.{steps}={config[steps]}, which is given too; take one of them away"
            )
        config[epochs] = 0.0
