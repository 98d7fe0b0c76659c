"""The fields of a config that say which images a run trains on."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from ganjax.config import Fields, Fraction, Idle, Level, NonNegativeInt, PositiveInt, Seed


class SourceFields(Fields):
    """The set on which a run is trained, of whatever kind.

    Attributes:
      source: the set, as <kind>:<name>.
    """

    source: str


class DataFields(SourceFields):
    """The set of images that a run trains on, and how its images are prepared.

    `ganjax.data.sources.SOURCES` lists the kinds of sources; each kind's file says which of these
    fields it alone honours.

    Attributes:
      source: the set, as <kind>:<name>. The kinds are `embedded:mnist5k`, `embedded:emoji64` and
        `embedded:stacked_mnist`, `tfds:<name>`, `folder:<path>` (a tree of png, jpg, webp or bmp
        files), `records:<path>` (a set that `ganjax prepare` made) and `python:<module>:<function>`
        (what a function of your own returns, docs/own_source.md).
      label: the feature that labels are read from: "label" (in a folder, the names of its
        sub-folders), or any other feature of integers or booleans, such as
        "attributes/Blond_Hair" of tfds:celeb_a, or a column of `labels_file`, of whole numbers,
        booleans or names, which every image must have; "" reads no labels.
      num_classes: the number of classes; labels are 0 .. num_classes - 1. It is 1 without labels.
      channels: 1 for grey or 3 for RGB images; the set's images are converted.
      fit: how images of any size get to image_size. "pad" centres an image on a canvas of the
        colour of its top left pixel; "resize" crops the centre, a square where image_size is one,
        and resizes it (by area when it shrinks, bicubically when it grows); "bounding_box" crops
        around the image's bounding box, a square a quarter larger where image_size is one, rounded
        to whole pixels, and resizes it by area.
      mirror: whether each image of a training batch is flipped left to right by a fair coin.
      held_out: the share of each class, in [0, 1), that is held out where the set has no split of
        its own. 0 holds out nothing: samples are then compared with the training images, and there
        are no losses of held-out images.
      num_examples: the number of training images that are used; 0 uses all.
      fraction: the share of the training images that is used, in (0, 1].
      subset_seed: the seed that chooses those images. It is not the run's seed, so that the runs
        of a sweep share a subset. It is refused if all images are used.
      background: the RGB colour, each 0 to 255, that transparent images are laid over.
      labels_file: for folder:<path> only, a CSV or JSON file of labels and bounding boxes; ""
        reads none.
      min_side: for folder:<path> only, the least number of pixels of an image's shorter side;
        smaller images are skipped.
      max_skipped: for folder:<path> only, how many images may be skipped, including those that
        cannot be read.
      on_device: whether the whole set is kept in the devices' memory, so that only indices are
        sent there for a batch.
    """

    label: str = ""
    num_classes: PositiveInt = 1
    channels: Literal[1, 3] = 3
    fit: Literal["pad", "resize", "bounding_box"] = "resize"
    mirror: bool = False
    held_out: Fraction = 0.1
    num_examples: NonNegativeInt = 0
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    subset_seed: Seed = 0
    background: Annotated[tuple[Level, Level, Level], Field(strict=False)] = (255, 255, 255)
    labels_file: str = ""
    min_side: PositiveInt = 1
    max_skipped: NonNegativeInt = 0
    on_device: bool = False

    def idle(self) -> Iterator[Idle]:
        yield from super().idle()
        if not self.num_examples and self.fraction == 1:
            reason = "all images are used; set config.data.num_examples or config.data.fraction"
            yield Idle("subset_seed", reason)
