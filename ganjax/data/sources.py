"""Sets of images by name: uint8, all of one size, fetched by index.

Each kind of source is a file of this folder, listed in `SOURCES`. To add one, write an opener
(`ganjax.data.base.Opener`) and its `Kind` in a file of its own, and add a line here.
"""

import numpy as np

from ganjax.data import embedded, folder, own, records, splits, tfds
from ganjax.data.base import SPLITS, Kind, Source, take
from ganjax.data.fields import DataFields
from ganjax.engine.sizes import ImageSize
from ganjax.errors import DataError

__all__ = ["SOURCES", "SPLITS", "Source", "kind_of", "open_source"]

SOURCES: dict[str, Kind] = {
    "embedded": embedded.KIND,
    "tfds": tfds.KIND,
    "folder": folder.KIND,
    "records": records.KIND,
    "python": own.KIND,
}


def open_source(data: DataFields, split: str, *, image_size: ImageSize) -> Source:
    """Opens one split of a set of images.

    The validation split is the set's own: TFDS's validation, else its test split, or a folder's
    "validation", "val", "valid" or "test". A set without such a split has a share of each class
    of its feature "label" held out (`data.held_out`), the same for every seed and whatever
    `data.label` is. If that share is 0, the validation split is empty.

    Args:
      data: the set, its labels, how much of it is used, and how images become arrays.
      split: "train", or "validation" for the images that are held out.
      image_size: the side of square images in pixels, or (height, width).

    Raises:
      DataError: the set does not exist, is not prepared, or does not fit the fields; or it lacks
        the label, or has another number of classes, or too few images. The images of TFDS sets
        and their labels are checked only when they are fetched.
    """
    kind, name = kind_of(data.source)
    _check_own_fields(kind, data)
    source, is_split = kind.open(name, split, data, image_size)
    _check_classes(source, data)
    source = _with_checked_labels(source, data)
    if not kind.labels_need_images:
        source.labels()
    num_held = 0
    if is_split:
        _refuse_share(data)
    else:
        held = splits.held_out(_strata(source, data), data.held_out)
        num_held = int(held.sum())
        source = take(source, np.flatnonzero(held == (split == "validation")))
    if split == "train":
        chosen = splits.subset(source.size, num_held, data)
        source = source if chosen is None else take(source, chosen)
    return source


def kind_of(source: str) -> tuple[Kind, str]:
    """Splits a value of config.data.source, "<kind>:<name>", into the kind and the name.

    Raises:
      DataError: there is no such kind, or the name is empty.
    """
    kind, _, name = source.partition(":")
    if kind not in SOURCES or not name:
        *others, last = (f"{kind}:{each.usage}" for kind, each in SOURCES.items())
        raise DataError(f"config.data.source={source!r}: write {', '.join(others)} or {last}")
    return SOURCES[kind], name


def _check_own_fields(kind: Kind, data: DataFields) -> None:
    """Raises a DataError if a field is set that only another kind of source honours."""
    for name, other in SOURCES.items():
        for field in other.own_fields if other is not kind else ():
            value, default = getattr(data, field), DataFields.model_fields[field].default
            if value != default:
                raise DataError(
                    f"config.data.{field}={value!r}: only {name}:{other.usage} takes one; set "
                    f"{default!r}"
                )


def _refuse_share(data: DataFields) -> None:
    """Raises a DataError if a share is to be held out of a set that has a split for that."""
    default = DataFields.model_fields["held_out"].default
    if data.held_out != default:
        raise DataError(
            f"config.data.held_out={data.held_out}: {data.source} has a held-out split of its own; "
            f"leave it at {default}"
        )


def _check_classes(source: Source, data: DataFields) -> None:
    """Raises a DataError if config.data.num_classes is not the set's number of classes."""
    if source.label_names and len(source.label_names) != data.num_classes:
        raise DataError(
            f"config.data.num_classes={data.num_classes}: config.data.label={data.label!r} of "
            f"{data.source} has {len(source.label_names)} classes; set "
            f"config.data.num_classes={len(source.label_names)}"
        )
    if not data.label and data.num_classes != 1:
        raise DataError(
            f"config.data.num_classes={data.num_classes}: config.data.label is empty, so there "
            "are no labels; name one, or set num_classes=1"
        )


def _with_checked_labels(source: Source, data: DataFields) -> Source:
    """Returns a source that raises a DataError for labels out of range.

    Otherwise the one-hot vector of such a label would silently be zero.
    """

    def checked(label):
        bad = label[(label < 0) | (label >= data.num_classes)]
        if bad.size:
            raise DataError(
                f"config.data.num_classes={data.num_classes}: config.data.label={data.label!r} of "
                f"{data.source} has the label {bad[0]}; labels count from 0 to num_classes - 1: "
                f"set config.data.num_classes={max(label.max() + 1, 1)} or more, and count from 0"
            )
        return label

    def fetch(indices):
        batch = source.fetch(indices)
        return batch | {"label": checked(batch["label"])}

    return source._replace(fetch=fetch, labels=lambda: checked(source.labels()))


def _strata(source: Source, data: DataFields) -> np.ndarray:
    """Returns the class of each image, int32 (size,), by which a split is stratified.

    It is the feature "label" whatever `data.label` is, so that all runs on a set, with labels of
    any kind or without, hold out the same images.
    """
    if data.label == "label":
        return source.labels()
    classes = source.features().get("label")
    return np.zeros(source.size, np.int32) if classes is None else classes.values
