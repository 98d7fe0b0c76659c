"""`tfds:<name>`: any prepared TFDS set of images, read without TensorFlow."""

import copy
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ganjax.data.base import Kind, Labels, Opened, Source
from ganjax.data.fields import DataFields
from ganjax.data.fit import Box, Fitting
from ganjax.engine.sizes import ImageSize
from ganjax.errors import DataError, UserError


def open_tfds(name: str, split: str, data: DataFields, image_size: ImageSize) -> Opened:
    """Opens a split of a TFDS set.

    See `ganjax.data.base.Opener` for the arguments and the result. The name may include a config
    and a version, as <set>/<config>:<version>. "validation" opens the set's validation split, else
    its test split; if it has neither, the whole train split is opened.

    Raises:
      DataError: there is no such set, it is not prepared, or has no images or no such label.
    """
    builder = make_builder(name)
    field = f"config.data.source={data.source!r}"
    features: Any = builder.info.features  # A FeaturesDict: examples have several.
    if "image" not in features:
        raise DataError(f'{field}: its features {sorted(features)} have no "image"')
    names = _label_names(features, data.label, field)
    held_out = [n for n in ("validation", "test") if n in builder.info.splits]
    part = "train" if split == "train" or not held_out else held_out[0]
    examples = _read_split(builder, part, name, field)
    images = _pictures(features)
    with_image = _without_decoding(examples, [n for n in images if n != "image"])
    without_images = _without_decoding(examples, images)
    prepare = _preparer(features, Fitting(data, image_size))
    size, path = len(examples), tuple(data.label.split("/")) if data.label else ()

    def fetch(indices):
        chosen = [with_image[int(i)] for i in indices]
        return {
            "image": np.stack([prepare(example) for example in chosen]),
            "label": np.array([_label(example, path) for example in chosen], np.int32),
        }

    def labels():
        if not path:
            return np.zeros(size, np.int32)
        return np.array([_label(without_images[i], path) for i in range(size)], np.int32)

    def every_feature():
        paths = {"/".join(each): each for each in _label_paths(features)}
        values = {n: np.empty(size, np.int32) for n in paths}
        for i in range(size):
            example = without_images[i]
            for n, each in paths.items():
                values[n][i] = _label(example, each)
        return {n: Labels(values[n], _label_names(features, n, field)) for n in paths}

    extent = features["image"].shape[:2]  # None where images differ.
    source = Source(
        size=size,
        fetch=fetch,
        label_names=names,
        labels=labels,
        features=every_feature,
        fingerprint=_fingerprint(builder.info),
        transparent=features["image"].shape[-1] == 4,
        native=None if None in extent else np.broadcast_to(np.int32(extent), (size, 2)),
    )
    return Opened(source, is_split=bool(held_out))


def make_builder(name: str):
    """Returns TFDS's builder of a set, for random access.

    Raises:
      DataError: there is no such set, or it is prepared for sequential reading only.
    """
    # Imported here, since it is slow and embedded data does not need it.
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, file_format="array_record")
    except (AssertionError, ValueError):
        other = _in_another_format(name)
    if other is None:
        raise DataError(
            f"config.data.source='tfds:{name}': TFDS has no set of that name, config or version"
        )
    file_format = other.info.file_format
    assert file_format is not None  # Every builder sets one.
    raise DataError(
        f"config.data.source='tfds:{name}': prepared as {file_format.value} under "
        f"{other.data_dir}, which has no random access; prepare it as array_record in another "
        "folder: "
        f"TFDS_DATA_DIR=<folder> ganjax prepare --source=tfds:{name}"
    )


def download(name: str) -> str:
    """Downloads a TFDS set and prepares it for random access, unless that was done before.

    Returns:
      A line that says where the set is.

    Raises:
      DataError: there is no such set.
      UserError: the set cannot be downloaded or prepared, for example without TensorFlow.
    """
    builder = make_builder(name)
    if not builder.is_prepared():
        try:
            builder.download_and_prepare()
        except ImportError as error:
            raise UserError(
                f"--source=tfds:{name}: to prepare it, TFDS needs {error.name or 'TensorFlow'}: "
                "pip install 'ganjax[tf]', or pip install that"
            ) from error
        except Exception as error:  # The network, the disk or the set's own code may fail.
            raise UserError(
                f"--source=tfds:{name}: TFDS could not prepare it under {builder.data_dir} "
                f"({type(error).__name__}: {error})"
            ) from error
    return f"tfds:{name} is prepared in {builder.data_dir}: --config.data.source=tfds:{name}"


