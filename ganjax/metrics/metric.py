"""What a metric is: the one interface of all measures of generated images.

A metric is what is asked for, such as `precision_recall`; a figure is a number that comes out,
such as `recall_efflite0`.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple


class Figure(NamedTuple):
    """A number that a metric gives.

    Attributes:
      name: its name, without the feature network's.
      better: whether more or less of it means a better generator; None where neither does.
    """

    name: str
    better: Literal["more", "less"] | None = None


class Counts(NamedTuple):
    """The numbers of images that there are to measure.

    Attributes:
      reference: real images that the generated ones are compared with.
      fake: generated images.
      stand_in: further real images, which take the generated ones' place for the floor; None
        where there are none.
    """

    reference: int
    fake: int
    stand_in: int | None = None


class Taken(NamedTuple):
    """The numbers of images that a metric looks at.

    Attributes:
      reference: the first so many of the reference images.
      fake: the first so many of the generated images, and of the real ones that stand in for them.
    """

    reference: int
    fake: int


class Metric:
    """A measure of generated images against real ones, the reference images.

    To add a metric: write a subclass in a module of its own, which sets `name` and `figures`,
    writes `measure`, and overrides those of the other attributes and methods that differ; list an
    instance of it in `ganjax.metrics.table.METRICS`; write a test. Nothing else names metrics.

    Measuring has two steps, since a training run compares ever new images with the same real ones:
    `prepare` computes what depends on the reference images alone, `measure` the figures. What both
    are given of a set of images is what `needs` names:

      "features": float32 (N, D), of a feature network (`ganjax.metrics.features`);
      "logits": float32 (N, K), of its classes;
      "distances": float32 (N // 2,), between the network's activations for images 0 and 1, 2 and 3,
        and so on;
      "images": an `ImageSet`, of as many channels and pixels for both sets.

    Figures of a network's outputs carry the network's name: kid_efflite0.

    Attributes:
      name: how the metric is asked for.
      figures: the figures that it gives by fixed names; `measure` may give more.
      needs: what of a set of images it is given.
      reference: which real images it compares with: "real", those that the generated ones should
        be like, or "training", those that they may be copies of.
      unbiased: whether its expectation is the same for fewer images. Then, without further real
        images, two halves of the reference images give its floor.
      while_training: whether config.evaluation.metrics may name it.
      training_floor: the figure whose floor is logged beside it while training, "" for none.
      fewest: the least number of images that each of the two sets must have.
      sizes: which square images `takes` accepts, by their sides in pixels, for error messages;
        "" where it accepts any.
    """

    name: str
    figures: tuple[Figure, ...]
    needs: Literal["features", "logits", "distances", "images"] = "features"
    reference: Literal["real", "training"] = "real"
    unbiased: bool = False
    while_training: bool = True
    training_floor: str = ""
    fewest: int = 6
    sizes: str = ""

    @property
    def of_network(self) -> bool:
        """Whether the metric looks at images through a feature network."""
        return self.needs != "images"

    def takes(self, height: int, width: int) -> bool:
        """Returns whether images of this size can be measured."""
        del height, width
        return True

    def take(self, counts: Counts) -> Taken:
        """Returns how many images the metric looks at, of those that there are."""
        return Taken(counts.reference, counts.fake)

    def prepare(self, reference: Any) -> Any:
        """Computes what `measure` needs of the reference images.

        Args:
          reference: what `needs` names, of the first `Taken.reference` reference images.

        Returns:
          Anything that `measure` takes as its first argument; by default `reference` itself.
        """
        return reference

    def measure(self, reference: Any, fake: Any) -> dict[str, float]:
        """Computes the figures.

        Args:
          reference: what `prepare` returned.
          fake: what `needs` names, of the first `Taken.fake` generated images.

        Returns:
          The figures by their names in `figures`.
        """
        raise NotImplementedError

    def protocol(self, taken: Taken) -> dict[str, Any]:
        """Describes how so many images are measured, for the record beside the figures."""
        del taken
        return {}

    def full_name(self, figure: str, network: str) -> str:
        """Returns the name that a figure has in records.

        `kid` becomes kid_efflite0 and its deviation, `kid_std`, becomes kid_efflite0_std; figures
        of images themselves keep their names.
        """
        if not self.of_network:
            return figure
        stem = figure.removesuffix("_std")
        return f"{stem}_{network}{figure[len(stem) :]}"

    def full_names(self, figures: Mapping[str, float], network: str) -> dict[str, float]:
        """Returns the figures that `measure` gave by their full names."""
        return {self.full_name(name, network): value for name, value in figures.items()}
