"""Sets of images by name: uint8, square, of one size, fetched by index.

`embedded:<name>` ships inside the package; `tfds:<name>` reads a prepared TFDS set through
`tfds.data_source`, without TensorFlow.
"""

from collections.abc import Callable
from importlib import resources
from typing import NamedTuple

import numpy as np
from PIL import Image

from ganjax.errors import UserError

SPLITS = ("train", "validation")
EMBEDDED = ("mnist5k", "emoji64")


class DataError(UserError):
    """Data that cannot be had or used."""


class Source(NamedTuple):
    """A set of images.

    Attributes:
      size: how many there are.
      fetch: (n,) indices -> {"image": uint8 (n, S, S, C), "label": int32 (n,)}.
      label_names: the classes, () without labels.
    """

    size: int
    fetch: Callable[[np.ndarray], dict[str, np.ndarray]]
    label_names: tuple[str, ...]


def open_source(name: str, split: str, *, image_size: int, channels: int, fit: str) -> Source:
    """Opens one split of a set.

    Args:
      name: `embedded:mnist5k`, `embedded:emoji64` or `tfds:<name>`.
      split: "train", or "validation": the part held out. A tenth of each class of an
        embedded set, the same for every seed; TFDS's validation, else its test split, else
        the last tenth of train.
      image_size: S, pixels a side.
      channels: C, 1 (grey) or 3 (RGB).
      fit: how an image gets to S x S, a name in `FITS`.

    Raises:
      DataError: the set does not exist, is not prepared, or does not fit.
    """
    kind, _, rest = name.partition(":")
    if kind not in _KINDS or not rest:
        raise DataError(
            f"config.data.source={name!r}: write embedded:<name> "
            f"({', '.join(EMBEDDED)}) or tfds:<name>"
        )

    def prepare(image: np.ndarray) -> np.ndarray:
        try:
            return FITS[fit](_to_channels(image, channels), image_size)
        except DataError as error:
            raise DataError(f"config.data.source={name!r}: {error}") from None

    return _KINDS[kind](rest, split, prepare)


def _embedded(name: str, split: str, prepare) -> Source:
    if name not in EMBEDDED:
        raise DataError(
            f"config.data.source='embedded:{name}': there are {', '.join(EMBEDDED)} only"
        )
    path = resources.files("ganjax.data") / "embedded" / f"{name}.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        image, label = arrays["image"], arrays["label"].astype(np.int32)
        names = tuple(str(n) for n in arrays["label_names"])
    kept = np.flatnonzero(_held_out(label) == (split == "validation"))
    images = np.stack([prepare(image[i]) for i in kept])
    labels = label[kept]
    return Source(len(kept), lambda i: {"image": images[i], "label": labels[i]}, names)


def _held_out(label: np.ndarray) -> np.ndarray:
    """Whether each element belongs to the tenth of its class that is held out."""
    held = np.zeros(len(label), bool)
    for value in np.unique(label):
        members = np.random.RandomState(0).permutation(np.flatnonzero(label == value))
        held[members[: len(members) // 10]] = True
    return held


def _tfds(name: str, split: str, prepare) -> Source:
    # Imported here: it takes a third of a second that embedded data need not wait for.
    import tensorflow_datasets as tfds

    field = f"config.data.source='tfds:{name}'"
    try:
        builder = tfds.builder(name, file_format="array_record")
    except (tfds.core.DatasetNotFoundError, AssertionError, ValueError):
        raise DataError(f"{field}: TFDS has no set of that name, config or version") from None
    features = builder.info.features
    if "image" not in features:
        raise DataError(f'{field}: its features {sorted(features)} have no "image"')
    held_out = [n for n in ("validation", "test") if n in builder.info.splits]
    part = {"train": "train", "validation": "".join(held_out[:1])}[split]
    if not held_out:
        part = {"train": "train[:90%]", "validation": "train[90%:]"}[split]
    try:
        data = builder.as_data_source(split=part)
    except (AssertionError, KeyError, NotImplementedError, ValueError):
        raise DataError(
            f"{field}: not prepared for random access under {builder.data_dir}; do so once with: "
            f"pip install 'ganjax[tf]' && tfds build {name} --file_format=array_record (in "
            "another folder: set TFDS_DATA_DIR)"
        ) from None
    names = tuple(features["label"].names) if "label" in features else ()

    def fetch(indices):
        examples = [data[int(i)] for i in indices]
        return {
            "image": np.stack([prepare(example["image"]) for example in examples]),
            "label": np.array([example.get("label", 0) for example in examples], np.int32),
        }

    return Source(len(data), fetch, names)


def _to_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """(H, W, 1 or 3) uint8 -> (H, W, channels); grey by ITU-R 601 luma, as Pillow does."""
    if image.shape[-1] not in (1, 3):
        raise DataError(f"images have {image.shape[-1]} channels; only 1 and 3 are read")
    if image.shape[-1] == channels:
        return image
    if image.shape[-1] == 1:
        return np.repeat(image, 3, axis=-1)
    return np.asarray(Image.fromarray(image).convert("L"))[..., None]


def _pad(image: np.ndarray, size: int) -> np.ndarray:
    """Centres an image on its own top-left colour."""
    height, width, channels = image.shape
    if max(height, width) > size:
        raise DataError(
            f"images of {height}x{width} do not fit into config.image_size={size}; set "
            "config.data.fit=resize or a larger image_size"
        )
    padded = np.broadcast_to(image[0, 0], (size, size, channels)).copy()
    top, left = (size - height) // 2, (size - width) // 2
    padded[top : top + height, left : left + width] = image
    return padded


def _resize(image: np.ndarray, size: int) -> np.ndarray:
    """Crops the central square, then area-averages down to `size` (bicubic upwards)."""
    height, width, _ = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    if side == size:
        return square
    method = Image.Resampling.BOX if side > size else Image.Resampling.BICUBIC
    picture = Image.fromarray(square[..., 0] if square.shape[-1] == 1 else square)
    return np.asarray(picture.resize((size, size), method)).reshape(size, size, -1)


FITS = {"pad": _pad, "resize": _resize}
_KINDS = {"embedded": _embedded, "tfds": _tfds}
