"""`folder:<path>`: any tree of image files, decoded when they are asked for."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ganjax.data import annotations
from ganjax.data.base import Kind, Labels, Opened, Source, chosen_labels, take, warn_once
from ganjax.data.decode import decode_image
from ganjax.data.fields import DataFields
from ganjax.data.fit import Box, Fitting
from ganjax.data.scan import Listing, Scan, described, listing, scanned
from ganjax.engine.sizes import ImageSize
from ganjax.errors import DataError
from ganjax.runtime import regular

# The names that other tools give to the folders of a tree's splits.
TRAIN, HELD_OUT = "train", ("validation", "val", "valid", "test")
# The most files that a message about bad files names.
MOST_NAMED = 5


def open_folder(name: str, split: str, data: DataFields, image_size: ImageSize) -> Opened:
    """Opens a split of a folder, whose images are in the order of their names.

    See `ganjax.data.base.Opener` for the arguments and the result. The splits are the top folders
    "train" and "validation" (else "val", "valid" or "test") if both exist; other top folders are
    then ignored. The label is the name of the next folder down, or what config.data.labels_file
    says.

    Every file is decoded once beforehand, to find what is wrong with it (see `scanned`).

    Raises:
      DataError: the folder does not exist or has fewer than two images, more than
        config.data.max_skipped images cannot be used, labels are missing, or one of the images
        does not fit.
    """
    field = f"config.data.source={data.source!r}"
    root = Path(name).expanduser()
    found = listing(root, field)
    if found.others:
        warn_once(f"{field}: there are files that are not read: {described(found.others)}")
    files, is_split = _files_of_splits(found.files, name, field)
    scan = scanned(root, files)
    skipped = _skipped(found._replace(files=files), scan, data, field)
    usable = [i for i, file in enumerate(files) if file not in skipped]
    kept, shapes = [files[i] for i in usable], scan.shapes[usable]
    if len(kept) < 2:
        raise DataError(
            f"{field} holds {len(kept)} usable image{'s' * (len(kept) != 1)}; there must be two "
            "at least, of which one is held out"
        )
    features, boxes, no_labels = _annotate(root, kept, data, depth=int(is_split))
    if data.label == "label" and "label" not in features:
        _refuse_strays(kept, int(is_split), field)
    chosen = chosen_labels(features, data.label, len(kept), data.source)
    fit = Fitting(data, image_size)
    for file, (height, width, _), box in zip(kept, shapes.tolist(), boxes, strict=True):
        try:
            fit.check(height, width, box)
        except DataError as error:
            raise DataError(f"{error} ({file})") from None

    def read(i: int) -> np.ndarray:
        try:
            image = decode_image(root / kept[i])
        except DataError as error:
            raise DataError(f"{field}: {kept[i]}: {error}; was it changed?") from None
        try:
            return fit(image, boxes[i])
        except DataError as error:
            raise DataError(f"{error} ({kept[i]})") from None

    def fetch(indices):
        return {
            "image": np.stack([read(int(i)) for i in indices]),
            "label": chosen.values[indices],
        }

    whole = Source(
        size=len(kept),
        fetch=fetch,
        label_names=chosen.names,
        labels=lambda: chosen.values,
        features=lambda: features,
        skipped=tuple(sorted(skipped.items())),
        fingerprint=_fingerprint(scan, data),
        transparent=bool(np.isin(shapes[:, 2], (2, 4)).any()),
        ignored=tuple(found.others.items()),
        no_labels=tuple(no_labels.items()),
        native=shapes[:, :2],
    )
    if not is_split:
        return Opened(whole, is_split)
    in_train = [file.split("/")[0] == TRAIN for file in kept]
    indices = np.flatnonzero(np.array(in_train) == (split == TRAIN))
    if not len(indices):
        raise DataError(f"{field}: its {split} folder holds no usable image")
    return Opened(take(whole, indices), is_split)


KIND = Kind(open_folder, usage="<path>", own_fields=("labels_file", "min_side", "max_skipped"))


def _files_of_splits(files: list[str], name: str, field: str) -> tuple[list[str], bool]:
    """Returns the files that are read, and whether they lie in folders of both splits.

    Raises:
      DataError: there is a folder of training images, and nothing else.
    """
    tops = {file.split("/")[0] for file in files if "/" in file}
    held_out = [top for top in HELD_OUT if top in tops][:1]
    if TRAIN in tops and held_out:
        return [file for file in files if file.split("/")[0] in (TRAIN, *held_out)], True
    if all(file.startswith(f"{TRAIN}/") for file in files):
        # Without this, "train" would be the label, as its only class.
        raise DataError(
            f"{field} holds images in {TRAIN}/ only, and no {', '.join(HELD_OUT)} beside it; name "
            f"folder:{name.rstrip('/')}/{TRAIN}, of which config.data.held_out is held out"
        )
    return files, False


def _fingerprint(scan: Scan, data: DataFields) -> str:
    """Returns a hash of names, contents and labels but not of times: a copy is the same set."""
    digest = hashlib.sha256(scan.digest.encode())
    if data.labels_file:
        digest.update(regular.read_bytes(Path(data.labels_file).expanduser()))
    return digest.hexdigest()


def _skipped(found: Listing, scan: Scan, data: DataFields, field: str) -> dict[str, str]:
    """Returns why each file that cannot be used, or folder that cannot be listed, is skipped.

    Raises:
      DataError: there are more of them than config.data.max_skipped.
    """
    sides = scan.shapes[:, :2].min(1)
    small = np.flatnonzero((sides > 0) & (sides < data.min_side)).tolist()
    reasons = scan.reasons | {
        i: f"its shorter side has {sides[i]} pixels, less than config.data.min_side" for i in small
    }
    skipped = found.unreadable | {found.files[i]: reason for i, reason in reasons.items()}
    if not skipped:
        return {}
    named = "; ".join(f"{file} ({skipped[file]})" for file in sorted(skipped)[:MOST_NAMED])
    total = len(found.files) + len(found.unreadable)
    text = f"{len(skipped)} of {total} images cannot be used: {named}"
    if len(skipped) > MOST_NAMED:
        text += f"; and {len(skipped) - MOST_NAMED} more"
    if len(skipped) > data.max_skipped:
        raise DataError(
            f"config.data.max_skipped={data.max_skipped}: {field}: {text}. Mend them or set more"
        )
    warn_once(f"{field}: skipped: {text}")
    return skipped


def _refuse_strays(files: list[str], depth: int, field: str) -> None:
    """Raises a DataError where the folders would be classes if no files lay beside them."""
    strays = [file for file in files if not file.split("/")[depth:-1]]
    if len(strays) < len(files):
        raise DataError(
            f"config.data.label='label': {field} has no labels: {len(strays)} of {len(files)} "
            f"images lie beside the folders of the classes, the first {strays[0]!r}; move or "
            "remove them, or set '' for none"
        )


class _Annotated(NamedTuple):
    """What is known of each file of a folder beside its pixels.

    Attributes:
      features: what labels can be read from, by name.
      boxes: the bounding box of each file, if it has one.
      no_labels: why a column of config.data.labels_file cannot be read as labels, by its name.
    """

    features: dict[str, Labels]
    boxes: list[Box | None]
    no_labels: dict[str, str]


def _annotate(root: Path, files: list[str], data: DataFields, depth: int) -> _Annotated:
    """Reads what sub-folders and config.data.labels_file say of each file.

    A column takes the place of the sub-folders' feature where both are called "label", also if it
    cannot be read as labels.

    Args:
      root: the folder.
      files: the images in it.
      data: the fields that name the file of labels, and the feature that labels are read from.
      depth: how many folders below the root those of the classes lie.

    Raises:
      DataError: the file of labels cannot be read, lacks an image, has a box without numbers, or
        no labels in the column that config.data.label names.
    """
    features: dict[str, Labels] = {}
    folders = [file.split("/")[depth:-1] for file in files]
    if all(folders):
        names, index = np.unique([each[0] for each in folders], return_inverse=True)
        features["label"] = Labels(index.astype(np.int32), tuple(names.tolist()))
    if not data.labels_file:
        return _Annotated(features, [None] * len(files), {})
    field = f"config.data.labels_file={data.labels_file!r}"
    annotated = annotations.read_annotations(Path(data.labels_file).expanduser())
    missing = [file for file in files if file not in annotated]
    if missing:
        raise DataError(
            f"{field} says nothing of {len(missing)} of "
            f"{len(files)} images of {root}, the first {missing[0]!r}; add them"
        )
    rows = {file: annotated[file] for file in files}
    boxes: list[Box | None] = []
    for file, row in rows.items():
        try:
            boxes.append(annotations.box(row))
        except ValueError as error:
            raise DataError(f"{field}: {file!r}: {error}") from None
    no_labels = {}
    for name in dict.fromkeys(name for row in rows.values() for name in row):
        if name in annotations.BOX_COLUMNS:
            continue
        features.pop(name, None)
        try:
            features[name] = annotations.encode(name, {f: row.get(name) for f, row in rows.items()})
        except annotations.NoLabels as error:
            no_labels[name] = str(error)
    if data.label in no_labels:
        raise DataError(
            f"config.data.label={data.label!r}: this column of {field} cannot be read as labels: "
            f"{no_labels[data.label]}; mend it, or take those images away"
        )
    return _Annotated(features, boxes, no_labels)
