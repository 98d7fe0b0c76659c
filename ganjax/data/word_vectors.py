"""Word vectors: trained as a skip-gram, read from word2vec's files, and kept with a run."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from ganjax.errors import DataError, UserError
from ganjax.runtime import regular, storage

# The seed of the skip-gram, which is the same for all seeds of runs.
SEED = 0
# The arrays of a stored file.
WORDS, VECTORS = "words", "vectors"


class WordVectors(NamedTuple):
    """Words, each with a vector.

    Attributes:
      words: the words, all different.
      vectors: float32 (V, D), their vectors.
    """

    words: tuple[str, ...]
    vectors: Float32[np.ndarray, "v d"]

    def centred(self) -> "WordVectors":
        """Returns vectors without their mean, scaled such that their numbers have the RMS 1.

        The mean, which all words of a skip-gram share, would make all cosines alike (Mu & Viswanath
        2018, arXiv:1702.01417).
        """
        vectors = self.vectors.astype(np.float64) - self.vectors.mean(0, dtype=np.float64)
        size = np.sqrt(np.mean(vectors**2))
        return self._replace(vectors=(vectors / max(size, 1e-12)).astype(np.float32))


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
    if len(set(found.words)) != len(found.words):
        twice = next(word for word in found.words if found.words.count(word) > 1)
        raise DataError(f"{path} has two vectors of the word {twice!r}; leave one")
    if not np.isfinite(found.vectors).all():
        raise DataError(f"{path} holds a number that is infinite or NaN; mend it")
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
    try:
        content = io.BytesIO(regular.read_bytes(path))
        with np.load(content, allow_pickle=False) as arrays:
            words, vectors = arrays[WORDS], arrays[VECTORS]
        if words.ndim != 1 or vectors.dtype != np.float32 or vectors.shape[:-1] != words.shape:
            raise ValueError(f"words {words.shape} and vectors {vectors.dtype} {vectors.shape}")
    except FileNotFoundError:
        raise DataError(f"{path} is missing, the word vectors of the run: restore it") from None
    except Exception as error:  # A damaged archive raises errors of several modules.
        raise DataError(f"{path}, the word vectors of the run, cannot be read: {error}") from None
    return WordVectors(tuple(map(str, words)), vectors)


def _text(content: bytes) -> WordVectors:
    lines = [line.split() for line in content.decode().splitlines() if line.strip()]
    if lines and len(lines[0]) == 2:  # The numbers of words and of components.
        count, dim = (int(each) for each in lines.pop(0))
        if len(lines) != count or any(len(line) != dim + 1 for line in lines):
            raise ValueError(f"its first line says {count} words of {dim} numbers each")
    if not lines or len({len(line) for line in lines}) != 1 or len(lines[0]) < 2:
        raise ValueError("not every line is a word and as many numbers")
    vectors = np.array([line[1:] for line in lines], np.float32)
    return WordVectors(tuple(line[0] for line in lines), vectors)


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
