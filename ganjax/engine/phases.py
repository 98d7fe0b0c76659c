"""The phases of a run, which are stretches of constant shapes that are each compiled once."""

from typing import NamedTuple

from ganjax.engine.sizes import ImageSize, Size, size_of


class Phase(NamedTuple):
    """A stretch of a run with constant shapes, which is hashable and static in compiled functions.

    Attributes:
      start: the first train step of the phase.
      stop: the step after its last one.
      batch_size: the number of real images in one update, over all devices.
      image_size: the side of square images in pixels, or (height, width), as in the config; 1 where
        what is generated has no sides.
      batch_field: the config field that sets batch_size, which error messages name.
    """

    start: int
    stop: int
    batch_size: int
    image_size: ImageSize = 1
    batch_field: str = "config.batch_size"

    @property
    def size(self) -> Size:
        """The height and width of images."""
        return size_of(self.image_size)


def phase_of(phases: tuple[Phase, ...], step: int) -> Phase:
    """Returns the phase whose train steps led to the state at `step`.

    Args:
      phases: the phases of a run, in order.
      step: the number of finished train steps. Beyond the end of the run, the last phase is
        returned.
    """
    return next((phase for phase in phases if step <= phase.stop), phases[-1])
