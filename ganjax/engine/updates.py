"""The updates of both players, and the order of the updates within a train step.

They follow algorithm 1 of Gulrajani et al. 2017 (arXiv:1704.00028), whose line numbers stand at the
right; other GANs have another objective, penalty or optimiser. Only a player's own updates change
its variables (BatchNorm averages): the generator's do not change when it generates fakes for the
discriminator, nor the discriminator's when it scores them for the generator.
"""

import math
from typing import Protocol

import jax
from jaxtyping import PyTree

from ganjax.config import ConfigError
from ganjax.engine import arranging
from ganjax.engine.algorithm import Algorithm, Batch, Context, Metrics
from ganjax.engine.arranging import BatchGradient
from ganjax.engine.inputs import StepInputs, UpdateInputs
from ganjax.engine.meanings import Meaning
from ganjax.engine.state import GanState, Player

_NORM = "a rise by orders of magnitude that lasts is a sign that training diverges"
# The metrics of every algorithm.
MEANINGS = {
    "d_loss": Meaning(
        "D's loss with its penalty: the mean over the batch, and over D's updates in a step",
        healthy=(0.02, math.inf),
        reading="the bound is for losses with logits, where D near 0 has nothing left to teach G "
        "(Chintala et al. 2016; the number is a choice); a critic's loss is negative",
    ),
    "g_loss": Meaning(
        "G's loss: the mean over the batch",
        reading="it is relative to a D that changes, and says little of the samples' quality",
    ),
    "d_grad_norm": Meaning("the L2 norm of the gradient of D's loss", least=0, reading=_NORM),
    "g_grad_norm": Meaning("the L2 norm of the gradient of G's loss", least=0, reading=_NORM),
}
# The names of keys (`Context.named`) determine a run's random numbers. The one of `discriminate` is
# "judge", the function's former name; another would change every run.


def update_discriminator(
    algorithm: Algorithm, discriminator: Player, generator: Player, inputs: UpdateInputs
) -> tuple[Player, Metrics]:
    """Updates the discriminator once, on fakes of the generator, which is not changed.

    Args:
      algorithm: the algorithm of the current phase.
      discriminator: the discriminator to update.
      generator: the generator of the fakes.
      inputs: the reals and the key of the update.

    Returns:
      The updated discriminator, and the metrics d_loss, d_grad_norm and those of the algorithm.
    """

    def batch_gradient(vars: PyTree, context: Context) -> BatchGradient:
        fake, _ = generate(algorithm, generator.params, generator.vars, context)  # lines 4 and 5
        fake = jax.lax.stop_gradient(fake)
        if algorithm.d_gradient is not None:  # lines 6 and 7
            compute = algorithm.d_gradient.compute
            return BatchGradient(*compute(discriminator.params, vars, fake, context))

        def objective(params, fake):  # line 7 without its penalty
            scores, new_vars = algorithm.discriminate(params, vars, fake, context.named("judge"))
            loss, metrics = algorithm.d_loss(scores, context.named("d_loss"))
            return loss, (new_vars, metrics)

        def penalty(params, fake):  # line 6, and the penalty of line 7
            return algorithm.penalty(params, vars, fake, context.named("penalty"))

        return arranging.gradient_of_sum(algorithm, "d", discriminator, objective, penalty, fake)

    gradient = inputs.accumulate(batch_gradient, discriminator.vars)
    return arranging.apply_gradient(algorithm, "d", discriminator, gradient)  # line 9


def update_generator(
    algorithm: Algorithm, generator: Player, discriminator: Player, inputs: UpdateInputs
) -> tuple[Player, Metrics]:
    """Updates the generator once, by scores of the discriminator, which is not changed.

    Args:
      algorithm: the algorithm of the current phase.
      generator: the generator to update.
      discriminator: the discriminator that scores the fakes.
      inputs: the reals and the key of the update.

    Returns:
      The updated generator, and the metrics g_loss, g_grad_norm and those of the algorithm.
    """

    def batch_gradient(vars: PyTree, context: Context) -> BatchGradient:
        @arranging.single_pass
        def objective(params):
            fake, new_vars = generate(algorithm, params, vars, context)  # line 11
            scores, _ = algorithm.discriminate(
                discriminator.params, discriminator.vars, fake, context.named("judge")
            )
            loss, metrics = algorithm.g_loss(scores, context.named("g_loss"))
            return loss, (new_vars, metrics)

        return arranging.gradient_of(algorithm, "g", generator, objective)

    gradient = inputs.accumulate(batch_gradient, generator.vars)
    return arranging.apply_gradient(algorithm, "g", generator, gradient)  # line 12


