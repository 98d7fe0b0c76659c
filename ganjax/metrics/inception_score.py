"""Inception Score (Salimans et al. 2016, arXiv:1606.03498, section 4), of any classifier."""

from itertools import pairwise

import numpy as np
from scipy.special import log_softmax

SPLITS = 10


def inception_score(
    logits: np.ndarray, *, splits: int = SPLITS, seed: int = 0
) -> tuple[float, float]:
    """exp of the mean KL divergence of p(class | image) from p(class), over splits of a set.

    From 1, where all images are classified alike, to the number of classes. Real images are not
    looked at. Biased: larger splits give a larger score; 5,000 a split is usual.

    Args:
      logits: float (N, K), of a classifier.
      splits: parts of the shuffled set, each scored by itself.
      seed: of the shuffling.

    Returns:
      (mean, standard deviation) over the splits.

    Raises:
      ValueError: fewer images than splits.
    """
    if len(logits) < splits:
        raise ValueError(f"inception score: {len(logits)} images for {splits} splits")
    logits = logits[np.random.RandomState(seed).permutation(len(logits))]
    bounds = [i * len(logits) // splits for i in range(splits + 1)]
    scores = [_score(logits[a:b]) for a, b in pairwise(bounds)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(logits) -> float:
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    p = np.exp(log_p)
    # A class that no image of the split has by float64 has the logarithm of 0 and adds nothing.
    marginal = np.log(np.maximum(p.mean(axis=0), np.finfo(np.float64).tiny))
    return np.exp(np.mean(np.sum(p * (log_p - marginal), axis=1)))
