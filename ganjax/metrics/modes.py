"""Mode coverage: how many of a classifier's classes samples have, and how evenly.

With the classifier of digits, these are the figures of Stacked MNIST (Metz et al. 2017,
arXiv:1611.02163, section 3.3.1): of 1,000 modes, how many are covered, and the reverse KL
divergence.
"""

from typing import Any

import numpy as np
import scipy
from jaxtyping import Int

from ganjax.engine.meanings import Meaning
from ganjax.metrics.metric import Counts, Figure, Labelled, Metric, Taken

# Images are called legible above this probability of their likeliest class.
CONFIDENT = 0.9


class Modes(Metric):
    """The classes that a classifier finds among samples, beside those among as many reals.

    A classifier's errors alone fill modes and lower the divergence, which is why the same figures
    of reals stand beside those of samples.
    """

    name = "modes"
    figures = (
        Figure(
            "modes",
            Meaning("the number of the classifier's classes that samples have", least=0),
            better="more",
        ),
        Figure("modes_real", Meaning("modes of as many real images", least=0)),
        Figure(
            "reverse_kl",
            Meaning(
                "the KL divergence of the classes of samples from equally frequent ones, in nats",
                least=0,
                reading="of n even samples of k classes it is about (k - 1) / (2 n), not 0",
            ),
            better="less",
        ),
        Figure("reverse_kl_real", Meaning("reverse_kl of as many real images, in nats", least=0)),
        Figure(
            "legible",
            Meaning(
                "the share of samples whose likeliest class has a probability above "
                f"{CONFIDENT:g}, by the classifier",
                least=0,
                most=1,
                reading="a classifier can be sure of an image that shows nothing",
            ),
            better="more",
        ),
        Figure("legible_real", Meaning("legible of as many real images", least=0, most=1)),
    )
    further = (
        Figure(
            "label_agreement",
            Meaning(
                "the share of samples whose class, by the classifier, is the label that they were "
                "generated with",
                least=0,
                most=1,
                reading="only of conditional runs with as many classes as the classifier",
            ),
            better="more",
        ),
    )
    needs = "labelled"

    def choose_counts(self, counts: Counts) -> Taken:
        """Returns equal numbers, by which the figures of samples and of reals compare."""
        both = min(counts.reference, counts.fake)
        return Taken(both, both)

    def prepare(self, reference: Labelled) -> dict[str, float]:
        """Returns the figures of the reals."""
        return {f"{name}_real": value for name, value in _figures(reference.logits).items()}

    def measure(self, reference: dict[str, float], fake: Labelled) -> dict[str, float]:
        """Returns the figures of samples and of reals, and `label_agreement` of labelled ones."""
        found = _figures(fake.logits) | reference
        if fake.labels is not None:
            agreed = np.argmax(fake.logits, axis=1) == fake.labels
            found["label_agreement"] = float(np.mean(agreed))
        return found

    def protocol(self, taken: Taken) -> dict[str, Any]:
        """Returns the numbers of images, and what the divergence is from."""
        return {"samples": taken.fake, "reals": taken.reference, "reverse_kl": "from uniform"}


def reverse_kl(counts: Int[np.ndarray, " k"]) -> float:
    """Computes the KL divergence of frequencies of k classes from equal ones, in nats.

    Args:
      counts: the number of images of each class, one or more in all.
    """
    share = counts[counts > 0] / counts.sum()
    return float(np.sum(share * np.log(share * len(counts))))


def _figures(logits):
    """Computes the figures of images without regard to labels."""
    counts = np.bincount(np.argmax(logits, axis=1), minlength=logits.shape[1])
    likeliest = np.exp(scipy.special.log_softmax(logits, axis=1).max(axis=1))
    return {
        "modes": float(np.count_nonzero(counts)),
        "reverse_kl": reverse_kl(counts),
        "legible": float(np.mean(likeliest > CONFIDENT)),
    }
