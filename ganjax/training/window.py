"""What a line of metrics.jsonl says of the steps since the line before.

Losses, accuracies, penalties and gradient norms are means over these steps, as in the logs of the
methods' sources. What says where the run stands, such as the probability of augmentation or the
alpha of a fade, is the last step's value: an algorithm names those (`Algorithm.last_values`).

A checkpoint holds the sums since the last line (`saved`), so that a run that was killed and goes
on writes the lines of one that was not.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

Values = dict[str, np.ndarray]
# What the name of a figure of one seed ends in, before the seed, where a run has several.
SEED = "_seed_"


class Window:
    """Adds up the metrics of steps until a line is written.

    Args:
      last_values: the metrics of which the last value counts, not the mean.
      saved: what `saved` returned when the run's checkpoint was made, {} where nothing was.
    """

    def __init__(self, last_values: Collection[str] = (), saved: Mapping[str, Any] | None = None):
        saved = saved or {}
        self._last_values = frozenset(last_values)
        # Of each metric that is a mean: its sum over steps, and the number of these steps.
        self._sums = {name: np.array(total) for name, total in saved.get("sums", {}).items()}
        self._counts: dict[str, int] = dict(saved.get("counts", {}))
        # Each metric as the last line had it, or as it was last measured if it is no mean.
        self._latest = {name: np.array(value) for name, value in saved.get("latest", {}).items()}

    def add(self, values: Values) -> None:
        """Adds what a step has measured.

        Args:
          values: name -> (members,) array. Names of what was not measured are left out.
        """
        for name, of_members in values.items():
            of_members = of_members.astype(np.float64)
            if name in self._last_values:
                self._latest[name] = of_members
            else:
                self._sums[name] = self._sums.get(name, 0.0) + of_members
                self._counts[name] = self._counts.get(name, 0) + 1

    def line(self) -> Values:
        """Returns what a line says, and begins anew.

        Returns:
          name -> (members,) float64 array. A metric that no step since the last line has measured
          is as it was before.
        """
        self._latest |= {name: self._sums[name] / self._counts[name] for name in self._sums}
        self._sums, self._counts = {}, {}
        return dict(sorted(self._latest.items()))

    def saved(self) -> dict[str, Any]:
        """Returns what has been added so far, in types of JSON, from which a window goes on."""
        return {
            "sums": {name: total.tolist() for name, total in self._sums.items()},
            "counts": dict(self._counts),
            "latest": {name: value.tolist() for name, value in self._latest.items()},
        }


def mean_and_spread(values: dict[str, np.ndarray]) -> dict[str, float]:
    """Summarises the measurements of all members.

    Args:
      values: a (members,) array for each name.

    Returns:
      For each name the mean over the members and, if there are several, as <name>_seed_std their
      sample standard deviation.
    """
    summary = {}
    for name, of_members in values.items():
        summary[name] = float(of_members.mean())
        if len(of_members) > 1:
            summary[f"{name}_seed_std"] = float(of_members.std(ddof=1))
    return summary


def of_seed(figures: dict[str, float], seed: int) -> dict[str, float]:
    """Returns one member's figures by the names of its seed, such as kid_efflite0_seed_3.

    A line of metrics has them beside the means over members.

    Args:
      figures: the figures of the member.
      seed: the seed of the member.
    """
    return {f"{name}{SEED}{seed}": value for name, value in figures.items()}
