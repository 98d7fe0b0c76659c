"""`tfds:<name>`: any prepared TFDS set of images, read without TensorFlow."""

import copy
import hashlib
from collections.abc import Callable
from functools import reduce
from operator import getitem

import numpy as np

from ganjax.data.base import Labels, Source
from ganjax.data.fit import Box
from ganjax.errors import DataError


def open_tfds(name: str, split: str, feature: str, prepare: Callable) -> tuple[Source, bool]:
    """Opens a split of a set, and says whether the set has such a split.

    Args:
      name: of the set, with /config and :version behind it if wanted.
      split: "train" or "validation", which is TFDS's validation, else its test split.
      feature: what labels are read from, "" for none.
      prepare: (uint8 (H, W, C), box or None) -> uint8 (S, S, C).

    Returns:
      The source, and whether it is the split asked for; if not, it is the whole train split.

    Raises:
      DataError: there is no such set, it is not prepared, or has no images or no such label.
    """
    builder = make_builder(name)
    # Imported here: it takes a third of a second that embedded data need not wait for.
    import tensorflow_datasets as tfds

    field = f"config.data.source='tfds:{name}'"
    features = builder.info.features
    if "image" not in features:
        raise DataError(f'{field}: its features {sorted(features)} have no "image"')
    names = _label_names(features, feature, field)
    path = feature.split("/") if feature else []
    held_out = [n for n in ("validation", "test") if n in builder.info.splits]
    part = "train" if split == "train" or not held_out else held_out[0]
    try:
        data = builder.as_data_source(split=part)
    except (AssertionError, KeyError, NotImplementedError, ValueError):
        raise DataError(
            f"{field}: not prepared for random access under {builder.data_dir}; do so once with: "
            f"pip install 'ganjax[tf]' && python -m ganjax.data.prepare --source=tfds:{name} (in "
            "another folder: set TFDS_DATA_DIR)"
        ) from None
    pictures = [n for n, each in features.items() if isinstance(each, tfds.features.Image)]
    # ymin, xmin, ymax, xmax as shares of the image.
    has_boxes = "bbox" in features and _is_box(features["bbox"])

    def without(undecoded):
        """The same examples with some features left encoded, which saves most of the time."""
        view = copy.copy(data)
        view.decoders = {n: tfds.decode.SkipDecoding() for n in undecoded}
        return view

    images, rest = without([n for n in pictures if n != "image"]), without(pictures)

    def label(example):
        return int(reduce(getitem, path, example)) if path else 0

    def image(example):
        if not has_boxes:
            return prepare(example["image"], None)
        extent = np.tile(example["image"].shape[:2], 2).astype(np.float32)
        return prepare(example["image"], Box(*(example["bbox"] * extent)))

    def fetch(indices):
        examples = [images[int(i)] for i in indices]
        return {
            "image": np.stack([image(example) for example in examples]),
            "label": np.array([label(example) for example in examples], np.int32),
        }

    def labels():
        if not path:
            return np.zeros(len(data), np.int32)
        return np.array([label(rest[i]) for i in range(len(data))], np.int32)

    def every():
        known = {"/".join(each): each for each in _label_paths(features)}
        values = {n: np.empty(len(data), np.int32) for n in known}
        for i in range(len(data)):
            example = rest[i]
            for n, each in known.items():
                values[n][i] = int(reduce(getitem, each, example))
        return {n: Labels(values[n], _label_names(features, n, field)) for n in known}

    source = Source(
        len(data),
        fetch,
        names,
        labels,
        every,
        fingerprint=_fingerprint(builder.info),
        transparent=features["image"].shape[-1] == 4,
    )
    return source, bool(held_out)


def make_builder(name: str):
    """TFDS's builder of a set, for random access.

    Raises:
      DataError: there is no such set, or it is prepared for reading in a row alone.
    """
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, file_format="array_record")
    except (AssertionError, ValueError):
        other = _in_another_format(name)
    if other is None:
        raise DataError(
            f"config.data.source='tfds:{name}': TFDS has no set of that name, config or version"
        )
    file_format = other.info.file_format.value
    raise DataError(
        f"config.data.source='tfds:{name}': prepared as {file_format} under {other.data_dir}, "
        "which has no random access; prepare it as array_record in another folder: "
        f"TFDS_DATA_DIR=<folder> python -m ganjax.data.prepare --source=tfds:{name}"
    )


def _in_another_format(name: str):
    """The builder of a set that was prepared in another format, None if there is none."""
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name)
    except (tfds.core.DatasetNotFoundError, AssertionError, ValueError):
        return None


def _fingerprint(info) -> str:
    """Of the version and of what was prepared: how many images and bytes, by shard."""
    parts = [info.full_name]
    for name, split in sorted(info.splits.items()):
        parts.append(f"{name} {list(split.shard_lengths)} {int(split.num_bytes)}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _label_paths(features, before: tuple[str, ...] = ()):
    """The path of each feature that labels can be read from."""
    for name, each in features.items():
        if _is_group(each):
            yield from _label_paths(each, (*before, name))
        elif _is_label(each):
            yield (*before, name)


def _is_box(feature) -> bool:
    return getattr(getattr(feature, "bbox_format", None), "name", "") == "REL_YXYX"


def _is_group(feature) -> bool:
    import tensorflow_datasets as tfds

    # A sequence of groups has their keys too, but not one value of each.
    return isinstance(feature, tfds.features.FeaturesDict)


def _is_label(feature) -> bool:
    return getattr(feature, "shape", None) == () and np.dtype(feature.np_dtype).kind in "iub"


def _label_names(features, feature: str, field: str) -> tuple[str, ...]:
    """The classes of a TFDS feature, () where it names none.

    Raises:
      DataError: there is no such feature, or it is no label.
    """
    if not feature:
        return ()
    at, groups = features, feature.split("/")
    for i, part in enumerate(groups):
        known = list(at) if _is_group(at) else []
        if part not in known:
            where = "/".join(groups[:i]) or field
            raise DataError(f"config.data.label={feature!r}: {where} has {known}, not {part!r}")
        at = at[part]
    if not _is_label(at):
        raise DataError(
            f"config.data.label={feature!r}: labels are integers or booleans, "
            f"not a {type(at).__name__}"
        )
    if np.dtype(at.np_dtype).kind == "b":
        # "Not Blond_Hair", "Blond_Hair".
        return (f"not {groups[-1]}", groups[-1])
    return tuple(getattr(at, "names", None) or ())
