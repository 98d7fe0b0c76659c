"""`folder:<path>`: any tree of image files, decoded when they are asked for."""

import functools
import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import platformdirs
from absl import logging
from tqdm import tqdm

from ganjax.config import DataConfig
from ganjax.data import annotations
from ganjax.data.base import DataError, Labels, Source, chosen_labels, take
from ganjax.data.decode import SUFFIXES, decode

# Folders that split a tree, as other tools name them.
TRAIN, HELD_OUT = "train", ("validation", "val", "valid", "test")
# How many bad files a message names.
NAMED = 5


class Scan(NamedTuple):
    """What was found in the files of a folder.

    Attributes:
      sides: the shorter side of each in pixels, 0 where it cannot be decoded.
      reasons: of those, by position.
    """

    sides: np.ndarray
    reasons: dict[int, str]


def open_folder(name: str, split: str, data: DataConfig, prepare: Callable) -> tuple[Source, bool]:
    """Opens a split of a folder, and says whether the folder has such splits.

    The splits are the top folders "train" and "validation" (else val, valid or test) where there
    are both; others are left out. The label is the top folder below that, or what
    config.data.labels_file says.

    Every file is decoded once, in threads, to find what is wrong with it; the outcome is kept
    in the user's cache for as long as names, sizes and times stay what they are.

    Args:
      name: the path.
      split: "train" or "validation".
      data: labels, and what is skipped.
      prepare: (uint8 or uint16 (H, W, 1 to 4), box or None) -> uint8 (S, S, C).

    Returns:
      The source, in the order of the names, and whether it is the split asked for; if not, it
      is all there is.

    Raises:
      DataError: the folder is not there or has no two images, more than
        config.data.max_skipped cannot be used, or labels are missing.
    """
    field = f"config.data.source='folder:{name}'"
    root = Path(name).expanduser()
    files = listing(root, field)
    tops = {file.split("/")[0] for file in files if "/" in file}
    held_out = [top for top in HELD_OUT if top in tops][:1]
    is_split = TRAIN in tops and bool(held_out)
    if is_split:
        files = [file for file in files if file.split("/")[0] in (TRAIN, *held_out)]
    skipped = _skipped(root, files, data, field)
    kept = [file for i, file in enumerate(files) if i not in skipped]
    if len(kept) < 2:
        raise DataError(
            f"{field} holds {len(kept)} usable image{'s' * (len(kept) != 1)}; there must be two "
            "at least, of which one is held out"
        )
    features, boxes = _annotate(root, kept, data, below=int(is_split))
    chosen = chosen_labels(features, data.label, len(kept), f"folder:{name}")

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

    reasons = tuple((files[i], reason) for i, reason in sorted(skipped.items()))
    whole = Source(len(kept), fetch, chosen.names, lambda: chosen.values, lambda: features, reasons)
    if not is_split:
        return whole, False
    mine = [i for i, file in enumerate(kept) if (file.split("/")[0] == TRAIN) == (split == TRAIN)]
    if not mine:
        raise DataError(f"{field}: its {split} folder holds no usable image")
    return take(whole, np.array(mine)), True


def listing(root: Path, field: str) -> list[str]:
    """The image files below a folder, relative to it with "/", sorted; hidden ones left out.

    Raises:
      DataError: there is no such folder, or no image in it.
    """
    if root.is_file():
        raise DataError(f"{field} is a file; name the folder that it is in")
    if not root.is_dir():
        raise DataError(f"{field}: there is no such folder; set --config.data.source=folder:<path>")
    found, seen = [], set()
    for folder, below, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # A link to a folder above.
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(each for each in below if not each.startswith("."))
        found += [
            (Path(folder) / file).relative_to(root).as_posix()
            for file in files
            if file.lower().endswith(SUFFIXES) and not file.startswith(".")
        ]
    if not found:
        raise DataError(f"{field}: no {', '.join(s[1:] for s in SUFFIXES)} file is in that folder")
    return sorted(found)


def _skipped(root: Path, files: list[str], data: DataConfig, field: str) -> dict[int, str]:
    """Why each file that cannot be used cannot, by position.

    Raises:
      DataError: they are more than config.data.max_skipped.
    """
    scan = scanned(root, files)
    small = np.flatnonzero((scan.sides > 0) & (scan.sides < data.min_side)).tolist()
    skipped = scan.reasons | {
        i: f"its shorter side has {scan.sides[i]} pixels, less than config.data.min_side"
        for i in small
    }
    if not skipped:
        return {}
    named = "; ".join(f"{files[i]} ({skipped[i]})" for i in sorted(skipped)[:NAMED])
    text = f"{len(skipped)} of {len(files)} images cannot be used: {named}"
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


def scanned(root: Path, files: list[str]) -> Scan:
    """Decodes every file, or remembers what came of it."""
    stats = [(root / file).stat() for file in files]
    lines = [f"{f}\0{s.st_size}\0{s.st_mtime_ns}" for f, s in zip(files, stats, strict=True)]
    key = hashlib.sha256("\n".join([str(root.resolve()), *lines]).encode()).hexdigest()
    cache = Path(platformdirs.user_cache_dir("ganjax")) / "folders" / f"{key}.json"
    try:
        kept = json.loads(cache.read_text(encoding="utf-8"))
        reasons = {int(i): reason for i, reason in kept["reasons"].items()}
        return Scan(np.array(kept["sides"], np.int32), reasons)
    except (OSError, ValueError, KeyError):
        pass  # Not yet known, or no longer readable: it is only a cache.

    def side(file):
        try:
            return min(decode(root / file).shape[:2]), ""
        except DataError as error:
            return 0, str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(side, files)
        results = list(tqdm(found, "checking images", len(files), disable=None, leave=False))
    scan = Scan(
        np.array([side for side, _ in results], np.int32),
        {i: reason for i, (side, reason) in enumerate(results) if not side},
    )
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary = cache.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps({"sides": scan.sides.tolist(), "reasons": scan.reasons}))
        os.replace(temporary, cache)
    except OSError as error:
        logging.info("what was found in %s is not remembered: %s", root, error)
    return scan


def _annotate(root: Path, files: list[str], data: DataConfig, below: int):
    """Every feature by name, and a box or None of each file; classes lie `below` the root."""
    features: dict[str, Labels] = {}
    folders = [file.split("/")[below:-1] for file in files]
    if all(folders):
        names, index = np.unique([each[0] for each in folders], return_inverse=True)
        features["label"] = Labels(index.astype(np.int32), tuple(names.tolist()))
    boxes = [None] * len(files)
    if data.labels_file:
        rows = annotations.read_annotations(Path(data.labels_file).expanduser())
        missing = [file for file in files if file not in rows]
        if missing:
            raise DataError(
                f"config.data.labels_file={data.labels_file!r} says nothing of {len(missing)} of "
                f"{len(files)} images of {root}, the first {missing[0]!r}; add them"
            )
        rows = [rows[file] for file in files]
        try:
            boxes = [annotations.box(row) for row in rows]
        except ValueError as error:
            raise DataError(f"config.data.labels_file={data.labels_file!r}: {error}") from None
        for name in rows[0]:
            if name in annotations.BOX_COLUMNS or not all(name in row for row in rows):
                continue
            labels = annotations.encode(name, [row[name] for row in rows])
            if labels is not None:
                features[name] = labels
    return features, boxes
