"""The state of a run, which is pure data and all that a checkpoint stores."""

from flax import struct
from jaxtyping import PyTree


class Player(struct.PyTreeNode):
    """The state of one of the two networks and of its optimiser.

    Attributes:
      params: the trained parameters.
      opt_state: the state of the optimiser.
      vars: the network's other Flax collections (`batch_stats`, ...), {} if it has none.
    """

    params: PyTree
    opt_state: PyTree
    vars: PyTree


class Ema(struct.PyTreeNode):
    """The exponential moving average of the generator's parameters and of its BatchNorm averages.

    Attributes:
      params: the averaged parameters.
      vars: the averaged `batch_stats`, which are corrected for their start as BatchNorm's own are
        (`ganjax.models.norms.BatchNorm`). Other collections (the vectors of spectral normalisation)
        are not averaged, but those of the generator.
    """

    params: PyTree
    vars: PyTree


class GanState(struct.PyTreeNode):
    """The state of a run between two steps. It holds no key, optimiser or apply function.

    Attributes:
      step: the number of finished train steps, each with one update of the generator, an int32
        scalar.
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