def update_both(
    algorithm: Algorithm, generator: Player, discriminator: Player, inputs: UpdateInputs
) -> tuple[Player, Player, Metrics]:
    """Updates both players at once, from one forward pass of each at their old parameters.

    Args:
      algorithm: the algorithm of the current phase.
      generator: the generator to update.
      discriminator: the discriminator to update.
      inputs: the reals and the key of the update.

    Returns:
      The updated generator and discriminator, and the metrics of both updates.
    """

    def batch_gradient(vars: PyTree, context: Context) -> BatchGradient:
        g_vars, d_vars = vars

        def forward(g_params, d_params):
            fake, new_g_vars = generate(algorithm, g_params, g_vars, context)
            scores, new_d_vars = algorithm.discriminate(
                d_params, d_vars, fake, context.named("judge")
            )
            return scores, (fake, (new_g_vars, new_d_vars))

        def g_objective(scores):
            return algorithm.g_loss(scores, context.named("g_loss"))

        def d_objective(scores):
            return algorithm.d_loss(scores, context.named("d_loss"))

        def penalty(d_params, fake):
            return algorithm.penalty(d_params, d_vars, fake, context.named("penalty"))

        return arranging.gradients_of_both(
            algorithm, generator, discriminator, forward, g_objective, d_objective, penalty
        )

    gradients, vars, metrics = inputs.accumulate(
        batch_gradient, (generator.vars, discriminator.vars)
    )
    gradient = BatchGradient(gradients[0], vars[0], metrics)
    generator, metrics = arranging.apply_gradient(algorithm, "g", generator, gradient)
    gradient = BatchGradient(gradients[1], vars[1], metrics)
    discriminator, metrics = arranging.apply_gradient(algorithm, "d", discriminator, gradient)
    return generator, discriminator, metrics


def generate(
    algorithm: Algorithm, params: PyTree, vars: PyTree, context: Context
) -> tuple[Batch, PyTree]:
    """Runs the generator in training mode on as many fresh latents as there are reals.

    Args:
      algorithm: the algorithm of the current phase.
      params: the generator's parameters.
      vars: the generator's variables.
      context: the context of the update, whose key draws the latents.

    Returns:
      The generated batch, and the generator's updated variables.
    """
    count = len(next(iter(context.batch.values())))
    z = algorithm.latent(context.named("latent").key, count)
    return algorithm.generate(params, vars, z, context.named("generate"))


class Order(Protocol):
    """An order of updates: a function that makes all updates of one train step.

    It returns the state with its `g`, `d` and `aug` (the state of the augmentation controller)
    updated, and the metrics of the updates.
    """

    def __call__(
        self, algorithm: Algorithm, state: GanState, inputs: StepInputs
    ) -> tuple[GanState, Metrics]: ...


def alternating(
    algorithm: Algorithm, state: GanState, inputs: StepInputs
) -> tuple[GanState, Metrics]:
    """Updates the discriminator n_critic times, then the generator once.

    The new discriminator scores the fakes of the generator's update, which come from fresh latents.
    The generator's update takes the last batch of reals, its own if `fresh_g_reals` says so.
    Arguments and results are those of an `Order`.
    """
    critic_batches = algorithm.real_batches - algorithm.fresh_g_reals

    def critic_update(carry, i):
        discriminator, aug = carry
        discriminator, metrics = update_discriminator(
            algorithm, discriminator, state.g, inputs.of_update("d", i, aug, i % critic_batches)
        )
        return (discriminator, algorithm.aug_update(aug, metrics)), metrics

    (discriminator, aug), d_metrics = inputs.repeat(  # lines 2 to 10
        critic_update, (state.d, state.aug), algorithm.n_critic
    )
    generator, discriminator = arranging.one_by_one(state.g, discriminator)
    g_inputs = inputs.of_update("g", algorithm.n_critic - 1, aug, algorithm.real_batches - 1)
    generator, g_metrics = update_generator(algorithm, generator, discriminator, g_inputs)
    return state.replace(g=generator, d=discriminator, aug=aug), d_metrics | g_metrics


def simultaneous(
    algorithm: Algorithm, state: GanState, inputs: StepInputs
) -> tuple[GanState, Metrics]:
    """Updates both players once, from their old parameters.

    Arguments and results are those of an `Order`.
    """
    generator, discriminator, metrics = update_both(
        algorithm, state.g, state.d, inputs.of_update("both", 0, state.aug)
    )
    aug = algorithm.aug_update(state.aug, metrics)
    return state.replace(g=generator, d=discriminator, aug=aug), metrics


ORDERS: dict[str, Order] = {"alternating": alternating, "simultaneous": simultaneous}


def check(order: str, n_critic: int, fresh_g_reals: bool) -> None:
    """Refuses an order that does not exist, or that does not go with the updates of D in a step.

    Args:
      order: the order of updates, a name in `ORDERS`.
      n_critic: the number of updates of the discriminator in a train step.
      fresh_g_reals: whether the generator's update has reals of its own.

    Raises:
      ConfigError: there is no such order, or it does not go with the others.
    """
    if order not in ORDERS:
        raise ConfigError(f"config.order={order!r}: there are {', '.join(ORDERS)}")
    if order == "simultaneous" and n_critic != 1:
        raise ConfigError(
            f"config.n_critic={n_critic}: config.order='simultaneous' updates both players once a "
            "step; set n_critic=1 or order='alternating'"
        )
    if order == "simultaneous" and fresh_g_reals:
        raise ConfigError(
            "config.order='simultaneous': one pass serves both players, but the generator's loss "
            "compares with reals of its own; set order='alternating', or another config.loss"
        )
