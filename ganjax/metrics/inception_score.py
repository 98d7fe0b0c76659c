"""Inception Score (Salimans et al. 2016, arXiv:1606.03498, section 4), by any classifier."""

from itertools import pairwise
from typing import Any

import numpy as np
import scipy
from jaxtyping import Float

from ganjax.engine.meanings import Meaning
from ganjax.metrics.metric import Figure, Metric, Taken

SPLITS = 10
SEED = 0


class InceptionScore(Metric):
    """The Inception Score by the feature network's classes, of generated images alone."""

    name = "is"
    figures = (
        Figure(
            "is",
            Meaning(
                "the Inception Score: exp of the mean divergence of a sample's classes from those "
                "of all samples",
                least=1,
                reading="of samples alone: it sees neither copies nor missing modes within a class",
            ),
            better="more",
        ),
        Figure("is_std", Meaning("the standard deviation of is over the splits", least=0)),
    )
    needs = "logits"

    def measure(
        self, reference: Float[np.ndarray, "m k"], fake: Float[np.ndarray, "n k"]
    ) -> dict[str, float]:
        """Returns `is`, the mean over the splits, and `is_std`, their standard deviation."""
        del reference
        mean, deviation = score(fake, splits=min(SPLITS, len(fake)), seed=SEED)
        return {"is": mean, "is_std": deviation}

    def protocol(self, taken: Taken) -> dict[str, Any]:
        """Returns the number of splits and the seed of the shuffling."""
        return {"splits": min(SPLITS, taken.fake), "seed": SEED}


def score(
    logits: Float[np.ndarray, "n k"], *, splits: int = SPLITS, seed: int = SEED
) -> tuple[float, float]:
    """Computes exp of the mean KL divergence of p(class | image) from p(class), split by split.

    A score lies between 1, where all images are classified alike, and the number of classes. It
    is biased: larger splits give a larger score; splits of 5,000 images are usual.

    Args:
      logits: a classifier's logits of each image.
      splits: the number of parts of the shuffled set, each of which is scored separately.
      seed: the seed of the shuffling.

    Returns:
      The mean and the standard deviation over the splits.

    Raises:
      ValueError: there are fewer images than splits.
    """
    if len(logits) < splits:
        raise ValueError(f"inception score: {len(logits)} images for {splits} splits")
    logits = logits[np.random.RandomState(seed).permutation(len(logits))]
    bounds = [i * len(logits) // splits for i in range(splits + 1)]
    scores = [_score_of_split(logits[a:b]) for a, b in pairwise(bounds)]
    return float(np.mean(scores)), float(np.std(scores))


def _score_of_split(logits) -> float:
    log_p = scipy.special.log_softmax(logits.astype(np.float64), axis=1)
    p = np.exp(log_p)
    # A class whose probability is 0 for every image of the split would give log(0), and adds 0.
    marginal = np.log(np.maximum(p.mean(axis=0), np.finfo(np.float64).tiny))
    return np.exp(np.mean(np.sum(p * (log_p - marginal), axis=1)))
