"""What a run holds: pure data, and all of what a checkpoint stores."""

from typing import Any

from flax import struct

PyTree = Any


@struct.dataclass
class Player:
    """One of the two networks.

    Attributes:
      params: the trained parameters.
      opt_state: its optimiser's state.
      vars: its other Flax collections (`batch_stats`, ...), {} where it has none.
    """

    params: PyTree
    opt_state: PyTree
    vars: PyTree


@struct.dataclass
class Ema:
    """Exponential moving average of the generator: parameters and BatchNorm averages.

    Its other variables (the vectors of spectral normalisation) are the generator's present ones.
    """

    params: PyTree
    vars: PyTree


@struct.dataclass
class GanState:
    """A run between two steps. No key, optimiser or apply function is inside.

    Attributes:
      step: int32 scalar, the number of finished train steps (updates of the generator).
      g: the generator.
      d: the discriminator or critic.
      ema: what is sampled and evaluated.
      aug: the augmentation controller's state, () without one.
    """

    step: Any
    g: Player
    d: Player
    ema: Ema
    aug: PyTree
