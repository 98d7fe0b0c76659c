"""The inputs of a train step, of its updates and of their micro-batches: reals, labels and keys."""

from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import PyTree

from ganjax.engine.algorithm import Batch, Context
from ganjax.engine.arranging import BatchGradient, Index, Repeat, constrained, scanned
from ganjax.engine.phases import Phase
from ganjax.engine.pixels import ValueRange
from ganjax.engine.storage import IMAGES, Storage
from ganjax.keys import fold


@runtime_checkable
class GradientFunction(Protocol):
    """A function that computes a gradient on the reals of `context`, from the variables `vars`."""

    def __call__(self, vars: PyTree, context: Context) -> BatchGradient: ...


class StepInputs(NamedTuple):
    """The reals and the key of one train step.

    Attributes:
      batch: the reals as a source's `fetch` gives them, arrays (real_batches, N, ...) by name. Of
        images they are "image", uint8 or floats in `value_range`, and "label".
      key: the random key of this step.
      step: the number of train steps finished before this one, an int32 scalar.
      phase: the current phase.
      value_range: the values of black and of white in the networks' images.
      storage: how reals are stored outside of the networks.
      micro_batches: the number of parts into which an update divides its batch
        (`Algorithm.accumulate`).
      repeat: the form that repeated computations take in the program.
      sharding: the sharding of arrays (N, ...) over the devices; None leaves it to the compiler.
    """

    batch: Batch
    key: jax.Array
    step: jax.Array
    phase: Phase
    value_range: ValueRange
    storage: Storage = IMAGES
    micro_batches: int = 1
    repeat: Repeat = scanned
    sharding: NamedSharding | None = None

    def of_update(self, player: str, i: Index, aug: PyTree, reals: Index = 0) -> "UpdateInputs":
        """Returns the inputs of an update in this step.

        Args:
          player: the player that is updated, "d", "g" or "both".
          i: the number by which its random key differs from those of the step's other updates.
          aug: the augmentation controller's state.
          reals: the index of the update's reals among the batches of this step.
        """
        return UpdateInputs(self, player, i, aug, reals)


class UpdateInputs(NamedTuple):
    """The reals and the key of one update.

    Attributes:
      step: the inputs of the train step.
      player: the player that is updated, "d", "g" or "both".
      i: the number by which the random key differs from those of the step's other updates.
      aug: the augmentation controller's state.
      reals: the index of the update's reals among the batches of the step.
    """

    step: StepInputs
    player: str
    i: Index
    aug: PyTree
    reals: Index = 0

    def context(self, micro: Index = 0) -> Context:
        """Returns the context of this update, or of one of its micro-batches.

        Args:
          micro: the index of the micro-batch.
        """
        step = self.step
        batch = {name: leaf[self.reals] for name, leaf in step.batch.items()}
        key = fold(step.key, self.player, self.i)
        if step.micro_batches > 1:
            batch = {name: self._rows(leaf, micro) for name, leaf in batch.items()}
            key = fold(key, "micro", micro)
        batch = {name: step.storage.read(leaf, step.value_range) for name, leaf in batch.items()}
        return Context(batch, key, step.step, step.phase, self.aug)

    def _rows(self, leaf: jax.Array, micro: Index) -> jax.Array:
        # A micro-batch takes every micro_batches-th row. These are the same rows on any number of
        # devices, and each device already holds its part of them.
        leaf = leaf.reshape(-1, self.step.micro_batches, *leaf.shape[1:])
        leaf = jax.lax.dynamic_index_in_dim(leaf, micro, axis=1, keepdims=False)
        return constrained(leaf, self.step.sharding)

    def accumulate(self, function: GradientFunction, vars: PyTree) -> BatchGradient:
        """Returns the mean gradient and metrics over the micro-batches of this update.

        Args:
          function: the function that computes the gradient on one micro-batch.
          vars: the variables before the first micro-batch; each further one begins with the
            variables that the previous one returned.
        """
        count = self.step.micro_batches
        if count == 1:
            return function(vars, self.context())

        def body(carry, micro):
            vars, total = carry
            part = function(vars, self.context(micro))
            return (part.vars, jax.tree.map(jnp.add, total, part.gradient)), part.metrics

        shapes = jax.eval_shape(lambda: function(vars, self.context()).gradient)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        (vars, total), metrics = self.step.repeat(body, (vars, zeros), count)
        return BatchGradient(jax.tree.map(lambda leaf: leaf / count, total), vars, metrics)
