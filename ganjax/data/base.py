"""The interface of all sources of images: a set that is read by index, and how it is opened."""

import functools
from collections.abc import Callable
from typing import NamedTuple, NoReturn, Protocol

import numpy as np
from absl import logging

from ganjax.data.fields import DataFields
from ganjax.engine.sizes import ImageSize
from ganjax.errors import DataError

SPLITS = ("train", "validation")
# Every phase of a run opens both splits, and one warning is enough.
warn_once = functools.lru_cache(maxsize=None)(logging.warning)


class Labels(NamedTuple):
    """The values of one feature for every image of a set.

    Attributes:
      values: int32 (size,).
      names: the name of each class, or () for integers without names.
    """

    values: np.ndarray
    names: tuple[str, ...]


def _none_given() -> NoReturn:
    raise NotImplementedError("this source was made of images alone, without their labels")


class Source(NamedTuple):
    """A set of images that are read by index.

    Attributes:
      size: the number of images.
      fetch: reads images by index. It takes (n,) integers and returns {"image": uint8
        (n, H, W, C), "label": int32 (n,)}. Several threads may call it at once.
      label_names: the name of each class; () without labels, or where classes have no names.
      labels: returns the label of every image, int32 (size,), without decoding any image.
      features: returns every feature that labels can be read from, by name.
      skipped: (file, reason) for each file that cannot be used.
      fingerprint: a text that identifies the content of the whole set and is equal for a copy
        elsewhere: a hash, or "embedded:<name>" for a set that ships with the package; "" where
        none is known.
      transparent: whether any image has an alpha channel, so that the background matters.
      ignored: (suffix, count) of the files that are not images by their suffix, and of hidden ones
        (see `ganjax.data.scan.Listing`).
      no_labels: (name, reason) of each column that labels cannot be read from.
      drawn: reads reals of which a part is drawn at random each time, such as one tag of an image:
        it takes indices (n,) and numbers (n,) that are uniform on [0, 1), and returns what `fetch`
        does. Train steps then call it in place of `fetch`; None where no part is drawn.
      native: int32 (size, 2), the height and width that each image has before it is fitted; None
        where they are not known.
    """

    size: int
    fetch: Callable[[np.ndarray], dict[str, np.ndarray]]
    label_names: tuple[str, ...]
    labels: Callable[[], np.ndarray] = _none_given
    features: Callable[[], dict[str, Labels]] = _none_given
    skipped: tuple[tuple[str, str], ...] = ()
    fingerprint: str = ""
    transparent: bool = False
    ignored: tuple[tuple[str, int], ...] = ()
    no_labels: tuple[tuple[str, str], ...] = ()
    native: np.ndarray | None = None
    drawn: Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]] | None = None


class Opened(NamedTuple):
    """The result of an opener.

    Attributes:
      source: the images.
      is_split: whether they are the split that was asked for. Otherwise they are all images of
        a set that has no splits, and `ganjax.data.sources` holds a share of them out.
    """

    source: Source
    is_split: bool


class Opener(Protocol):
    """A function that opens one split of a set of images."""

    def __call__(self, name: str, split: str, data: DataFields, image_size: ImageSize) -> Opened:
        """Opens one split of a set of images.

        Args:
          name: what follows the colon of `data.source`.
          split: "train", or "validation" for the images that are held out.
          data: how images become arrays, and which feature is the label. The fields that apply
            to every kind of source (`num_classes`, `mirror`, `held_out`, `num_examples`,
            `fraction`, `subset_seed`, `on_device`) are honoured elsewhere.
          image_size: the side of square images in pixels, or (height, width).

        Returns:
          The images, uint8 (H, W, C) each with C = data.channels, and whether they are a split.

        Raises:
          DataError: the set does not exist, cannot be read, or does not fit `data`.
        """
        ...


class Kind(NamedTuple):
    """A kind of sources: what precedes the colon of config.data.source.

    Attributes:
      open: opens a split of a set of this kind.
      usage: what follows the colon, in the words of an error message: "<path>".
      own_fields: the fields of `DataFields` that this kind alone honours. With a source of any
        other kind they must keep their defaults.
      labels_need_images: whether reading all labels means reading the whole set. If so, a label
        that is out of range is found only when its image is read.
      download: fetches a set by name if it is not on this machine yet, and returns a line that
        says where it is; None for a kind that fetches nothing.
    """

    open: Opener
    usage: str
    own_fields: tuple[str, ...] = ()
    labels_need_images: bool = False
    download: Callable[[str], str] | None = None


def take(source: Source, indices: np.ndarray) -> Source:
    """Returns a subset of a source.

    Args:
      source: the source.
      indices: (n,) integers; the i-th image of the subset is image indices[i] of the source.
    """

    def features():
        return {
            name: feature._replace(values=feature.values[indices])
            for name, feature in source.features().items()
        }

    drawn = source.drawn
    return source._replace(
        size=len(indices),
        fetch=lambda i: source.fetch(indices[i]),
        labels=lambda: source.labels()[indices],
        features=features,
        native=None if source.native is None else source.native[indices],
        drawn=None if drawn is None else lambda i, uniform: drawn(indices[i], uniform),
    )


def chosen_labels(features: dict[str, Labels], label: str, size: int, source: str) -> Labels:
    """Returns the feature that is named by config.data.label, or zeros where that is "".

    Args:
      features: the set's features, by name.
      label: config.data.label.
      size: the number of images in the set.
      source: config.data.source, for the error message.

    Raises:
      DataError: the set has no such feature.
    """
    if not label:
        return Labels(np.zeros(size, np.int32), ())
    if label not in features:
        names = ", ".join(map(repr, features))
        has = f"{names} only, or '' for none" if features else "no labels: set it to '' for none"
        raise DataError(f"config.data.label={label!r}: {source} has {has}")
    return features[label]
