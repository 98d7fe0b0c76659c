"""The fields of a composed GAN that may be schedules, and their numbers as metrics."""

from functools import partial
from typing import Any

from ganjax.config import Fields
from ganjax.engine.algorithm import NumberOfStep
from ganjax.engine.meanings import Meaning
from ganjax.engine.schedules import Reals, Schedule

# The fields that may be schedules, but for the augmentation's probability, which is always
# reported; each by the name of its metric.
FIELDS = {
    "g_learning_rate": "g_optimiser.learning_rate",
    "d_learning_rate": "d_optimiser.learning_rate",
    "g_b2": "g_optimiser.b2",
    "d_b2": "d_optimiser.b2",
    "c_gp_weight": "penalty.weight",
    "r1_weight": "penalty.r1",
    "r2_weight": "penalty.r2",
    "ema_half_life": "ema.half_life",
}
MEANINGS = {
    name: Meaning(f"config.{field} in this step, where that is a schedule", least=0)
    for name, field in FIELDS.items()
}


def numbers(config: Fields, reals: Reals) -> dict[str, NumberOfStep]:
    """Returns the numbers that change over the run, by the names of their metrics.

    Args:
      config: the config, which need not have all groups of `FIELDS`.
      reals: the number of reals that D has seen.
    """
    found = {}
    for name, field in FIELDS.items():
        group, leaf = field.split(".")
        value: Any = getattr(getattr(config, group, None), leaf, None)
        if isinstance(value, Schedule):
            found[name] = partial(_at_step, value, reals)
    return found


def _at_step(schedule: Schedule, reals: Reals, step):
    return schedule.at(reals.at(step))