KIND = Kind(open_tfds, usage="<name>", labels_need_images=True, download=download)


def _in_another_format(name: str):
    """Returns the builder of a set that was prepared in another format, or None."""
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name)
    except (tfds.core.DatasetNotFoundError, AssertionError, ValueError):
        return None


def _read_split(builder, part: str, name: str, field: str):
    """Returns the examples of one of TFDS's splits, which are read by index.

    Raises:
      DataError: the set is not prepared for random access.
    """
    try:
        return builder.as_data_source(split=part)
    except (AssertionError, KeyError, NotImplementedError, ValueError):
        raise DataError(
            f"{field}: not prepared for random access under {builder.data_dir}; do so once with: "
            f"pip install 'ganjax[tf]' && ganjax prepare --source=tfds:{name} (in "
            "another folder: set TFDS_DATA_DIR)"
        ) from None


def _without_decoding(examples, names: list[str]):
    """Returns the same examples with some features left encoded, which are far faster to read."""
    import tensorflow_datasets as tfds

    view = copy.copy(examples)
    view.decoders = {name: tfds.decode.SkipDecoding() for name in names}
    return view


def _preparer(features, fit: Fitting) -> Callable[[dict], np.ndarray]:
    """Returns the function from an example to its image, uint8 (H, W, C)."""
    # "bbox" holds ymin, xmin, ymax and xmax as shares of the image.
    has_boxes = "bbox" in features and _is_box(features["bbox"])

    def prepare(example):
        if not has_boxes:
            return fit(example["image"])
        extent = np.tile(example["image"].shape[:2], 2).astype(np.float32)
        return fit(example["image"], Box(*(example["bbox"] * extent)))

    return prepare


def _fingerprint(info) -> str:
    """Returns a hash of the set's version, the images in each shard, and each split's bytes."""
    parts = [info.full_name]
    for name, split in sorted(info.splits.items()):
        parts.append(f"{name} {list(split.shard_lengths)} {int(split.num_bytes)}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _pictures(features) -> list[str]:
    """Returns the names of the features that are images."""
    import tensorflow_datasets as tfds

    return [name for name, each in features.items() if isinstance(each, tfds.features.Image)]


def _label(example: dict, path: tuple[str, ...]) -> int:
    """Returns the label that lies at a path in an example; 0 for the empty path."""
    value: Any = example
    for name in path:
        value = value[name]
    return int(value) if path else 0


def _label_paths(features, groups: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yields the path of each feature that can serve as labels."""
    for name, each in features.items():
        if _is_group(each):
            yield from _label_paths(each, (*groups, name))
        elif _is_label(each):
            yield (*groups, name)


def _is_box(feature) -> bool:
    return getattr(getattr(feature, "bbox_format", None), "name", "") == "REL_YXYX"


def _is_group(feature) -> bool:
    import tensorflow_datasets as tfds

    # A sequence of groups has their keys too, but not one value of each.
    return isinstance(feature, tfds.features.FeaturesDict)


def _is_label(feature) -> bool:
    return getattr(feature, "shape", None) == () and np.dtype(feature.np_dtype).kind in "iub"


def _label_names(features, label: str, field: str) -> tuple[str, ...]:
    """Returns the names of the classes of a TFDS feature, or () where they have none.

    Args:
      features: the set's features.
      label: the feature, as <group>/<name>; "" for none.
      field: what an error begins with: config.data.source and its value.

    Raises:
      DataError: there is no such feature, or it is no label.
    """
    if not label:
        return ()
    feature, path = features, label.split("/")
    for i, part in enumerate(path):
        names = list(feature) if _is_group(feature) else []
        if part not in names:
            where = "/".join(path[:i]) or field
            raise DataError(f"config.data.label={label!r}: {where} has {names}, not {part!r}")
        feature = feature[part]
    if not _is_label(feature):
        raise DataError(
            f"config.data.label={label!r}: labels are integers or booleans, "
            f"not a {type(feature).__name__}"
        )
    if np.dtype(feature.np_dtype).kind == "b":
        return (f"not {path[-1]}", path[-1])
    return tuple(getattr(feature, "names", None) or ())
