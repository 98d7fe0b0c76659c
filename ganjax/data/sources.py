"""Sets of images by name: uint8, square, of one size, fetched by index.

A kind of set is a file of this folder: `embedded`, `tfds`, `folder` and `records`.
"""

from collections.abc import Callable

import numpy as np

from ganjax.config import DataConfig
from ganjax.data import splits
from ganjax.data.base import SPLITS, DataError, Labels, Source, take
from ganjax.data.embedded import NAMES, open_embedded
from ganjax.data.fit import FITS, Box, to_channels
from ganjax.data.folder import open_folder
from ganjax.data.records import open_records
from ganjax.data.tfds import open_tfds

__all__ = ["SPLITS", "DataError", "Labels", "Source", "open_source"]

KINDS = ("embedded", "tfds", "folder", "records")


def open_source(data: DataConfig, split: str, *, image_size: int) -> Source:
    """Opens one split of a set.

    Args:
      data: which set and labels, how much of it, and how an image becomes image_size x
        image_size x channels.
      split: "train", or "validation": the part held out. It is the set's own (TFDS's
        validation, else its test split; a folder's "validation", "val", "valid" or "test");
        where there is none, a tenth of each class, the same for every seed.
      image_size: S, pixels a side.

    Raises:
      DataError: the set does not exist, is not prepared, or does not fit; it has no such
        labels, or not as many classes or images.
    """
    source, is_split = _open(data, split, image_size)
    if not is_split:
        held = splits.held_out(_strata(source, data))
        source = take(source, np.flatnonzero(held == (split == "validation")))
    if split == "train":
        chosen = splits.subset(source.size, data)
        source = source if chosen is None else take(source, chosen)
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
    return source._replace(fetch=_checked(source.fetch, data))


def _open(data: DataConfig, split: str, image_size: int) -> tuple[Source, bool]:
    """The set, and whether it is the split asked for (else it is all that is to be split)."""
    kind, _, name = data.source.partition(":")
    if kind not in KINDS or not name:
        raise DataError(
            f"config.data.source={data.source!r}: write embedded:<name> ({', '.join(NAMES)}), "
            "tfds:<name>, folder:<path> or records:<path>"
        )

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
        return open_folder(name, split, data, prepare)
    return open_records(name, split, data, image_size), True


def _strata(source: Source, data: DataConfig) -> np.ndarray:
    """What a split keeps the shares of: "label" where no other is read, so that a run without
    labels holds out the same images."""
    if data.label not in ("", "label"):
        return source.labels()
    plain = source.features().get("label")
    return np.zeros(source.size, np.int32) if plain is None else plain.values


def _checked(fetch: Callable, data: DataConfig) -> Callable:
    """`fetch`, refusing labels out of range: one-hot vectors of them would be silently 0."""

    def checked(indices):
        batch = fetch(indices)
        label = batch["label"]
        bad = label[(label < 0) | (label >= data.num_classes)]
        if bad.size:
            raise DataError(
                f"config.data.num_classes={data.num_classes}: config.data.label={data.label!r} of "
                f"{data.source} has the label {bad[0]}; labels are 0 .. num_classes - 1"
            )
        return batch

    return checked
