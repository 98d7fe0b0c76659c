"""Stacked MNIST: three digits in the channels of an image, 1,000 modes that can be counted.

From Metz et al. 2017 (arXiv:1611.02163), section 3.3.1. The digits are those of
`embedded:mnist5k`, 5,000 in all, where the original draws from MNIST's 60,000. Training images are
stacked of its training digits, and held-out ones of those that it holds out.
"""

import numpy as np

from ganjax.data import splits
from ganjax.data.base import Labels, Opened, Source, chosen_labels
from ganjax.data.fields import DataFields
from ganjax.errors import DataError

CHANNELS, DIGITS = 3, 10
# The held-out images are as many as the samples by which modes are counted in published tables.
SIZES = {"train": 64_000, "validation": 25_600}
NAMES = tuple(f"{mode:03}" for mode in range(DIGITS**CHANNELS))


def stack(name: str, digits: Source, split: str, data: DataFields) -> Opened:
    """Returns a split of images that are stacked of digits.

    The digits of each channel are drawn uniformly and independently, the same ones for every seed.

    Args:
      name: the set's name.
      digits: all grey digits, labelled, in the size of the images.
      split: "train" or "validation".
      data: `label` chooses the mode, the digits of the channels read as a number, or none.

    Returns:
      The images, uint8 (H, W, 3) each. They are a split of their own.

    Raises:
      DataError: the images are to have another number of channels.
    """
    if data.channels != CHANNELS:
        raise DataError(
            f"config.data.channels={data.channels}: embedded:{name} stacks {CHANNELS} digits; set "
            f"config.data.channels={CHANNELS}"
        )
    values = digits.labels()
    held = splits.held_out(values, DataFields.model_fields["held_out"].default)
    own = np.flatnonzero(held == (split == "validation"))
    random = np.random.RandomState(sorted(SIZES).index(split))
    drawn = own[random.randint(len(own), size=(SIZES[split], CHANNELS))]
    modes = (values[drawn] @ DIGITS ** np.arange(CHANNELS)[::-1]).astype(np.int32)
    features = {"label": Labels(modes, NAMES)}
    chosen = chosen_labels(features, data.label, len(modes), data.source)

    def fetch(indices):
        images = digits.fetch(drawn[indices].ravel())["image"]
        images = images.reshape(-1, CHANNELS, *images.shape[1:3])
        return {"image": np.moveaxis(images, 1, -1), "label": chosen.values[indices]}

    source = Source(
        size=len(modes),
        fetch=fetch,
        label_names=chosen.names,
        labels=lambda: chosen.values,
        features=lambda: features,
        fingerprint=f"embedded:{name}",
    )
    return Opened(source, is_split=True)
