"""`embedded:<name>`: the small sets that ship inside the package and are held in memory."""

from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np

from ganjax.data import stacked
from ganjax.data.base import Kind, Labels, Opened, Source, chosen_labels
from ganjax.data.fields import DataFields
from ganjax.data.fit import Fitting
from ganjax.engine.sizes import ImageSize
from ganjax.errors import DataError

STACKED = "stacked_mnist"
NAMES = ("mnist5k", "emoji64", STACKED)


def open_embedded(name: str, split: str, data: DataFields, image_size: ImageSize) -> Opened:
    """Opens an embedded set, which is read at once and has no splits unless it is stacked.

    See `ganjax.data.base.Opener` for the arguments and the result.

    Raises:
      DataError: there is no such set or label, or the images do not fit.
    """
    if name not in NAMES:
        raise DataError(f"config.data.source='embedded:{name}': there are {', '.join(NAMES)} only")
    if name == STACKED:
        of_digits = {"channels": 1, "label": "label", "num_classes": stacked.DIGITS}
        digits = open_embedded("mnist5k", split, data.model_copy(update=of_digits), image_size)
        return stacked.stack(name, digits.source, split, data)
    image, label, names = _read(name)
    features = {"label": Labels(label, names)}
    chosen = chosen_labels(features, data.label, len(label), data.source)
    images = _fitted(name, image_size, data.fit, data.channels, data.background)
    source = Source(
        size=len(label),
        fetch=lambda i: {"image": images[i], "label": chosen.values[i]},
        label_names=chosen.names,
        labels=lambda: chosen.values,
        features=lambda: features,
        fingerprint=f"embedded:{name}",
        transparent=image.shape[-1] == 4,
        native=np.broadcast_to(np.array(image.shape[1:3], np.int32), (len(label), 2)),
    )
    return Opened(source, is_split=False)


@lru_cache(maxsize=len(NAMES))
def _read(name: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Returns the images, labels and names of labels of a set."""
    path = resources.files("ganjax.data") / "embedded" / f"{name}.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        names = tuple(str(name) for name in arrays["label_names"])
        return arrays["image"], arrays["label"].astype(np.int32), names


# Both splits of a set, and later runs of a process, share the arrays.
@lru_cache(maxsize=4)
def _fitted(name: str, image_size: ImageSize, fit: Any, channels: Any, background: Any):
    """Returns all images of a set in the size of a run: they fit into memory, and no step waits."""
    data = DataFields(source=f"embedded:{name}", fit=fit, channels=channels, background=background)
    fitting = Fitting(data, image_size)
    images = np.stack([fitting(each) for each in _read(name)[0]])
    images.setflags(write=False)
    return images


KIND = Kind(open_embedded, usage=f"<name> ({', '.join(NAMES)})")
