"""Initial values of networks, without a program of their own for every network."""

import jax
import jax.numpy as jnp
from jax.interpreters import partial_eval


def initial(init, *args):
    """Returns what `init(*args)` returns, computed operation by operation.

    No values but those that the result needs are computed, so that networks are not applied. Their
    parameters have few different shapes, and a program that draws one is compiled once for all.
    """
    closed, shapes = jax.make_jaxpr(init, return_shape=True)(*args)
    needed = [True] * len(closed.out_avals)
    jaxpr, used = partial_eval.dce_jaxpr(closed.jaxpr, needed)
    leaves = [leaf for leaf, is_used in zip(jax.tree.leaves(args), used, strict=True) if is_used]
    found = jax.core.eval_jaxpr(jaxpr, closed.consts, *leaves)
    # What needs no operation is a literal of the program, which NumPy holds.
    return jax.tree.unflatten(jax.tree.structure(shapes), map(jnp.asarray, found))
