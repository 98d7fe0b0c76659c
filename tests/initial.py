"""Initial values of networks, without a program of their own for every network."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal
from jax.interpreters import partial_eval

# Draws by the names of their programs.
DRAWS = {"_normal": jax.random.normal, "_uniform": jax.random.uniform}


def initial(init, *args):
    """Returns what `init(*args)` returns, computed operation by operation.

    No values but those that the result needs are computed, so that networks are not applied, and
    few programs are compiled, which all networks share.
    """
    closed, shapes = jax.make_jaxpr(init, return_shape=True)(*args)
    jaxpr, used = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.out_avals))
    leaves = [leaf for leaf, is_used in zip(jax.tree.leaves(args), used, strict=True) if is_used]
    values = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    values |= zip(jaxpr.invars, leaves, strict=True)

    def value(atom):
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        found = _computed(equation, map(value, equation.invars))
        values |= zip(equation.outvars, found, strict=True)
    # What needs no operation is a literal, which NumPy holds.
    found = [jnp.asarray(value(atom)) for atom in jaxpr.outvars]
    return jax.tree.unflatten(jax.tree.structure(shapes), found)


def _computed(equation, operands):
    """Computes an equation's results; random numbers in arrays of few lengths, for few programs."""
    primitive, (aval, *_) = equation.primitive, [each.aval for each in equation.outvars]
    if draw := DRAWS.get(equation.params.get("name")):
        key, *bounds = operands
        # The numbers of a longer array begin with those of a shorter one.
        length = 1 << (aval.size - 1).bit_length()
        drawn = np.asarray(draw(key, (length,), aval.dtype, *bounds))
        return [jnp.asarray(drawn[: aval.size].reshape(aval.shape))]
    found = primitive.bind(*operands, **equation.params)
    return found if primitive.multiple_results else [found]
