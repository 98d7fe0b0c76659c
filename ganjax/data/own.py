"""`python:<module>:<function>`: the images that a function of one's own returns.

docs/own_source.md explains it to its users.
"""

import functools
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ganjax import config_file
from ganjax.data.base import Kind, Labels, Opened, Source, chosen_labels
from ganjax.data.fields import DataFields
from ganjax.data.fit import Fitting
from ganjax.engine.sizes import ImageSize
from ganjax.errors import DataError

# The images, evenly spaced, that a fingerprint is made of where none is given.
PROBES = 32


class Images(NamedTuple):
    """One split of a set of images, with labels.

    Attributes:
      images: anything with a length and an index, such as a list, an array or a memory map.
        images[i] is uint8 or uint16, (H, W) or (H, W, 1 to 4), with alpha last, and the same each
        time. Images may differ in size. Several threads may ask at once.
      labels: integers or booleans (N,), by the name that config.data.label selects.
      names: the names of the classes 0, 1, ... of a label, by the label's name.
      fingerprint: a text that identifies the content of this split; "" makes one of the number of
        images, the labels and some of the images.
    """

    images: Sequence[Any] | np.ndarray
    labels: Mapping[str, ArrayLike] = {}
    names: Mapping[str, Sequence[str]] = {}
    fingerprint: str = ""


class _Split(NamedTuple):
    """A checked split.

    Attributes:
      images: as in `Images`.
      features: what labels can be read from, by name.
      fingerprint: as in `Source`.
    """

    images: Any
    features: dict[str, Labels]
    fingerprint: str


def open_own(name: str, split: str, data: DataFields, image_size: ImageSize) -> Opened:
    """Opens a split of the set of a function, which is called with "train" or "validation".

    See `ganjax.data.base.Opener` for the arguments and the result. If the function returns None for
    "validation", the set has no splits.

    Raises:
      DataError: there is no such function, or it returns something else than images.
      UserError: the function fails.
    """
    field = f"config.data.source={data.source!r}"
    function = _function(name, field)
    held_out = _split(function, "validation", field)
    training = _split(function, "train", field)
    if training is None:
        raise DataError(f"{field}: its function returned None for 'train'; return images")
    images, features, _ = chosen = held_out if held_out and split == "validation" else training
    size, fit = len(images), Fitting(data, image_size)
    if held_out is None and data.held_out and size < 2:
        raise DataError(f"{field} holds one image; there must be two, of which one is held out")
    label = chosen_labels(features, data.label, size, data.source)

    def fetch(indices):
        read = [fit(_image(chosen, int(i), field)) for i in indices]
        return {"image": np.stack(read), "label": label.values[indices]}

    source = Source(
        size=size,
        fetch=fetch,
        label_names=label.names,
        labels=lambda: label.values,
        features=lambda: features,
        fingerprint="".join(each.fingerprint for each in (training, held_out) if each),
        transparent=_image(chosen, 0, field).shape[-1] in (2, 4),
    )
    return Opened(source, is_split=held_out is not None)


KIND = Kind(open_own, usage="<module>:<function>")


def _function(name: str, field: str) -> Callable[[str], Any]:
    """Imports the function that is named <module>:<function>."""
    path, _, attribute = name.partition(":")
    if not attribute.isidentifier() or not all(part.isidentifier() for part in path.split(".")):
        raise DataError(f"{field}: write python:<module>:<function>, such as python:my_set:images")
    with config_file.located(path):
        function = getattr(_module(path, field), attribute, None)
    if not callable(function):
        raise DataError(f"{field}: {path} has no function {attribute}")
    return function


def _module(path: str, field: str) -> ModuleType:
    """Imports a module by its dotted name."""
    if path in sys.modules:  # Such as __main__, the module of a notebook.
        return sys.modules[path]
    try:
        spec = importlib.util.find_spec(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise  # A package around the module imports one that is missing.
        spec = None
    if spec is None:
        raise DataError(
            f"{field}: there is no module {path}; Python finds modules in the current folder and "
            "by PYTHONPATH"
        )
    with config_file.located(spec.origin or path):
        return importlib.import_module(path)


@functools.lru_cache(maxsize=2)  # Each phase of a run opens both splits.
def _split(function: Callable[[str], Any], split: str, field: str) -> _Split | None:
    """Calls a function for a split, and checks what it returns."""
    file = getattr(sys.modules.get(function.__module__), "__file__", None)
    with config_file.located(file or field):
        found = function(split)
    if found is None:
        return None
    own = found if isinstance(found, Images) else Images(found)
    if not (hasattr(own.images, "__len__") and hasattr(own.images, "__getitem__")):
        raise DataError(
            f"{field}: its function returned a {type(own.images).__name__} for {split!r}; return "
            "images with a length and an index, or ganjax.data.own.Images"
        )
    if not len(own.images):
        raise DataError(f"{field}: its function returned no image for {split!r}")
    features = {name: _labels(own, name, field) for name in own.labels}
    for name in own.names:
        if name not in features:
            raise DataError(f"{field}: names are given of {name!r}, of which there are no labels")
    checked = _Split(own.images, features, own.fingerprint)
    return checked._replace(fingerprint=own.fingerprint or _fingerprint(checked, field))


def _labels(own: Images, name: str, field: str) -> Labels:
    """Returns the labels of a name, int32."""
    values, names = np.asarray(own.labels[name]), tuple(map(str, own.names.get(name, ())))
    if values.dtype == bool and not names:
        names = (f"not {name}", name)
    if values.shape != (len(own.images),) or values.dtype.kind not in "bui":
        raise DataError(
            f"{field}: the labels {name!r} are {values.dtype} {values.shape}; return one integer "
            f"or boolean for each of {len(own.images)} images"
        )
    if not np.array_equal(values.astype(np.int32), values):
        raise DataError(f"{field}: the labels {name!r} go to {values.max()}; count from 0")
    return Labels(values.astype(np.int32), names)


def _image(split: _Split, index: int, field: str) -> np.ndarray:
    """Returns an image, (H, W, C)."""
    try:
        image = np.asarray(split.images[index])
    except Exception as error:
        raise DataError(f"{field}: image {index}: {type(error).__name__}: {error}") from error
    image = image[..., None] if image.ndim == 2 else image
    if image.ndim != 3 or image.shape[-1] not in (1, 2, 3, 4) or 0 in image.shape:
        raise DataError(
            f"{field}: image {index} has the shape {image.shape}; return (H, W) or (H, W, 1 to 4)"
        )
    if image.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{field}: image {index} is {image.dtype}; return uint8, levels from 0 to 255"
        )
    return image


def _fingerprint(split: _Split, field: str) -> str:
    """Returns a hash of the number of images, the labels and `PROBES` images at most."""
    size, digest = len(split.images), hashlib.sha256()
    digest.update(str(size).encode())
    for name, labels in sorted(split.features.items()):
        digest.update(f"{name} {labels.names}".encode() + labels.values.tobytes())
    for index in np.unique(np.linspace(0, size - 1, PROBES).astype(int)).tolist():
        image = _image(split, index, field)
        digest.update(f"{image.shape} {image.dtype}".encode() + image.tobytes())
    return digest.hexdigest()
