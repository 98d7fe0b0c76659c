"""What the updates of a train step take in: real images, labels and keys, whole or in parts."""

from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import PyTree

from ganjax.engine.algorithm import Batch, Context
from ganjax.engine.phases import Phase
from ganjax.engine.pixels import ValueRange, from_uint8
from ganjax.engine.scheduling import BatchGradient, Index, Repeat, constrained, scanned
from ganjax.keys import fold


@runtime_checkable
class GradientFunction(Protocol):
    """Computes a gradient on the reals of `context`, from the variables `vars`."""

    def __call__(self, vars: PyTree, context: Context) -> BatchGradient: ...


class StepInputs(NamedTuple):
    """The reals and the key of one train step.

    Attributes:
      batch: leaves (reals_per_step, N, ...): labels, and images in uint8 or in `value_range`.
      key: the key of this step.
      step: int32 scalar, the train steps finished before this one.
      phase: the present phase.
      value_range: as in `Algorithm`.
      micro_batches: into which an update divides its batch (`Algorithm.accumulate`).
      repeat: the form that repeated computations take in the program.
      sharding: of (N, ...) arrays over the devices; None leaves it to the compiler.
    """

    batch: Batch
    key: jax.Array
    step: jax.Array
    phase: Phase
    value_range: ValueRange
    micro_batches: int = 1
    repeat: Repeat = scanned
    sharding: NamedSharding | None = None

    def of_update(self, player: str, i: Index, aug: PyTree) -> "UpdateInputs":
        """Returns the inputs of the i-th update of `player` ("d", "g" or "both") in this step."""
        return UpdateInputs(self, player, i, aug)


class UpdateInputs(NamedTuple):
    """The reals and the key of one update.

    Attributes:
      step: the inputs of its step.
      player: "d", "g" or "both".
      i: the updates of that player before it in the same step.
      aug: the augmentation controller's state.
    """

    step: StepInputs
    player: str
    i: Index
    aug: PyTree

    def context(self, micro: Index = 0) -> Context:
        """Returns what an algorithm's functions see in this update, or in a micro-batch of it."""
        step = self.step
        batch = {name: leaf[self.i % leaf.shape[0]] for name, leaf in step.batch.items()}
        key = fold(step.key, self.player, self.i)
        if step.micro_batches > 1:
            batch = {name: self._rows(leaf, micro) for name, leaf in batch.items()}
            key = fold(key, "micro", micro)
        batch = {
            name: from_uint8(leaf, step.value_range) if leaf.dtype == jnp.uint8 else leaf
            for name, leaf in batch.items()
        }
        return Context(batch, key, step.step, step.phase, self.aug)

    def _rows(self, leaf: jax.Array, micro: Index) -> jax.Array:
        # Each micro_batches-th row: the same rows on any number of devices, each of which already
        # holds its part of them.
        leaf = leaf.reshape(-1, self.step.micro_batches, *leaf.shape[1:])
        leaf = jax.lax.dynamic_index_in_dim(leaf, micro, axis=1, keepdims=False)
        return constrained(leaf, self.step.sharding)

    def accumulate(self, function: GradientFunction, vars: PyTree) -> BatchGradient:
        """Returns the mean gradient and metrics over the micro-batches of this update.

        Args:
          function: the gradient on one of them.
          vars: the variables before the first; each begins with those that the one before left.
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
