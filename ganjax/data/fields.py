"""The fields of a config that say which images are used."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from ganjax.config import Fields, Level, Seed


class DataFields(Fields):
    """Which images.

    Attributes:
      source: `embedded:mnist5k`, `embedded:emoji64`, `tfds:<name>`, `folder:<path>` (a tree of
        png, jpg, webp or bmp files) or `records:<path>` (what ganjax.data.prepare made).
      label: the feature that labels are read from: "label" (of a folder: its sub-folders), or
        any other of integers or of booleans, such as "attributes/Blond_Hair" of tfds:celeb_a,
        or a column of labels_file; "" reads none.
      num_classes: labels are 0 .. num_classes - 1; 1 without labels.
      channels: 1 (grey) or 3 (RGB); images are converted.
      fit: how images get to image_size: "pad" centres them on their own background
        colour, "resize" crops the central square and resizes it (by area downwards, bicubic
        upwards), "bounding_box" crops around the image's box, and a quarter more, by area.
      mirror: whether every image of a training batch is flipped left to right by a fair coin.
      num_examples: how many training images are used, 0 for all.
      fraction: the share of the training images that is used, 1.0 for all.
      subset_seed: chooses these; it is not the run's seed, so that a sweep shares them.
      background: the RGB colour, 0 to 255, that transparent images are laid over.
      labels_file: of a folder: a CSV or JSON file of labels and boxes, "" for none.
      min_side: of a folder: images with a shorter side below this many pixels are skipped.
      max_skipped: of a folder: how many images may be skipped, unreadable ones among them.
      on_device: whether the whole set is kept on the devices and only indices travel.
    """

    source: str
    label: str
    num_classes: PositiveInt
    channels: Literal[1, 3]
    fit: Literal["pad", "resize", "bounding_box"]
    mirror: bool
    num_examples: NonNegativeInt
    fraction: Annotated[float, Field(gt=0, le=1)]
    subset_seed: Seed
    background: Annotated[tuple[Level, Level, Level], Field(strict=False)]
    labels_file: str
    min_side: PositiveInt
    max_skipped: NonNegativeInt
    on_device: bool
