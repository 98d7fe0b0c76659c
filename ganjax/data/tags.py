"""Sets of images with tags, as feature vectors and word vectors.

A real is a pair of an image's feature and the vector of one of its tags, which is drawn anew each
time. `ganjax.training.tags` computes the features of embedded images.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ganjax.config import Fraction, Idle, PositiveInt
from ganjax.data import csv_rows, splits, word_vectors
from ganjax.data.base import Source
from ganjax.data.fields import SourceFields
from ganjax.data.word_vectors import WordVectors
from ganjax.errors import DataError
from ganjax.pictures import npz
from ganjax.runtime import regular

SPLITS = ("train", "validation", "test")
EMBEDDED, ARRAYS = "embedded:emoji64", "arrays:"
# The files in the folder of a user's own arrays.
FEATURES, TAGS, VECTORS = "features.npy", "tags.csv", ("vectors.bin", "vectors.txt")
# What splits a text of tags into words.
BETWEEN = re.compile(r"[\s_]+")


class TagFields(SourceFields):
    """The images and tags on which a run is trained.

    Attributes:
      source: "embedded:emoji64", or arrays:<folder> with features.npy, float (N, feature_dim);
        tags.csv, a line for each image with the column `tags`, words with spaces between, and
        perhaps `split` (train, validation or test) and `image`, a file in the folder; and
        vectors.bin or vectors.txt, vectors of words in word2vec's binary or text format.
      held_out: the share of the images, in (0, 1), that are held out for validation, and as many
        for the test, where tags.csv has no column `split`.
      features: the feature network of embedded images (`ganjax.metrics.features.NETWORKS`).
      feature_dim: the length of a feature.
      vector_dim: the length of a word's vector.
      min_count: how often a word must occur in the names and tags of training images to have a
        vector; of embedded images, as all that follow.
      window: the largest distance between two words of an image's name and tags that are a pair for
        the skip-gram.
      epochs: the number of passes of the skip-gram over all names and tags.
    """

    held_out: Fraction = 0.1
    features: str = "efflite0"
    feature_dim: PositiveInt = 1280
    vector_dim: PositiveInt = 200
    min_count: PositiveInt = 10
    window: PositiveInt = 30
    epochs: PositiveInt = 30

    def idle(self) -> Iterator[Idle]:
        yield from super().idle()
        if self.source != EMBEDDED:
            reason = "the vectors and features of arrays:<folder> are given; take it away"
            for name in ("features", "min_count", "window", "epochs"):
                yield Idle(name, reason)


class TaggedImages(NamedTuple):
    """Images with names and tags, before anything is learnt from them.

    Attributes:
      names: the name of each image, in the words of a caption.
      sentences: the words that the skip-gram reads of each image, its name and its tags.
      tags: the tags of each image, all different.
      splits: the indices of each split's images, by the split's name.
      images: uint8 (N, H, W, 3), or the file of each image, or None if there are none to show.
      fingerprint: a text that identifies all this.
    """

    names: tuple[str, ...]
    sentences: tuple[tuple[str, ...], ...]
    tags: tuple[tuple[str, ...], ...]
    splits: dict[str, np.ndarray]
    images: Any
    fingerprint: str

    def with_tags(self, split: str, known: Collection[str]) -> list[int]:
        """Returns the indices of a split's images that have a tag among known words."""
        return [i for i in self.splits[split].tolist() if not set(known).isdisjoint(self.tags[i])]

    def frequent(self, least: int) -> set[str]:
        """Returns the words that occur so often in the sentences of training images."""
        counts = Counter(word for sentence in self.of_training() for word in sentence)
        return {word for word, count in counts.items() if count >= least}

    def of_training(self) -> list[tuple[str, ...]]:
        """Returns the sentences of training images, which alone the skip-gram may read."""
        return [self.sentences[i] for i in self.splits["train"]]


def words(text: str) -> tuple[str, ...]:
    """Returns the different words of a text in lower case, in order; "_" is a space."""
    return tuple(dict.fromkeys(filter(None, BETWEEN.split(text.lower()))))


def open_tagged(data: TagFields) -> TaggedImages:
    """Opens the images and tags of a set.

    Raises:
      DataError: there is no such set, or it cannot be read.
    """
    if data.source == EMBEDDED:
        return _emoji(data)
    return _arrays(folder_of(data), data)


def folder_of(data: TagFields) -> Path:
    """Returns the folder of a set of arrays.

    Raises:
      DataError: the source names none.
    """
    kind, name = data.source[: len(ARRAYS)], data.source[len(ARRAYS) :]
    if kind != ARRAYS or not name:
        raise DataError(f"config.data.source={data.source!r}: write {EMBEDDED} or {ARRAYS}<folder>")
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise DataError(f"config.data.source={data.source!r}: there is no folder {folder}")
    return folder


def given_features(data: TagFields) -> np.ndarray:
    """Reads the features of a set of arrays, float32 (N, feature_dim).

    Raises:
      DataError: they cannot be read, or are others.
    """
    return read_features(folder_of(data) / FEATURES, data.feature_dim)


