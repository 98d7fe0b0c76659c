"""Word vectors: trained as a skip-gram, read from word2vec's files, and kept with a run."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from ganjax.data.csv_rows import shown
from ganjax.errors import DataError, UserError
from ganjax.pictures import npz
from ganjax.runtime import regular, storage

# The seed of the skip-gram, which is the same for all seeds of runs.
SEED = 0
# The arrays of a stored file.
WORDS, VECTORS = "words", "vectors"
# What stands between the parts of a line of text.
BLANKS, BETWEEN = " \t\r", re.compile(r"[ \t]+")


class WordVectors(NamedTuple):
    """Words, each with a vector.

    Attributes:
      words: the words, all different.
      vectors: float32 (V, D), their vectors.
    """

    words: tuple[str, ...]
    vectors: Float32[np.ndarray, "v d"]

    def centred(self) -> "WordVectors":
        """Returns vectors without their mean, each scaled such that its numbers have the RMS 1.

        The mean, which all words of a skip-gram share, would make all cosines alike (Mu & Viswanath
        2018, arXiv:1702.01417). Lengths tell how common words are, and no cosine depends on them.
        """
        vectors = self.vectors.astype(np.float64) - self.vectors.mean(0, dtype=np.float64)
        size = np.sqrt(np.mean(vectors**2, axis=1, keepdims=True))
        return self._replace(vectors=(vectors / np.maximum(size, 1e-12)).astype(np.float32))


def skip_gram(
    sentences: Sequence[Sequence[str]], *, dim: int, window: int, min_count: int, epochs: int
) -> WordVectors:
    """Trains a skip-gram with negative sampling (Mikolov et al. 2013, arXiv:1310.4546).

    It is gensim's, by one worker from a fixed seed, so that it gives the same vectors each time.

    Args:
      sentences: the words of each sentence.
      dim: the length of a vector.
      window: the largest distance between two words of a sentence that are a pair.
      min_count: the least number of times that a word must occur; rarer words are left out.
      epochs: the number of passes over the sentences.

    Returns:
      The vectors, the most frequent words first.

    Raises:
      UserError: gensim is not installed, or no word is frequent enough.
    """
    try:
        from gensim.models import Word2Vec  # pyright: ignore[reportMissingImports]  # Of an extra.
    except ImportError:
        raise UserError(
            "word vectors are trained by gensim, which is not installed: "
            "pip install 'ganjax[tagging]', or give vectors of your own by "
            "config.data.source=arrays:<folder>"
        ) from None
    sizes: dict[str, Any] = {"vector_size": dim, "window": window, "min_count": min_count}
    model = Word2Vec(**sizes, sg=1, workers=1, seed=SEED, epochs=epochs)
    model.build_vocab(sentences)
    words: Any = tuple(model.wv.index_to_key)
    if not words:
        raise UserError(
            f"config.data.min_count={min_count}: no word occurs so often; set a smaller one"
        )
    model.train(sentences, total_examples=len(sentences), epochs=epochs)
    return WordVectors(words, np.array(model.wv.vectors, np.float32))


def read(path: Path) -> WordVectors:
    """Reads the vectors of a file in one of word2vec's formats.

    A name that ends in .bin is that of the binary format, any other of the text format, whose first
    line may be missing.

    Raises:
      DataError: the file cannot be read, or is no such file.
    """
    try:
        content = regular.read_bytes(path)
        found = _binary(content) if path.suffix == ".bin" else _text(content)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path} holds no word vectors as word2vec writes them: {error}") from None
    _check(found, path)
    return found


def save(path: Path, vectors: WordVectors) -> None:
    """Writes vectors to an .npz file, completely or not at all."""
    with storage.replacing(path) as temporary, temporary.open("wb") as file:
        arrays: Any = {WORDS: np.array(vectors.words), VECTORS: vectors.vectors}
        np.savez(file, **arrays)


def load(path: Path) -> WordVectors:
    """Reads vectors that `save` wrote.

    Raises:
      DataError: the file is missing or damaged.
    """
    if not path.exists():
        raise DataError(f"{path} is missing, the word vectors of the run: restore it")
    with npz.opened(path) as arrays:
        if not {WORDS, VECTORS} <= set(arrays.names):
            raise DataError(f"{path} has no arrays {WORDS} and {VECTORS}: restore it")
        words, vectors = arrays.read(WORDS), arrays.read(VECTORS)
    if words.dtype.kind != "U" or words.ndim != 1 or vectors.ndim != 2:
        raise DataError(f"{path} holds words {words.dtype} {words.shape}")
    if vectors.dtype != np.float32 or len(vectors) != len(words):
        raise DataError(
            f"{path} holds {len(words)} words, and vectors {vectors.dtype} {vectors.shape}"
        )
    found = WordVectors(tuple(words.tolist()), vectors)
    _check(found, path)
    return found


def _check(found: WordVectors, path: Path) -> None:
    """Raises a DataError unless all words differ and all numbers are finite."""
    word, count = Counter(found.words).most_common(1)[0] if found.words else ("", 0)
    if count > 1:
        raise DataError(f"{path} has two vectors of the word {shown(word)}; leave one")
    if not np.isfinite(found.vectors).all():
        raise DataError(f"{path} holds a number that is infinite or NaN; mend it")


def _text(content: bytes) -> WordVectors:
    # Spaces of other kinds, such as those that do not break, are parts of words.
    lines = (line.strip(BLANKS) for line in content.decode().split("\n"))
    rows = (BETWEEN.split(line) for line in lines if line)
    first = next(rows, [])
    said = [int(each) for each in first] if len(first) == 2 else []  # Of words and of components.
    words, vectors = [], []
    for word, *numbers in rows if said or not first else chain([first], rows):
        words.append(word)
        with np.errstate(over="ignore"):
            vectors.append(np.array(numbers, np.float32))
    dims = {len(each) for each in vectors}
    if said and [len(words), *dims] != said:
        raise ValueError(f"its first line says {said[0]} words of {said[1]} numbers each")
    if len(dims) != 1 or dims == {0}:
        raise ValueError("not every line is a word and as many numbers")
    return WordVectors(tuple(words), np.stack(vectors))


def _binary(content: bytes) -> WordVectors:
    head, _, rest = content.partition(b"\n")
    count, dim = (int(each) for each in head.split())
    if count < 1 or dim < 1 or len(rest) < count * (4 * dim + 1):
        raise ValueError(f"its first line says {head[:40]!r}, and {len(rest)} bytes follow")
    words, vectors, place = [], np.empty((count, dim), np.float32), 0
    for row in vectors:
        end = rest.index(b" ", place)
        words.append(rest[place:end].decode().lstrip("\n"))
        row[:] = np.frombuffer(rest, "<f4", dim, end + 1)
        place = end + 1 + 4 * dim
    return WordVectors(tuple(words), vectors)
