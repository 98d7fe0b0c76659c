"""What a run is about, so that the training loop need not know whether it generates images.

A domain opens the reals of a run, says how large they are, draws its pictures and measures its
samples. The module of an algorithm may have a function `domain(config, folder)`; without one its
runs are about images (`ganjax.training.images`).
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import numpy as np

from ganjax.data.base import Source
from ganjax.engine.phases import Phase
from ganjax.engine.sizes import ImageSize
from ganjax.engine.state import Ema
from ganjax.training.schema import Loaded

if TYPE_CHECKING:
    from ganjax.training.setup import Run


class Need(NamedTuple):
    """Arrays that a run holds at once.

    Attributes:
      what: the fields that say how large they are, with their values, and what they hold.
      count: their bytes on one device.
      mend: what to set otherwise.
    """

    what: str
    count: int
    mend: str


class Bytes(NamedTuple):
    """The bytes of a single real or fake.

    Attributes:
      real: of a real as it is sent to the devices.
      fake: of a fake, as floats.
    """

    real: int
    fake: int


class Measured(NamedTuple):
    """The result of an evaluation of one member's samples.

    Attributes:
      figures: the figures by name.
      warnings: a line for each thing that the user should know.
    """

    figures: dict[str, float]
    warnings: tuple[str, ...] = ()


class Measure(Protocol):
    """A function that measures the samples of a member, given its averaged generator."""

    def __call__(self, ema: Ema, phase: Phase, index: int) -> Measured: ...


class Draw(Protocol):
    """A function that draws the picture of a member's samples, given a generator.

    It returns a function that waits for the samples and returns the picture, uint8 (H, W, C).
    """

    def __call__(self, generator: Ema, phase: Phase, index: int) -> Callable[[], np.ndarray]: ...


class Domain:
    """What a run is about: the base class, with the answers that need no override.

    Args:
      config: the run's config.

    Attributes:
      config: the run's config.
      generates: what runs generate, in the plural, for messages.
      instead: the command that looks at runs of this domain, for messages.
      mirror: whether the images of training batches are flipped by coins.
      on_device: whether the whole set is kept in the devices' memory.
    """

    generates: str
    instead: str
    mirror: bool = False
    on_device: bool = False

    def __init__(self, config: Any):
        self.config = config

    def open(self, split: str, image_size: ImageSize) -> Source:
        """Opens the reals of a split.

        Args:
          split: "train" or "validation".
          image_size: `Phase.image_size` of the phase that they are for.

        Raises:
          DataError: they cannot be read.
        """
        raise NotImplementedError

    def count(self) -> int:
        """Returns the number of training reals.

        Raises:
          DataError: they cannot be read.
        """
        return self.open("train", self.image_size).size

    @property
    def image_size(self) -> ImageSize:
        """`Phase.image_size` of the last phase; 1 where reals have no sides."""
        return 1

    def check(self, compared: Iterable[Source] = (), holds_out: bool = True) -> None:
        """Checks that everything which config.evaluation asks for can be measured.

        Args:
          compared: the reals of each phase that samples are compared with; if empty, their numbers
            are not checked.
          holds_out: whether any reals are held out.

        Raises:
          ConfigError: it cannot.
        """
        raise NotImplementedError

    def notes(self) -> list[str]:
        """Returns lines about a run that its user should read at its start."""
        return []

    def load(self) -> None:
        """Loads what evaluations need, so that an error comes before anything is compiled."""

    def keep(self, folder: Path) -> None:
        """Writes what a run keeps of its reals into its folder."""

    def shapes(self, phase: Phase) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns the shapes of a single real, by the names of `Source.fetch`."""
        raise NotImplementedError

    def bytes(self, phase: Phase) -> Bytes:
        """Returns the bytes of a single real and of a fake."""
        raise NotImplementedError

    def needs(self, latent: int) -> list[Need]:
        """Returns the arrays that pictures and evaluations hold, given the bytes of a latent."""
        del latent
        return []

    def pictures(self, run: "Run") -> Draw | None:
        """Returns the function that draws a run's pictures, or None if there is nothing to show."""
        raise NotImplementedError

    def measure(self, run: "Run") -> Measure:
        """Returns the function that measures samples."""
        raise NotImplementedError

    def shown(self, count: int) -> tuple[list[str], np.ndarray | None]:
        """Describes the reals for `ganjax show`.

        Args:
          count: the most reals in the picture.

        Returns:
          Lines of text, and a picture, uint8 (H, W, C), or None if there is nothing to show.
        """
        raise NotImplementedError


def of(loaded: Loaded, folder: Path | None = None) -> Domain:
    """Returns the domain of a config.

    Args:
      loaded: the checked config and the module of its algorithm.
      folder: the folder of the run, if it has one, in which there may be what the run keeps.
    """
    # Imported here, since images are a domain among others.
    from ganjax.training.images import Images

    make: Any = getattr(loaded.module, "domain", None)
    return Images(loaded.config) if make is None else make(loaded.config, folder)
