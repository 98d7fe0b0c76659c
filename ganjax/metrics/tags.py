"""Tags of images from samples of word vectors, and how right they are.

Mirza & Osindero 2014 (arXiv:1411.1784), section 4.2: of 100 samples for an image each votes for the
20 words that are nearest to it by their cosine, and the words with the most votes are its tags.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Float32, Int32

from ganjax.engine.meanings import Meaning
from ganjax.metrics.fields import BestFields
from ganjax.metrics.metric import Figure

# The numbers of samples for an image, of words that each votes for, and of tags.
SAMPLES, NEAREST, TAGS = 100, 20, 10
# The most cosines that are held at once.
COSINES = 1 << 24

PRECISION, RECALL, RANK, DISTINCT = (
    f"precision_at_{TAGS}",
    f"recall_at_{TAGS}",
    "mean_reciprocal_rank",
    "distinct_tags",
)
_HELD_OUT = "of held-out images, "
FIGURES = (
    Figure(
        PRECISION,
        Meaning(
            f"{_HELD_OUT}the share of the {TAGS} tags that are right, the mean over images",
            least=0,
            most=1,
            reading="an image has fewer tags than that, so that 1 cannot be reached",
        ),
        better="more",
    ),
    Figure(
        RECALL,
        Meaning(
            f"{_HELD_OUT}the share of an image's own tags among the {TAGS}, the mean over images",
            least=0,
            most=1,
            reading="a tag without a word vector cannot be found and counts as missed",
        ),
        better="more",
    ),
    Figure(
        RANK,
        Meaning(
            f"{_HELD_OUT}1 / the rank of the first right tag among the {TAGS}, 0 without one, the "
            "mean over images",
            least=0,
            most=1,
        ),
        better="more",
    ),
    Figure(
        DISTINCT,
        Meaning(
            f"{_HELD_OUT}the number of different words that are the nearest to one of {SAMPLES} "
            "samples, the mean over images",
            least=1,
            most=SAMPLES,
            reading="near 1 the generator ignores its latent",
        ),
    ),
)
MEANINGS = {figure.name: figure.meaning for figure in FIGURES}


class TagEvaluationFields(BestFields):
    """The figures of held-out images' tags, at each evaluation.

    Attributes:
      best: the figure by which the best checkpoint is chosen: "precision_at_10", "recall_at_10",
        "mean_reciprocal_rank" or "none".
      patience: as in other runs.
    """


class Votes(NamedTuple):
    """The votes of the samples for one image.

    Attributes:
      counts: int32 (V,), the number of samples for which a word is among the nearest.
      cosines: float32 (V,), the mean cosine between a word and the samples.
      distinct: the number of different words that are the nearest to one of the samples.
    """

    counts: np.ndarray
    cosines: np.ndarray
    distinct: int

    def ranked(self, number: int = TAGS) -> np.ndarray:
        """Returns the words with the most votes, the best first.

        Of words with as many votes the one with the larger mean cosine comes first, then the one
        that comes first in the vocabulary. Words without a vote are none.

        Args:
          number: the most words.

        Returns:
          Their indices, (number,) or fewer.
        """
        order = np.lexsort((-self.cosines, -self.counts))
        return order[self.counts[order] > 0][:number]


def count_votes(
    samples: Float[Array, "n s d"], vectors: Float[Array, "v d"], nearest: int
) -> tuple[Int32[Array, "n v"], Float32[Array, "n v"], Int32[Array, " n"]]:
    """Lets samples vote for the words that are nearest to them by their cosine.

    Args:
      samples: s samples for each of n images.
      vectors: the vectors of v words.
      nearest: the number of words that each sample votes for, at most v.

    Returns:
      The votes for each word, the mean cosines, and the numbers of different nearest words.
    """
    cosines = jnp.einsum("nsd,vd->nsv", _unit(samples), _unit(vectors))
    _, near = jax.lax.top_k(cosines, nearest)
    rows = jnp.arange(len(samples))[:, None]
    zeros = jnp.zeros((len(samples), len(vectors)), jnp.int32)
    counts = zeros.at[rows, near.reshape(len(samples), -1)].add(1)
    nearest_words = zeros.at[rows, near[..., 0]].max(1)
    return counts, cosines.mean(1), nearest_words.sum(1)


def _unit(x: jax.Array) -> jax.Array:
    """Divides vectors by their lengths, but for those of length 0."""
    x = x.astype(jnp.float32)
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


class Tagger:
    """A callable that lets a generator's samples vote on the tags of images.

    Args:
      sample: returns samples (n * s, D), given a generator, latents (n * s, Z) and features
        (n * s, F).
      vectors: the vectors of words, float32 (V, D).
      sharding: the sharding of the votes, the same on all devices.
    """

    def __init__(
        self,
        sample: Callable,
        vectors: np.ndarray,
        sharding: NamedSharding | None = None,
    ):
        nearest = min(NEAREST, len(vectors))
        self._batch = min(max(1, COSINES // (SAMPLES * len(vectors))), 16)

        def vote(generator, latents, features):
            n, s = len(features), len(latents)
            samples = sample(generator, jnp.tile(latents, (n, 1)), jnp.repeat(features, s, axis=0))
            return count_votes(samples.reshape(n, s, -1), jnp.asarray(vectors), nearest)

        self._vote = jax.jit(vote, out_shardings=sharding)

    def __call__(
        self, generator: Any, latents: np.ndarray, features: np.ndarray
    ) -> Iterator[Votes]:
        """Yields the votes of each image.

        Args:
          generator: the generator.
          latents: float32 (s, Z), the latents of the samples for each image.
          features: float32 (N, F), the features of the images.
        """
        for first in range(0, len(features), self._batch):
            # The last batch is padded, since another shape would be compiled anew.
            rows = np.minimum(np.arange(first, first + self._batch), len(features) - 1)
            found = jax.device_get(self._vote(generator, latents, features[rows]))
            for i in range(min(self._batch, len(features) - first)):
                counts, cosines, distinct = (each[i] for each in found)
                yield Votes(counts, cosines, int(distinct))


class Scores(NamedTuple):
    """How right the tags of images are, in float64 (N,) each.

    Attributes:
      precision: the share of `TAGS` tags that are right.
      recall: the share of an image's own tags that are among them.
      rank: 1 / the rank of the first right one; 0 without one.
    """

    precision: np.ndarray
    recall: np.ndarray
    rank: np.ndarray

    def figures(self) -> dict[str, float]:
        """Returns the means over images by their names in `FIGURES`."""
        means = (float(each.mean()) for each in self)
        return dict(zip((PRECISION, RECALL, RANK), means, strict=True))

    def errors(self, draws: int = 1_000) -> dict[str, float]:
        """Returns the bootstrap standard errors of the means over images, by the same names.

        Args:
          draws: how often as many images are drawn, with replacement.
        """
        count = len(self.precision)
        chosen = np.random.RandomState(0).randint(count, size=(draws, count))
        errors = (float(each[chosen].mean(1).std()) for each in self)
        return dict(zip((PRECISION, RECALL, RANK), errors, strict=True))


def score(tags: Sequence[Sequence[str]], own: Sequence[Collection[str]]) -> Scores:
    """Compares tags with the images' own ones.

    Args:
      tags: for each image `TAGS` tags or fewer, the best first.
      own: each image's own tags, at least one. Those without a vector count as missed.
    """
    rows = []
    for found, right in zip(tags, own, strict=True):
        hits = np.isin(list(found), list(right)) if len(found) else np.zeros(0, bool)
        first = int(hits.argmax()) if hits.any() else None
        reciprocal = 0.0 if first is None else 1 / (first + 1)
        rows.append((hits.sum() / TAGS, hits.sum() / len(right), reciprocal))
    return Scores(*np.array(rows, np.float64).T)


def most_frequent(training: Sequence[Collection[str]], known: Collection[str]) -> tuple[str, ...]:
    """Returns the tags that the most training images have: the baseline that sees no image.

    Args:
      training: the tags of each training image.
      known: the words that count.
    """
    counts = Counter(tag for tags in training for tag in tags if tag in known)
    return tuple(tag for tag, _ in counts.most_common(TAGS))


def of_neighbours(
    features: Float32[np.ndarray, "n f"],
    training: Float32[np.ndarray, "m f"],
    tags: Sequence[Sequence[str]],
    known: Collection[str],
) -> list[tuple[str, ...]]:
    """Returns the tags of the nearest training images: the baseline that learns nothing.

    They are those of the image whose feature has the largest cosine, in their order, then those of
    the next one, and so on until they are `TAGS`.

    Args:
      features: the features of the images to tag.
      training: those of the training images.
      tags: the tags of each training image.
      known: the words that count.
    """
    units = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (features, training)]
    found = []
    for order in np.argsort(-(units[0] @ units[1].T), axis=1, kind="stable"):
        chosen: dict[Any, Any] = {}
        for i in order:
            chosen |= dict.fromkeys(tag for tag in tags[i] if tag in known)
            if len(chosen) >= TAGS:
                break
        found.append(tuple(chosen)[:TAGS])
    return found
