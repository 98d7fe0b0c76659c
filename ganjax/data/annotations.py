"""Reads labels and bounding boxes of images from a CSV or JSON file."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ganjax.data import csv_rows
from ganjax.data.base import Labels
from ganjax.data.csv_rows import shown
from ganjax.data.fit import Box
from ganjax.errors import DataError
from ganjax.runtime import regular, storage

BOX_COLUMNS = ("ymin", "xmin", "ymax", "xmax")
Value = str | int | float | bool | None
# What stands for a missing number. Among texts it may be a class.
NO_NUMBER = ("na", "n/a", "#n/a", "<na>", "null", "none", "-", "?")
# The most images that a message names.
MOST_NAMED = 5


class NoLabels(DataError):
    """A feature whose values cannot be labels. The message is only the reason."""


def read_annotations(path: Path) -> dict[str, dict[str, Value]]:
    """Reads the features of each image that a file names.

    A CSV file has a header; its first column names the image, the others are features. A JSON
    file is an object that maps images to a label or to an object of features, or a list of such
    pairs, or {"labels": a list of pairs} as StyleGAN's tools write it. A label by itself is the
    feature "label".

    Args:
      path: the file, which names images relative to the set's folder, with "/".

    Returns:
      The features by name of each image.

    Raises:
      DataError: the file cannot be read, or holds something else.
    """
    field = f"config.data.labels_file={str(path)!r}"
    try:
        text = regular.read_text(path, "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise DataError(f"{field} cannot be read: {reason}") from None
    if path.suffix == ".csv":
        return _csv(text, field)
    if path.suffix == ".json":
        return _json(text, field)
    raise DataError(f"{field}: end its name in .csv or .json, as what it holds")


def encode(name: str, cells: dict[str, Value]) -> Labels:
    """Encodes a feature's values as labels.

    Whole numbers, also 1.0, stay as they are, except that a feature of only -1 and 1 is taken for a
    boolean one, as in CelebA's list of attributes. Booleans become the classes "not <name>" (0) and
    "<name>" (1), and texts become classes in alphabetical order.

    Args:
      name: the name of the feature.
      cells: its value for each image, by file; those of a CSV file are texts, and None stands
        where there is none.

    Raises:
      NoLabels: some images have no value, or a number is not whole or beyond 32 bits.
    """
    texts = {file: "" if value is None else str(value).strip() for file, value in cells.items()}
    _refuse_missing(texts)
    if set(texts.values()) <= {"True", "False", "true", "false"}:
        truth = [text in ("True", "true") for text in texts.values()]
        return Labels(np.array(truth, np.int32), (f"not {name}", name))
    if not all(_is_number(text) for text in texts.values()):
        names, index = np.unique(list(texts.values()), return_inverse=True)
        return Labels(index.astype(np.int32), tuple(names.tolist()))
    numbers = [_whole(file, text) for file, text in texts.items()]
    if set(numbers) == {-1, 1}:
        return Labels(np.array([each > 0 for each in numbers], np.int32), (f"not {name}", name))
    return Labels(np.array(numbers, np.int32), ())


def _refuse_missing(texts: dict[str, str]) -> None:
    """Raises NoLabels where some values are missing, with the images that they are missing of."""
    of_numbers = any(_is_number(text) and text.lower() != "nan" for text in texts.values())
    words = ("", "nan", *(NO_NUMBER if of_numbers else ()))
    missing = [file for file, text in texts.items() if text.lower() in words]
    if missing:
        named = ", ".join(f"{shown(file)} ({texts[file]!r})" for file in missing[:MOST_NAMED])
        more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        raise NoLabels(f"{len(missing)} of {len(texts)} images have no value: {named}{more}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _whole(file: str, text: str) -> int:
    """Parses the text of a number.

    Raises:
      NoLabels: the number is not whole or beyond 32 bits.
    """
    try:
        number = int(text)
    except ValueError:
        if not float(text).is_integer():
            raise NoLabels(f"{shown(text)} of {shown(file)} is no whole number") from None
        number = int(float(text))
    if not -(2**31) <= number < 2**31:
        raise NoLabels(f"{shown(text)} of {shown(file)} is beyond 32 bits")
    return number


def box(features: dict[str, Value]) -> Box | None:
    """Returns an image's bounding box in pixels, or None where it has none.

    Args:
      features: the image's features; the box is read from `BOX_COLUMNS` if all of them are there.

    Raises:
      ValueError: one of them is not a finite number.
    """
    if not all(name in features for name in BOX_COLUMNS):
        return None
    return Box(*(_finite(name, features[name]) for name in BOX_COLUMNS))


def _finite(name: str, value: Value) -> float:
    """Returns a side of a box, or raises a ValueError that names it."""
    try:
        number = float("nan" if value is None else value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"its {name} is {shown(value)}, which is no finite number of pixels")
    return number


def _csv(text: str, field: str) -> dict[str, dict[str, Value]]:
    """Parses the text of a CSV file; `field` begins the message of a DataError."""
    found = csv_rows.rows(text, field)
    _, header = next(found, ("", []))
    if len(header) < 2:
        raise DataError(f"{field}: its first line has no two columns; write file,label or more")
    images = {}
    for place, row in found:
        _add(images, row[0], dict(zip(header[1:], row[1:], strict=True)), place)
    return images


class _Twice(dict):
    """An object of JSON that names some keys twice, of which a dict keeps the last alone.

    Attributes:
      keys_twice: these keys.
    """

    def __init__(self, pairs: Sequence[tuple[str, Any]]):
        super().__init__(pairs)
        self.keys_twice = [key for key, count in Counter(k for k, _ in pairs).items() if count > 1]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns an object of JSON, which remembers the keys that it names twice."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Twice(pairs)


def _json(text: str, field: str) -> dict[str, dict[str, Value]]:
    """Parses the text of a JSON file; `field` begins the message of a DataError."""
    try:
        raw = json.loads(text, object_pairs_hook=_object)
    except storage.NOT_JSON as error:
        raise DataError(f"{field} is not JSON: {error}") from None
    if isinstance(raw, _Twice):
        raise DataError(f"{field} names {shown(raw.keys_twice[0])} twice; leave one")
    if isinstance(raw, dict) and isinstance(raw.get("labels"), list):
        raw = raw["labels"]
    pairs = list(raw.items()) if isinstance(raw, dict) else raw
    images = {}
    for pair in pairs if isinstance(pairs, list) else [None]:
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            raise DataError(
                f'{field}: write {{"<file>": label, ...}} or {{"labels": [["<file>", label], ...]}}'
            )
        features = pair[1] if isinstance(pair[1], dict) else {"label": pair[1]}
        if isinstance(features, _Twice):
            raise DataError(
                f"{field}: {shown(pair[0])} has {shown(features.keys_twice[0])} twice; leave one"
            )
        if not all(isinstance(value, Value) for value in features.values()):
            raise DataError(f"{field}: {shown(pair[0])} has {shown(pair[1])}, which is no label")
        _add(images, pair[0], features, field)
    return images


def _add(images: dict, file: str, features: dict[str, Value], field: str) -> None:
    """Adds an image's features, and raises a DataError if the image was named before."""
    if file in images:
        raise DataError(f"{field} names {shown(file)} twice; leave one")
    images[file] = features
