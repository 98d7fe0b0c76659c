"""What the metrics of a run mean: the form in which whoever makes a metric explains it."""

import math
from typing import NamedTuple


class Meaning(NamedTuple):
    """What a metric means.

    Attributes:
      text: what is measured, in words that may follow the metric's name.
      least: the least value that it can have; -inf without a bound.
      most: the largest value that it can have; inf without a bound.
      healthy: the least and the largest mean over a healthy stretch of training, by the source that
        `reading` names; infinite where no source gives one. Warnings of illness
        (`ganjax.training.illnesses`) compare with these.
      reading: what is healthy, and what its course says.
    """

    text: str
    least: float = -math.inf
    most: float = math.inf
    healthy: tuple[float, float] = (-math.inf, math.inf)
    reading: str = ""

    @property
    def bounds(self) -> str:
        """The values that it can have, in words, such as "0 to 1"; "" if it can have any."""
        return _bounds(self.least, self.most)

    @property
    def description(self) -> str:
        """Everything that is known of it, in sentences."""
        healthy = _bounds(*self.healthy)
        parts = (
            self.text,
            self.bounds,
            healthy and f"healthy: {healthy}",
            self.reading,
        )
        return "; ".join(filter(None, parts))


def _bounds(low: float, high: float) -> str:
    """Describes an interval, whose ends may be infinite."""
    if math.isinf(low):
        return "" if math.isinf(high) else f"{high:g} or less"
    return f"{low:g} or more" if math.isinf(high) else f"{low:g} to {high:g}"
