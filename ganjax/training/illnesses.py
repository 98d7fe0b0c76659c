"""Known illnesses of GANs: the metrics that show them, and what the sources advise.

Each is told once in a run, in one line. A metric of train steps shows an illness by its mean over
a stretch of the run, a fifth of it but `SHORTEST` to `LONGEST` steps. The first stretch does not
count. Thus neither a noisy line nor the swings of the first steps show anything.

The lines name these sources:

- Béres 2021, "Data-efficient GANs with adaptive discriminator augmentation", keras.io/examples
- Chintala et al. 2016, "How to train a GAN?", github.com/soumith/ganhacks, tip 10
- Foster 2023, "Generative deep learning", 2nd edition, chapter 4
- Karras et al. 2020, arXiv:2006.06676, section 2.2
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np

from ganjax.training import glossary
from ganjax.training.schema import LoopConfig
from ganjax.training.window import SEED

# The part of a run, and the least and most steps, over which a metric's mean is taken (choice).
PART, SHORTEST, LONGEST = 5, 50, 5_000
# The range of D's accuracy in a healthy run, and the loss of D below which it counts as 0.
WEAK, STRONG = glossary.TABLE["d_acc"].healthy
NO_LOSS, _ = glossary.TABLE["d_loss"].healthy
# The share of the most distinct neighbours so far below which they are few, and the number of
# evaluations in a row with few of them that make a collapse (choice).
FEW, EVALUATIONS = 0.5, 2

WEAKEN = "weaken D by dropout, a lower learning rate, fewer channels or noise on its labels"
STRENGTHEN = "give D a higher learning rate, more channels, more updates or less dropout and noise"


class Sign(Protocol):
    """A sign of an illness."""

    def __call__(self, row: Mapping[str, Any]) -> str | None:
        """Looks at a line of metrics, and returns a line for the user if it shows the illness."""
        ...


class Lasting:
    """A sign in the mean of a metric over a stretch of a run.

    Args:
      metric: the name of the metric.
      needs: another metric, without which a line is passed over.
      stretch: the number of steps in a stretch.
      shows: whether a mean shows the illness.
      line: the line for the user, with {mean} in it.
    """

    def __init__(
        self, metric: str, needs: str, stretch: int, shows: Callable[[float], bool], line: str
    ):
        self._metric, self._needs, self._stretch = metric, needs, stretch
        self._shows, self._line = shows, line
        self._values: deque[tuple[int, float]] = deque()

    def __call__(self, row: Mapping[str, Any]) -> str | None:
        """Adds a line of metrics; see `Sign`."""
        step = row["step"]
        if not {self._metric, self._needs} <= row.keys() or step <= self._stretch:
            return None
        self._values.append((step, row[self._metric]))
        while self._values[0][0] <= step - self._stretch:
            self._values.popleft()
        mean = float(np.mean([value for _, value in self._values]))
        if step < 2 * self._stretch or not self._shows(mean):
            return None
        return self._line.format(mean=mean)


class Collapse:
    """The sign of mode collapse: samples have fewer distinct neighbours among training images."""

    def __init__(self):
        self._most: dict[str, float] = {}
        self._in_a_row = 0

    def __call__(self, row: Mapping[str, Any]) -> str | None:
        """Adds a line of metrics; see `Sign`."""
        shares = (name for name in row if name.startswith("distinct_neighbours"))
        name = next((name for name in shares if SEED not in name), None)
        if name is None:
            return None
        most = self._most[name] = max(row[name], self._most.get(name, 0.0))
        self._in_a_row = self._in_a_row + 1 if row[name] < FEW * most else 0
        if self._in_a_row < EVALUATIONS:
            return None
        return (
            f"samples are nearest to ever fewer training images, {row[name]:.0%} of them distinct "
            f"and once {most:.0%}: G collapses to a few modes; lower both learning rates, take "
            f"larger batches, or {STRENGTHEN} (Foster 2023); what came before is in the "
            "checkpoints that evaluation.best or keep_checkpoints keep"
        )


class Watch:
    """Watches the metrics of a run for known illnesses.

    Args:
      config: the config of the run.
      rows: the lines of metrics so far. What they show has been told.
    """

    def __init__(self, config: LoopConfig, rows: Iterable[Mapping[str, Any]] = ()):
        self._signs = _signs(config)
        for row in rows:
            self(row)

    def __call__(self, row: Mapping[str, Any]) -> list[str]:
        """Looks at a line of metrics, and returns a line for each illness that it is first to show.

        Args:
          row: the metrics by name, with the "step" at which they were measured.
        """
        told = {sign: line for sign in self._signs if (line := sign(row)) is not None}
        self._signs = [sign for sign in self._signs if sign not in told]
        return list(told.values())


def _signs(config: LoopConfig) -> list[Sign]:
    """Returns the signs of the illnesses that a run of a config can have."""
    stretch = max(SHORTEST, min(config.total_steps // PART, LONGEST))
    # Scores of losses without logits have no sign, and the values of these losses no zero.
    of_logits = partial(Lasting, needs="d_acc", stretch=stretch)
    healthy = f"{WEAK:.0%} to {STRONG:.0%} of a healthy run (Béres 2021)"
    signs: list[Sign] = [
        Collapse(),
        of_logits(
            "d_acc",
            shows=lambda mean: mean > STRONG,
            line=f"D is right about {{mean:.1%}} of images, above the {healthy}: it is too strong "
            f"for G to learn from; {WEAKEN} (Foster 2023), or augment where images are few",
        ),
        of_logits(
            "d_loss",
            shows=lambda mean: mean < NO_LOSS,
            line="D's loss is {mean:.2g}: near 0 it has nothing left to teach G (Chintala et al. "
            f"2016); {WEAKEN} (Foster 2023), or take a Wasserstein loss with a gradient penalty",
        ),
    ]
    if not _held_back(config):
        signs.append(
            of_logits(
                "d_acc",
                shows=lambda mean: mean < WEAK,
                line=f"D is right about {{mean:.1%}} of images, below the {healthy}: it is too "
                f"weak to teach G; {STRENGTHEN} (Foster 2023)",
            )
        )
    controller = getattr(getattr(config, "augment", None), "controller", None)
    cap = getattr(controller, "p_max", None)
    if cap is not None:
        signs.append(
            of_logits(
                "aug_p",
                shows=lambda mean: mean > cap - 1e-6,
                line=f"p of augmentation stays at its cap, {cap:g}, and D overfits still; near 1 "
                "augmentations leak into samples (Karras et al. 2020): take more images, "
                f"more families of augmentation, or {WEAKEN}",
            )
        )
    return signs


def _held_back(config: LoopConfig) -> bool:
    """Returns whether D is regularised such that a low accuracy is no illness.

    Béres' D has dropout before its last layer alone. With more of it, as in configs/cgan.py, or
    with spectral normalisation, as in configs/sngan.py, healthy runs have a lower accuracy.
    """
    discriminator, penalty, targets = (
        getattr(config, group, None) for group in ("discriminator", "penalty", "targets")
    )
    by_network = [getattr(discriminator, name, 0) for name in ("dropout", "spectral_norm")]
    by_penalty = [getattr(penalty, name, 0) for name in ("weight", "r1", "r2")]
    by_labels = [getattr(targets, name, 0) for name in ("noise", "flip")]
    clipped = getattr(config, "weight_clip", 0)
    return any((*by_network, *by_penalty, *by_labels, clipped))
