"""Choice of the images of a set that are held out, and of those that a run trains on."""

from fractions import Fraction

import numpy as np

from ganjax.data.fields import DataFields
from ganjax.errors import DataError


def held_out(label: np.ndarray, share: float) -> np.ndarray:
    """Returns whether each image is held out: a share of each class, the same for every seed.

    All classes too small for an image of theirs to be held out count together as one class, so
    that sets of many small classes have held-out images too. At least one image is held out.

    Args:
      label: (N,) integers, N at least 2.
      share: the share of each class, in [0, 1), rounded down to whole images; 0 for none at all.

    Returns:
      bool (N,).
    """
    held = np.zeros(len(label), bool)
    if not share:
        return held
    exact = Fraction(repr(share))  # Floats would round 0.29 of 100 images down to 28.
    values, counts = np.unique(label, return_counts=True)
    large = np.array([int(exact * count) > 0 for count in counts.tolist()])
    strata = [np.flatnonzero(label == value) for value in values[large]]
    strata.append(np.flatnonzero(np.isin(label, values[~large])))
    for indices in strata:
        shuffled = np.random.RandomState(0).permutation(indices)
        held[shuffled[: int(exact * len(indices))]] = True
    if not held.any():
        held[np.random.RandomState(0).randint(len(label))] = True
    return held


def subset(size: int, held: int, data: DataFields) -> np.ndarray | None:
    """Returns the training images that `num_examples` or `fraction` selects.

    They are the first ones of a shuffle by `subset_seed`. Every run of a sweep therefore has the
    same images whatever its own seed, and a larger subset contains a smaller one.

    Args:
      size: the number of training images.
      held: the number of images beside them that are held out; 0 if the set has its own splits.
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
        without = f" and {held} that are held out" if held else ""
        raise DataError(
            f"config.data.num_examples={data.num_examples}: {data.source} has {size} training "
            f"images{without}; set {size} or fewer, or 0 for all"
        )
    count = data.num_examples or max(1, round(data.fraction * size))
    if count == size:
        return None
    # RandomState: its stream is frozen for all versions of NumPy.
    return np.sort(np.random.RandomState(data.subset_seed).permutation(size)[:count])
