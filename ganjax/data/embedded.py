"""`embedded:<name>`: the sets that ship inside the package, held in memory."""

from collections.abc import Callable
from importlib import resources

import numpy as np

from ganjax.data.base import Labels, Source, chosen_labels
from ganjax.errors import DataError

NAMES = ("mnist5k", "emoji64")


def open_embedded(name: str, feature: str, prepare: Callable) -> Source:
    """Reads a whole set, its images as `prepare` makes them on their first use.

    Raises:
      DataError: there is no such set or label.
    """
    if name not in NAMES:
        raise DataError(f"config.data.source='embedded:{name}': there are {', '.join(NAMES)} only")
    path = resources.files("ganjax.data") / "embedded" / f"{name}.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        image, label = arrays["image"], arrays["label"].astype(np.int32)
        names = tuple(str(n) for n in arrays["label_names"])
    features = {"label": Labels(label, names)}
    chosen = chosen_labels(features, feature, len(label), f"embedded:{name}")
    # All at once: they fit into memory, and no step waits for them.
    images = np.stack([prepare(each) for each in image])
    return Source(
        len(label),
        lambda i: {"image": images[i], "label": chosen.values[i]},
        chosen.names,
        lambda: chosen.values,
        lambda: features,
        fingerprint=f"embedded:{name}",
        transparent=image.shape[-1] == 4,
    )
