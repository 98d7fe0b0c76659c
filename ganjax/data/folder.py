"""`folder:<path>`: any tree of image files, decoded when they are asked for."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import logging

from ganjax.data import annotations
from ganjax.data.base import Labels, Source, chosen_labels, take
from ganjax.data.decode import decode
from ganjax.data.fields import DataFields
from ganjax.data.fit import Box
from ganjax.data.scan import Listing, Scan, listing, scanned
from ganjax.errors import DataError

# Folders that split a tree, as other tools name them.
TRAIN, HELD_OUT = "train", ("validation", "val", "valid", "test")
# How many bad files a message names.
NAMED = 5


def open_folder(
    name: str, split: str, data: DataFields, prepare: Callable, check: Callable
) -> tuple[Source, bool]:
    """Opens a split of a folder, and says whether the folder has such splits.

    The splits are the top folders "train" and "validation" (else val, valid or test) where there
    are both; others are left out. The label is the top folder below that, or what
    config.data.labels_file says.

    Every file is decoded once, to find what is wrong with it (`scan`).

    Args:
      name: the path.
      split: "train" or "validation".
      data: labels, and what is skipped.
      prepare: (uint8 or uint16 (H, W, 1 to 4), box or None) -> uint8 (S, S, C).
      check: (H, W, box or None), raises what `prepare` would.

    Returns:
      The source, in the order of the names, and whether it is the split asked for; if not, it
      is all there is.

    Raises:
      DataError: the folder is not there or has no two images, more than
        config.data.max_skipped cannot be used, labels are missing, or one of the images does
        not fit.
    """
    field = f"config.data.source='folder:{name}'"
    root = Path(name).expanduser()
    found = listing(root, field)
    files = found.files
    tops = {file.split("/")[0] for file in files if "/" in file}
    held_out = [top for top in HELD_OUT if top in tops][:1]
    is_split = TRAIN in tops and bool(held_out)
    if is_split:
        files = [file for file in files if file.split("/")[0] in (TRAIN, *held_out)]
    elif all(file.startswith(f"{TRAIN}/") for file in files):
        # As its only class "train" would be the label.
        raise DataError(
            f"{field} holds images in {TRAIN}/ only, and no {', '.join(HELD_OUT)} beside it; name "
            f"folder:{name.rstrip('/')}/{TRAIN}, of which a tenth is held out"
        )
    scan = scanned(root, files)
    skipped = _skipped(found._replace(files=files), scan, data, field)
    usable = [i for i, file in enumerate(files) if file not in skipped]
    kept, shapes = [files[i] for i in usable], scan.shapes[usable]
    if len(kept) < 2:
        raise DataError(
            f"{field} holds {len(kept)} usable image{'s' * (len(kept) != 1)}; there must be two "
            "at least, of which one is held out"
        )
    features, boxes = _annotate(root, kept, data, below=int(is_split))
    if data.label == "label" and "label" not in features:
        _refuse_strays(kept, int(is_split), field)
    chosen = chosen_labels(features, data.label, len(kept), f"folder:{name}")
    for file, (height, width, _), box in zip(kept, shapes.tolist(), boxes, strict=True):
        try:
            check(height, width, box)
        except DataError as error:
            raise DataError(f"{error} ({file})") from None

    def image(i):
        try:
            array = decode(root / kept[i])
        except DataError as error:
            raise DataError(f"{field}: {kept[i]}: {error}; was it changed?") from None
        try:
            return prepare(array, boxes[i])
        except DataError as error:
            raise DataError(f"{error} ({kept[i]})") from None

    def fetch(indices):
        return {
            "image": np.stack([image(int(i)) for i in indices]),
            "label": chosen.values[indices],
        }

    whole = Source(
        len(kept),
        fetch,
        chosen.names,
        lambda: chosen.values,
        lambda: features,
        tuple(sorted(skipped.items())),
        _fingerprint(scan, data),
        bool((shapes[:, 2] == 4).any()),
        tuple(found.others.items()),
    )
    if not is_split:
        return whole, False
    mine = [i for i, file in enumerate(kept) if (file.split("/")[0] == TRAIN) == (split == TRAIN)]
    if not mine:
        raise DataError(f"{field}: its {split} folder holds no usable image")
    return take(whole, np.array(mine)), True


def _fingerprint(scan: Scan, data: DataFields) -> str:
    """Of names, contents and labels, not of times: a copy of a set is the same set."""
    digest = hashlib.sha256(scan.digest.encode())
    if data.labels_file:
        digest.update(Path(data.labels_file).expanduser().read_bytes())
    return digest.hexdigest()


def _skipped(found: Listing, scan: Scan, data: DataFields, field: str) -> dict[str, str]:
    """Why each file that cannot be used cannot, and each folder that cannot be listed.

    Raises:
      DataError: they are more than config.data.max_skipped.
    """
    sides = scan.shapes[:, :2].min(1)
    small = np.flatnonzero((sides > 0) & (sides < data.min_side)).tolist()
    reasons = scan.reasons | {
        i: f"its shorter side has {sides[i]} pixels, less than config.data.min_side" for i in small
    }
    skipped = found.unreadable | {found.files[i]: reason for i, reason in reasons.items()}
    if not skipped:
        return {}
    named = "; ".join(f"{file} ({skipped[file]})" for file in sorted(skipped)[:NAMED])
    total = len(found.files) + len(found.unreadable)
    text = f"{len(skipped)} of {total} images cannot be used: {named}"
    if len(skipped) > NAMED:
        text += f"; and {len(skipped) - NAMED} more"
    if len(skipped) > data.max_skipped:
        raise DataError(
            f"config.data.max_skipped={data.max_skipped}: {field}: {text}. Mend them or set more"
        )
    _warn_once(f"{field}: skipped: {text}")
    return skipped


# Both splits are opened, and every phase: one warning is enough.
_warn_once = functools.lru_cache(maxsize=None)(logging.warning)


def _refuse_strays(files: list[str], below: int, field: str) -> None:
    """Raises where folders would be classes but for the files beside them."""
    strays = [file for file in files if not file.split("/")[below:-1]]
    if len(strays) < len(files):
        raise DataError(
            f"config.data.label='label': {field} has no labels: {len(strays)} of {len(files)} "
            f"images lie beside the folders of the classes, the first {strays[0]!r}; move or "
            "remove them, or set '' for none"
        )


def _annotate(root: Path, files: list[str], data: DataFields, below: int):
    """Every feature by name, and a box or None of each file; classes lie `below` the root."""
    features: dict[str, Labels] = {}
    folders = [file.split("/")[below:-1] for file in files]
    if all(folders):
        names, index = np.unique([each[0] for each in folders], return_inverse=True)
        features["label"] = Labels(index.astype(np.int32), tuple(names.tolist()))
    boxes: list[Box | None] = [None] * len(files)
    if data.labels_file:
        rows = annotations.read_annotations(Path(data.labels_file).expanduser())
        missing = [file for file in files if file not in rows]
        if missing:
            raise DataError(
                f"config.data.labels_file={data.labels_file!r} says nothing of {len(missing)} of "
                f"{len(files)} images of {root}, the first {missing[0]!r}; add them"
            )
        rows = [rows[file] for file in files]
        for i, row in enumerate(rows):
            try:
                boxes[i] = annotations.box(row)
            except ValueError as error:
                raise DataError(
                    f"config.data.labels_file={data.labels_file!r}: {files[i]!r}: {error}"
                ) from None
        for name in rows[0]:
            if name in annotations.BOX_COLUMNS or not all(name in row for row in rows):
                continue
            labels = annotations.encode(name, [row[name] for row in rows])
            if labels is not None:
                features[name] = labels
    return features, boxes
