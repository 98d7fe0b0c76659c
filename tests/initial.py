"""Initial values and random draws, without a program for every network and shape."""

from functools import wraps

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.core import trace_state_clean
from jax.extend.core import Literal
from jax.interpreters import partial_eval

# Draws by the names of their programs.
DRAWS = {"_normal": jax.random.normal, "_uniform": jax.random.uniform}
THREEFRY = "threefry2x32"
# Operations on floats that NumPy computes with the same bits, and for which nothing is compiled.
EXACT = {
    "add": np.add,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "sqrt": np.sqrt,
    "copy": np.copy,
}


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
        # A literal may be a Python number, which has no type of its own for NumPy.
        return np.asarray(atom.val, atom.aval.dtype) if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        found = _computed(equation, [value(atom) for atom in equation.invars])
        values |= zip(equation.outvars, found, strict=True)
    # What needs no operation is a literal, which NumPy holds.
    found = [jax.device_put(value(atom)) for atom in jaxpr.outvars]
    return jax.tree.unflatten(jax.tree.structure(shapes), found)


def with_few_programs(draw):
    """Lets `jax.random.normal` or `uniform` share programs between arrays of like size.

    The next power of two of numbers is drawn, of which an array has the first: by Threefry they are
    those of a program of its own. What is traced, or has another generator, stays as it is.
    """

    @wraps(draw)
    def drawn(key, shape=(), *args, **kwargs):
        size = int(np.prod(shape))
        bounds = [each for each in (*args, *kwargs.values()) if isinstance(each, jax.Array)]
        shared = size > 0 and all(each.ndim == 0 for each in bounds)
        if not (shared and trace_state_clean() and str(jax.random.key_impl(key)) == THREEFRY):
            return draw(key, shape, *args, **kwargs)
        numbers = draw(key, (1 << (size - 1).bit_length(),), *args, **kwargs)
        return jax.device_put(np.asarray(numbers)[:size].reshape(shape))

    return drawn


def _computed(equation, operands):
    """Computes an equation's results, with few programs or none."""
    primitive, params = equation.primitive, equation.params
    aval = equation.outvars[0].aval
    if draw := DRAWS.get(params.get("name")):
        key, *bounds = operands
        return [with_few_programs(draw)(key, aval.shape, aval.dtype, *bounds)]
    if primitive.name in EXACT and jnp.issubdtype(aval.dtype, jnp.floating):
        return [np.asarray(EXACT[primitive.name](*map(np.asarray, operands)), aval.dtype)]
    if primitive.name == "broadcast_in_dim":
        operand, axes = np.asarray(operands[0]), params["broadcast_dimensions"]
        lengths = np.ones(len(aval.shape), int)
        lengths[list(axes)] = operand.shape
        return [np.broadcast_to(operand.reshape(lengths), aval.shape)]
    found = primitive.bind(*operands, **params)
    return found if primitive.multiple_results else [found]
