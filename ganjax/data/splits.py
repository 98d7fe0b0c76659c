"""Choice of the images of a set that are held out, and of those that a run trains on."""

import numpy as np

from ganjax.data.fields import DataFields
from ganjax.errors import DataError

# One image in so many of each class is held out where a set has no split of its own.
HELD_OUT = 10


def held_out(label: np.ndarray) -> np.ndarray:
    """Returns whether each image is held out: a tenth of each class, the same for every seed.

    All classes of fewer than ten images together count as one class, so that sets of many small
    classes have held-out images too. At least one image is held out.

    Args:
      label: (N,) integers, N at least 2.

    Returns:
      bool (N,).
    """
    values, counts = np.unique(label, return_counts=True)
    strata = [np.flatnonzero(label == value) for value in values[counts >= HELD_OUT]]
    strata.append(np.flatnonzero(np.isin(label, values[counts < HELD_OUT])))
    held = np.zeros(len(label), bool)
    for indices in strata:
        shuffled = np.random.RandomState(0).permutation(indices)
        held[shuffled[: len(indices) // HELD_OUT]] = True
    if not held.any():
        held[np.random.RandomState(0).randint(len(label))] = True
    return held


def subset(size: int, data: DataFields) -> np.ndarray | None:
    """Returns the training images that `num_examples` or `fraction` selects.

    They are the first ones of a shuffle by `subset_seed`. Every run of a sweep therefore has the
    same images whatever its own seed, and a larger subset contains a smaller one.

    Args:
      size: the number of training images.
      data: the fields that select some of them.

    Returns:
      Sorted indices, or None for all images.

    Raises:
      DataError: both fields are set, or `num_examples` exceeds the number of images.
    """
    if data.num_examples and data.fraction != 1:
        raise DataError(
            f"config.data.num_examples={data.num_examples}: config.data.fraction="
            f"{data.fraction} is set too; leave one (num_examples=0, or fraction=1.0)"
        )
    if data.num_examples > size:
        raise DataError(
            f"config.data.num_examples={data.num_examples}: {data.source} has {size} training "
            "images; set fewer, or 0 for all"
        )
    count = data.num_examples or max(1, round(data.fraction * size))
    if count == size:
        return None
    # RandomState: its stream is frozen for all versions of NumPy.
    return np.sort(np.random.RandomState(data.subset_seed).permutation(size)[:count])
