"""The phases of a run: stretches of constant shapes, each of which is compiled once."""

from typing import NamedTuple


class Phase(NamedTuple):
    """A stretch of a run with constant shapes. It is hashable, and static in compiled functions.

    Attributes:
      start: its first train step.
      stop: the step after its last.
      batch_size: real images in one update, over all devices.
      image_size: pixels a side.
      batch_field: the config field that sets batch_size, for errors.
    """

    start: int
    stop: int
    batch_size: int
    image_size: int
    batch_field: str = "config.batch_size"


def phase_of(phases: tuple[Phase, ...], step: int) -> Phase:
    """Returns the phase that made the state at `step`; after the end, the last one."""
    return next((phase for phase in phases if step <= phase.stop), phases[-1])
