"""Sets of images by name: uint8, square, of one size, fetched by index.

`embedded:<name>` ships inside the package; `tfds:<name>` reads a prepared TFDS set through
`tfds.data_source`, without TensorFlow.
"""

from collections.abc import Callable
from functools import reduce
from importlib import resources
from operator import getitem
from typing import NamedTuple

import numpy as np
from PIL import Image

from ganjax.config import DataConfig
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


def open_source(data: DataConfig, split: str, *, image_size: int) -> Source:
    """Opens one split of a set.

    Args:
      data: which set and labels, and how an image becomes image_size x image_size x channels.
      split: "train", or "validation": the part held out. A tenth of each class of an
        embedded set, the same for every seed; TFDS's validation, else its test split, else
        the last tenth of train.
      image_size: S, pixels a side.

    Raises:
      DataError: the set does not exist, is not prepared, or does not fit; it has no such
        labels, or not as many classes.
    """
    kind, _, rest = data.source.partition(":")
    if kind not in _KINDS or not rest:
        raise DataError(
            f"config.data.source={data.source!r}: write embedded:<name> "
            f"({', '.join(EMBEDDED)}) or tfds:<name>"
        )

    def prepare(image: np.ndarray) -> np.ndarray:
        try:
            return FITS[data.fit](_to_channels(image, data.channels), image_size)
        except DataError as error:
            raise DataError(f"config.data.source={data.source!r}: {error}") from None

    source = _KINDS[kind](rest, split, prepare, data.label)
    if source.label_names and len(source.label_names) != data.num_classes:
        raise DataError(
            f"config.data.num_classes={data.num_classes}: config.data.label={data.label!r} of "
            f"{data.source} has {len(source.label_names)} classes; set that"
        )
    if not data.label and data.num_classes != 1:
        raise DataError(
            f"config.data.num_classes={data.num_classes}: config.data.label is empty, so there "
            "are no labels; name one, or set num_classes=1"
        )
    return source._replace(fetch=_checked(source.fetch, data))


def _checked(fetch: Callable, data: DataConfig) -> Callable:
    """`fetch`, refusing labels out of range: one-hot vectors of them would be silently 0."""

    def checked(indices):
        batch = fetch(indices)
        label = batch["label"]
        bad = label[(label < 0) | (label >= data.num_classes)]
        if bad.size:
            raise DataError(
                f"config.data.num_classes={data.num_classes}: config.data.label={data.label!r} of "
                f"{data.source} has the label {bad[0]}; labels are 0 .. num_classes - 1"
            )
        return batch

    return checked


def _embedded(name: str, split: str, prepare, feature: str) -> Source:
    if name not in EMBEDDED:
        raise DataError(
            f"config.data.source='embedded:{name}': there are {', '.join(EMBEDDED)} only"
        )
    if feature not in ("", "label"):
        raise DataError(
            f"config.data.label={feature!r}: embedded:{name} has 'label' only, or '' for none"
        )
    path = resources.files("ganjax.data") / "embedded" / f"{name}.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        image, label = arrays["image"], arrays["label"].astype(np.int32)
        names = tuple(str(n) for n in arrays["label_names"])
    kept = np.flatnonzero(_held_out(label) == (split == "validation"))
    images = np.stack([prepare(image[i]) for i in kept])
    labels = label[kept] if feature else np.zeros(len(kept), np.int32)
    return Source(
        len(kept), lambda i: {"image": images[i], "label": labels[i]}, names if feature else ()
    )


def _held_out(label: np.ndarray) -> np.ndarray:
    """Whether each element belongs to the tenth of its class that is held out."""
    held = np.zeros(len(label), bool)
    for value in np.unique(label):
        members = np.random.RandomState(0).permutation(np.flatnonzero(label == value))
        held[members[: len(members) // 10]] = True
    return held


def _tfds(name: str, split: str, prepare, feature: str) -> Source:
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
    names = _label_names(features, feature, field)
    path = feature.split("/") if feature else []
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

    def label(example):
        return int(reduce(getitem, path, example)) if path else 0

    def fetch(indices):
        examples = [data[int(i)] for i in indices]
        return {
            "image": np.stack([prepare(example["image"]) for example in examples]),
            "label": np.array([label(example) for example in examples], np.int32),
        }

    return Source(len(data), fetch, names)


def _label_names(features, feature: str, field: str) -> tuple[str, ...]:
    """The classes of a TFDS feature, () where it names none.

    Raises:
      DataError: there is no such feature, or it is no label.
    """
    if not feature:
        return ()
    at, groups = features, feature.split("/")
    for i, part in enumerate(groups):
        known = list(at) if hasattr(at, "keys") else []
        if part not in known:
            where = "/".join(groups[:i]) or field
            raise DataError(f"config.data.label={feature!r}: {where} has {known}, not {part!r}")
        at = at[part]
    kind = np.dtype(at.np_dtype).kind if getattr(at, "shape", None) == () else ""
    if kind not in ("i", "u", "b"):
        raise DataError(
            f"config.data.label={feature!r}: labels are integers or booleans, "
            f"not a {type(at).__name__}"
        )
    if kind == "b":
        # "Not Blond_Hair", "Blond_Hair".
        return (f"not {groups[-1]}", groups[-1])
    return tuple(getattr(at, "names", None) or ())


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
