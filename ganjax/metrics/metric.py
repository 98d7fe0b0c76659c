"""The interface of all metrics of generated images.

A metric is what a user asks for, such as `precision_recall`; a figure is one number of its result,
such as `recall_efflite0`.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ganjax.engine.meanings import Meaning


class Figure(NamedTuple):
    """A number in the result of a metric.

    Attributes:
      name: its name, without that of the feature network.
      meaning: what it means.
      better: whether more or less of it means a better generator; None if neither does.
    """

    name: str
    meaning: Meaning
    better: Literal["more", "less"] | None = None


class Counts(NamedTuple):
    """The numbers of images that are available to a metric.

    Attributes:
      reference: the number of real images that the generated ones are compared with.
      fake: the number of generated images.
      stand_in: the number of further real images, which take the generated ones' place for the
        floor; None if there are none.
    """

    reference: int
    fake: int
    stand_in: int | None = None


class Taken(NamedTuple):
    """The numbers of images that a metric looks at, the first ones of each set.

    Attributes:
      reference: the number of reference images.
      fake: the number of generated images, and of the real ones that stand in for them.
    """

    reference: int
    fake: int


class Labelled(NamedTuple):
    """A classifier's logits of images, and the labels that they should have.

    Attributes:
      logits: the logits of K classes.
      labels: the labels by which samples were generated; None where there are none, or of another
        number of classes than K.
    """

    logits: Float[np.ndarray, "n k"]
    labels: Int[np.ndarray, " n"] | None = None


class Metric:
    """A measure of generated images against real ones, the reference images.

    To add a metric: write a subclass in a module of its own, which sets `name` and `figures`,
    writes `measure`, and overrides those of the other attributes and methods that differ; list an
    instance of it in `ganjax.metrics.table.METRICS`; write a test. Nothing else names metrics.

    Measuring has two steps, because a training run compares new images with the same real ones
    again and again: `prepare` computes what depends on the reference images alone, and `measure`
    the figures. Both see a set of images in the form that `needs` names:

      "features": float32 (N, D), the outputs of a feature network (`ganjax.metrics.features`);
      "logits": float32 (N, K), the logits of that network's K classes;
      "labelled": these with the labels that the images should have (`Labelled`);
      "distances": float32 (N // 2,), between the network's activations for images 0 and 1, 2 and 3,
        and so on;
      "images": an `ImageSet`, whose images have the same shape in both sets.

    Figures that depend on a network carry its name: kid_efflite0.

    Attributes:
      name: the name by which the metric is asked for.
      figures: the figures with fixed names.
      further: figures whose names depend on the images, with <words> where they do: swd_<side>.
      needs: the form in which the metric sees a set of images.
      reference: the real images that it compares with: "real", those that the generated ones should
        resemble, or "training", those that they may be copies of.
      unbiased: whether its expectation is the same for fewer images. If so, and there are no
        further real images, two halves of the reference images give its floor.
      while_training: whether config.evaluation.metrics may name it.
      training_floor: the figure whose floor is logged beside it during training, "" for none.
      fewest: the least number of images that each of the two sets must have.
      sizes: the images that `accepts` allows, by their sides in pixels, in the words of an error
        message; "" if it allows any.
    """

    name: str
    figures: tuple[Figure, ...]
    further: tuple[Figure, ...] = ()
    needs: Literal["features", "logits", "labelled", "distances", "images"] = "features"
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

    @property
    def output(self) -> str:
        """The field of `ganjax.metrics.features.Outputs` that the metric needs."""
        return "logits" if self.needs == "labelled" else self.needs

    def accepts(self, height: int, width: int) -> bool:
        """Returns whether images of height x width pixels can be measured."""
        del height, width
        return True

    def choose_counts(self, counts: Counts) -> Taken:
        """Returns how many of the available images the metric looks at."""
        return Taken(counts.reference, counts.fake)

    def prepare(self, reference: Any) -> Any:
        """Computes what `measure` needs of the reference images.

        Args:
          reference: the first `Taken.reference` reference images, in the form of `needs`.

        Returns:
          What `measure` takes as its first argument; by default `reference` itself.
        """
        return reference

    def measure(self, reference: Any, fake: Any) -> dict[str, float]:
        """Computes the figures.

        Args:
          reference: what `prepare` returned.
          fake: the first `Taken.fake` generated images, in the form of `needs`.

        Returns:
          The figures by their names in `figures`.
        """
        raise NotImplementedError

    def protocol(self, taken: Taken) -> dict[str, Any]:
        """Returns how that many images are measured, for the record beside the figures."""
        del taken
        return {}

    def full_name(self, figure: str, network: str) -> str:
        """Returns the name that a figure has in records.

        `kid` becomes kid_efflite0, and its deviation, `kid_std`, becomes kid_efflite0_std. Figures
        that depend on no network keep their names.

        Args:
          figure: the figure's name, as `measure` returns it.
          network: the name of the feature network.
        """
        if not self.of_network:
            return figure
        stem = figure.removesuffix("_std")
        return f"{stem}_{network}{figure[len(stem) :]}"

    def full_names(self, figures: Mapping[str, float], network: str) -> dict[str, float]:
        """Returns the figures that `measure` returned, by their full names."""
        return {self.full_name(name, network): value for name, value in figures.items()}
