"""What a set of images is, whatever it is read from."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ganjax.errors import DataError

SPLITS = ("train", "validation")


class Labels(NamedTuple):
    """One feature of every image of a set.

    Attributes:
      values: int32 (size,).
      names: of the classes, () where integers have none.
    """

    values: np.ndarray
    names: tuple[str, ...]


class Source(NamedTuple):
    """A set of images.

    Attributes:
      size: how many there are.
      fetch: (n,) indices -> {"image": uint8 (n, S, S, C), "label": int32 (n,)}; may be called
        from several threads at once.
      label_names: the classes, () without labels.
      labels: () -> int32 (size,), what `fetch` gives of all, without decoding an image.
      features: () -> every feature that labels can be read from, by name.
      skipped: (file, reason) of what cannot be read.
      fingerprint: a hash of what the whole set is made of, the same wherever it lies; "" if
        there is none.
      transparent: whether any image has an alpha channel, so that the background matters.
      ignored: (suffix, count) of the files that are not read, their suffix being no image's.
    """

    size: int
    fetch: Callable[[np.ndarray], dict[str, np.ndarray]]
    label_names: tuple[str, ...]
    labels: Callable[[], np.ndarray] | None = None
    features: Callable[[], dict[str, Labels]] | None = None
    skipped: tuple[tuple[str, str], ...] = ()
    fingerprint: str = ""
    transparent: bool = False
    ignored: tuple[tuple[str, int], ...] = ()


def take(source: Source, indices: np.ndarray) -> Source:
    """The set of some of a source's images: the i-th is the source's indices[i]-th."""

    def features():
        return {
            name: each._replace(values=each.values[indices])
            for name, each in source.features().items()
        }

    return source._replace(
        size=len(indices),
        fetch=lambda i: source.fetch(indices[i]),
        labels=lambda: source.labels()[indices],
        features=features,
    )


def chosen_labels(features: dict[str, Labels], feature: str, size: int, field: str) -> Labels:
    """The feature of that name; zeros where it is "".

    Args:
      features: by name.
      feature: config.data.label.
      size: of the set.
      field: what begins the error, "config.data.source='...'".

    Raises:
      DataError: there is no such feature.
    """
    if not feature:
        return Labels(np.zeros(size, np.int32), ())
    if feature not in features:
        known = f"{', '.join(map(repr, features))} only" if features else "no labels"
        raise DataError(f"config.data.label={feature!r}: {field} has {known}, or '' for none")
    return features[feature]
