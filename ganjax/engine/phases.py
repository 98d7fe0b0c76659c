"""Phases: a run is a tuple of them, and each is compiled once."""

from typing import NamedTuple


class Phase(NamedTuple):
    """A stretch of a run with constant shapes. Hashable, static.

    Attributes:
      start: its first train step.
      stop: the step after its last.
      batch_size: reals of one update, over all devices.
      image_size: pixels a side.
      batch_field: where batch_size stands in the config, for errors.
    """

    start: int
    stop: int
    batch_size: int
    image_size: int
    batch_field: str = "config.batch_size"


def phase_of(phases: tuple[Phase, ...], step: int) -> Phase:
    """The phase that made the state at `step` (the last one's after the end)."""
    return next((phase for phase in phases if step <= phase.stop), phases[-1])
