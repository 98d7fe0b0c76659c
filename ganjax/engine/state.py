"""The state of a run: pure data, and all that a checkpoint stores."""

from flax import struct
from jaxtyping import PyTree


class Player(struct.PyTreeNode):
    """One of the two networks.

    Attributes:
      params: the trained parameters.
      opt_state: the state of its optimiser.
      vars: its other Flax collections (`batch_stats`, ...), {} where it has none.
    """

    params: PyTree
    opt_state: PyTree
    vars: PyTree


class Ema(struct.PyTreeNode):
    """The exponential moving average of the generator: its parameters and BatchNorm averages.

    Its other variables (the vectors of spectral normalisation) are the generator's present ones.
    """

    params: PyTree
    vars: PyTree


class GanState(struct.PyTreeNode):
    """The state of a run between two steps. It holds no key, optimiser or apply function.

    Attributes:
      step: int32 scalar, the number of finished train steps (updates of the generator).
      g: the generator.
      d: the discriminator or critic.
      ema: the averaged generator, which is sampled and evaluated.
      aug: the augmentation controller's state, () without a controller.
    """

    step: PyTree
    g: Player
    d: Player
    ema: Ema
    aug: PyTree
