"""Sets of images by name: uint8, square, of one size, fetched by index.

A kind of set is a file of this folder: `embedded`, `tfds`, `folder` and `records`.
"""

import numpy as np

from ganjax.data import splits
from ganjax.data.base import SPLITS, Labels, Source, take
from ganjax.data.embedded import NAMES, open_embedded
from ganjax.data.fields import DataFields
from ganjax.data.fit import FITS, Box, to_channels
from ganjax.data.fit import check as check_fit
from ganjax.data.folder import open_folder
from ganjax.data.records import open_records
from ganjax.data.tfds import open_tfds
from ganjax.errors import DataError

__all__ = ["SPLITS", "Labels", "Source", "open_source"]

KINDS = ("embedded", "tfds", "folder", "records")


def open_source(data: DataFields, split: str, *, image_size: int) -> Source:
    """Opens one split of a set.

    Args:
      data: which set and labels, how much of it, and how an image becomes image_size x
        image_size x channels.
      split: "train", or "validation": the part held out. It is the set's own (TFDS's
        validation, else its test split; a folder's "validation", "val", "valid" or "test");
        where there is none, a tenth of each class of the set's "label", the same for every
        seed and whatever `data.label` is.
      image_size: S, pixels a side.

    Raises:
      DataError: the set does not exist, is not prepared, or does not fit; it has no such
        labels, or not as many classes or images. Images of TFDS sets and their labels are
        looked at when they are fetched.
    """
    source, is_split = _open(data, split, image_size)
    if source.label_names and len(source.label_names) != data.num_classes:
        raise DataError(
            f"config.data.num_classes={data.num_classes}: config.data.label={data.label!r} of "
            f"{data.source} has {len(source.label_names)} classes; set that"
        )
    if not data.label and data.num_classes != 1:
        raise DataError(
            f"config.data.num_classes={data.num_classes}: config.data.label is empty, so there "
            "are no labels; name one, or set num_classes=1"
        )
    source = _checked(source, data)
    if not data.source.startswith("tfds:"):  # A TFDS set would be read whole for them.
        source.labels()
    if not is_split:
        held = splits.held_out(_strata(source, data))
        source = take(source, np.flatnonzero(held == (split == "validation")))
    if split == "train":
        chosen = splits.subset(source.size, data)
        source = source if chosen is None else take(source, chosen)
    return source


def _open(data: DataFields, split: str, image_size: int) -> tuple[Source, bool]:
    """The set, and whether it is the split asked for (else it is all that is to be split)."""
    kind, _, name = data.source.partition(":")
    if kind not in KINDS or not name:
        raise DataError(
            f"config.data.source={data.source!r}: write embedded:<name> ({', '.join(NAMES)}), "
            "tfds:<name>, folder:<path> or records:<path>"
        )

    if data.labels_file and kind != "folder":
        raise DataError(
            f"config.data.labels_file={data.labels_file!r}: only folder:<path> takes one; set ''"
        )

    def check(height: int, width: int, box: Box | None) -> None:
        try:
            check_fit(data.fit, height, width, image_size, box)
        except DataError as error:
            raise DataError(f"config.data.source={data.source!r}: {error}") from None

    def prepare(image: np.ndarray, box: Box | None = None) -> np.ndarray:
        try:
            channelled = to_channels(image, data.channels, data.background)
            return FITS[data.fit](channelled, image_size, box)
        except DataError as error:
            raise DataError(f"config.data.source={data.source!r}: {error}") from None

    if kind == "embedded":
        return open_embedded(name, data.label, prepare), False
    if kind == "tfds":
        return open_tfds(name, split, data.label, prepare)
    if kind == "folder":
        return open_folder(name, split, data, prepare, check)
    return open_records(name, split, data, image_size), True


def _strata(source: Source, data: DataFields) -> np.ndarray:
    """What a split keeps the shares of: the set's "label", whatever label is read, so that all
    runs on a set, with labels of any kind or without, hold out the same images."""
    if data.label == "label":
        return source.labels()
    plain = source.features().get("label")
    return np.zeros(source.size, np.int32) if plain is None else plain.values


def _checked(source: Source, data: DataFields) -> Source:
    """The source, refusing labels out of range: one-hot vectors of them would be silently 0."""

    def checked(label):
        bad = label[(label < 0) | (label >= data.num_classes)]
        if bad.size:
            raise DataError(
                f"config.data.num_classes={data.num_classes}: config.data.label={data.label!r} of "
                f"{data.source} has the label {bad[0]}; labels are 0 .. num_classes - 1: set it to "
                "one more than the largest, and count from 0"
            )
        return label

    def fetch(indices):
        batch = source.fetch(indices)
        return batch | {"label": checked(batch["label"])}

    return source._replace(fetch=fetch, labels=lambda: checked(source.labels()))
