"""The cost of a run: the work, the memory and the collectives of each phase's train step."""

from typing import NamedTuple

from ganjax.engine.phases import Phase
from ganjax.planning.accelerators import Accelerator
from ganjax.planning.times import (
    Collective,
    Seconds,
    Work,
    collective_seconds,
    compute_seconds,
)
from ganjax.training.schema import LoopConfig


class PhaseCost(NamedTuple):
    """The cost of one train step of a phase.

    Attributes:
      phase: the phase.
      images: the number of reals that the discriminator sees in a step, over all devices.
      work: what a step computes, over all devices, as XLA counts it.
      held_bytes: the bytes on one device before the step: its part of the state and of the batch.
      peak_bytes: the bytes on one device during the step.
      collectives: the collectives in which one device takes part, by kind.
    """

    phase: Phase
    images: int
    work: Work
    held_bytes: int
    peak_bytes: int
    collectives: dict[str, Collective]


class Plan(NamedTuple):
    """The cost of a run.

    Attributes:
      config: the run's config.
      length: a description of how long the run is.
      devices: the number of devices.
      compiler: a description of the compiler that made the programs.
      params: the numbers of parameters of the generator and of the discriminator.
      phases: the cost of each phase, in order.
    """

    config: LoopConfig
    length: str
    devices: int
    compiler: str
    params: tuple[int, int]
    phases: tuple[PhaseCost, ...]


def step_seconds(
    cost: PhaseCost, accelerator: Accelerator, devices: int, precision: str
) -> Seconds:
    """Returns how long a step takes.

    At best computation hides all collectives or these hide it, and at worst they follow it.

    Args:
      cost: the cost of the step.
      accelerator: the kind of all devices.
      devices: the number of devices.
      precision: the precision in which networks compute, such as "float32".
    """
    computing = compute_seconds(accelerator, cost.work.shared(devices), precision)
    sending = collective_seconds(accelerator, cost.collectives, devices)
    return Seconds(max(computing.low, sending), computing.high + sending)


def precision(config: LoopConfig) -> str:
    """Returns the precision in which a run's networks compute, such as "float32"."""
    return getattr(config, "precision", "float32")