def read_features(path: Path, dim: int) -> np.ndarray:
    """Reads the features of an .npy file.

    Args:
      path: the file.
      dim: the length that features must have.

    Returns:
      float32 (N, dim).

    Raises:
      DataError: they cannot be read, or are others.
    """
    array = npz.read_array(path)
    if array.ndim != 2 or array.shape[1] != dim or array.dtype.kind not in "fiu" or not len(array):
        raise DataError(
            f"{path} holds {array.dtype} {array.shape}: features are numbers (N, {dim}), by "
            "config.data.feature_dim"
        )
    with np.errstate(over="ignore"):
        features = array.astype(np.float32)
    if not np.isfinite(features).all():
        raise DataError(f"{path} holds a number that is infinite or NaN in 32 bits; mend it")
    return features


def given_vectors(data: TagFields) -> WordVectors:
    """Reads the word vectors of a set of arrays.

    Raises:
      DataError: they cannot be read, or have another length than data.vector_dim.
    """
    folder = folder_of(data)
    path = next((folder / name for name in VECTORS if (folder / name).exists()), None)
    if path is None:
        raise DataError(f"{folder} has no {' or '.join(VECTORS)}, the vectors of words")
    found = word_vectors.read(path)
    if found.vectors.shape[1] != data.vector_dim:
        raise DataError(
            f"config.data.vector_dim={data.vector_dim}: those of {path} have "
            f"{found.vectors.shape[1]} numbers; set as many"
        )
    return found


def tag_source(
    tagged: TaggedImages, features: np.ndarray, vectors: WordVectors, split: str
) -> Source:
    """Returns the pairs of a split: each image that has a tag with a vector.

    Args:
      tagged: the images.
      features: float32 (N, F), their features.
      vectors: the vectors of words.
      split: a name in `SPLITS`.

    Raises:
      DataError: there is no such image.
    """
    place = {word: i for i, word in enumerate(vectors.words)}
    rows = np.array(tagged.with_tags(split, place.keys()), np.int64)
    if not len(rows):
        raise DataError(f"no image of the split {split!r} has a tag with a vector; give others")
    ids = [[place[tag] for tag in tagged.tags[i] if tag in place] for i in rows]

    def pairs(indices: np.ndarray, chosen: Sequence[int]) -> dict[str, np.ndarray]:
        return {"feature": features[rows[indices]], "vector": vectors.vectors[np.array(chosen)]}

    def drawn(indices: np.ndarray, uniform: np.ndarray) -> dict[str, np.ndarray]:
        of_images = zip(indices, uniform, strict=True)
        return pairs(indices, [ids[i][int(u * len(ids[i]))] for i, u in of_images])

    def fetch(indices: np.ndarray) -> dict[str, np.ndarray]:
        return pairs(indices, [ids[i][i % len(ids[i])] for i in indices])

    return Source(len(rows), fetch, (), fingerprint=_fingerprint(tagged, vectors), drawn=drawn)


def _fingerprint(tagged: TaggedImages, vectors: WordVectors) -> str:
    digest = hashlib.sha256(tagged.fingerprint.encode())
    digest.update("\n".join(vectors.words).encode())
    digest.update(vectors.vectors.tobytes())
    return digest.hexdigest()


def _emoji(data: TagFields) -> TaggedImages:
    path = resources.files("ganjax.data") / "embedded" / "emoji64.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        images, label = arrays["image"], arrays["label"]
        names, texts = (tuple(map(str, arrays[each])) for each in ("name", "tags"))
    tags = tuple(words(text) for text in texts)
    sentences = tuple((*words(name), *of) for name, of in zip(names, tags, strict=True))
    held = _held_out(label, data.held_out)
    return TaggedImages(names, sentences, tags, held, images, f"{EMBEDDED} {data.held_out}")


def _held_out(strata: np.ndarray, share: float) -> dict[str, np.ndarray]:
    """Splits images: the test images are those that runs on images hold out."""
    test = splits.held_out(strata, share)
    rest = np.flatnonzero(~test)
    validation = splits.held_out(strata[rest], share)
    return {
        "train": rest[~validation],
        "validation": rest[validation],
        "test": np.flatnonzero(test),
    }


def _arrays(folder: Path, data: TagFields) -> TaggedImages:
    path = folder / TAGS
    try:
        text = regular.read_text(path, "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise DataError(f"{path} cannot be read: {reason}") from None
    found = csv_rows.rows(text, str(path))
    _, header = next(found, ("", []))
    lines = [dict(zip(header, row, strict=True)) for _, row in found]
    if "tags" not in header or len(lines) < len(SPLITS):
        raise DataError(
            f"{path}: give a header with the column tags, and {len(SPLITS)} images or more, a line "
            "each"
        )
    count = len(given_features(data))
    if count != len(lines):
        raise DataError(f"{path} has {len(lines)} images and {FEATURES} {count}; give as many")
    tags = tuple(tuple(dict.fromkeys(line["tags"].split())) for line in lines)
    if "split" in header:
        column = np.array([line["split"] for line in lines])
        held = {split: np.flatnonzero(column == split) for split in SPLITS}
        if sum(map(len, held.values())) != len(lines) or not all(map(len, held.values())):
            raise DataError(f"{path}: name a split of each image, {', '.join(SPLITS)}, and use all")
    else:
        held = _held_out(np.zeros(len(lines), np.int32), data.held_out)
    files = [folder / line["image"] for line in lines] if "image" in header else None
    names = tuple(file.stem for file in files) if files else tuple(map(str, range(len(lines))))
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    return TaggedImages(names, tags, tags, held, files, fingerprint)
