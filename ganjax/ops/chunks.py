"""A map of a batch in pieces that stay in the cache, for CPUs.

A loop, so that the pieces are compiled once and share their memory, and what follows is not
computed into them: XLA takes a reader that repeats pixels together with the sums that they are
made of, and makes these sums for every repetition. A convolution in such a loop must have the axes
of `ganjax.ops.canonical`.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import lax

# Where Linux describes the caches of its first core.
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
# Of a machine that does not: what a core complex of the EPYC has on which the rest was measured.
USUAL_CACHE = 32 << 20


@cache
def cache_bytes() -> int:
    """Of the largest cache that the first core has a part in."""
    sizes = [path.read_text().strip() for path in CACHES.glob("index*/size")]
    return max((int(s[:-1]) << 10 for s in sizes if s.endswith("K")), default=USUAL_CACHE)


def count(batch: int, total: int, most: int) -> int:
    """Into how many equal pieces a batch of images is cut so that each takes at most `most`.

    Args:
      batch: images.
      total: bytes that all of them take.
      most: bytes of a piece, if it has more than one image.
    """
    needed = min(-(-total // most), batch)
    return next(n for n in range(needed, batch + 1) if batch % n == 0)


def mapped(function: Callable, x, n: int) -> jax.Array:
    """function(x), computed by n pieces of the batch, the first axis of x's arrays and of it."""
    if n == 1:
        return function(x)
    y = lax.map(function, jax.tree.map(lambda array: _cut(array, n), x))
    return y.reshape(-1, *y.shape[2:])


def placed(function: Callable, x: jax.Array, n: int, kernel: jax.Array) -> jax.Array:
    """As `mapped`, in less memory, but for what has a derivative of its own.

    Through this loop JAX's would keep the whole result for every piece.

    Args:
      function: as in `mapped`.
      x: likewise, one array.
      n: likewise.
      kernel: what the function reads beside x, so that memory is taken no earlier than it is there.

    Returns:
      function(x).
    """
    if n == 1:
        return function(x)
    x = _cut(x, n)
    made = jax.eval_shape(function, x[0])

    def place(i, y):
        return lax.dynamic_update_index_in_dim(y, function(x[i]), i, 0)

    y = lax.fori_loop(0, n, place, _anything((n, *made.shape), made.dtype, x, kernel))
    return y.reshape(-1, *y.shape[2:])


def summed(function: Callable, x: jax.Array, g: jax.Array, n: int):
    """function(x, g), a tree of arrays that are sums over the batch, from n pieces of it.

    For what has a derivative of its own, as `placed`.
    """
    if n == 1:
        return function(x, g)
    x, g = _cut(x, n), _cut(g, n)
    made = jax.eval_shape(function, x[0], g[0])

    def add(i, total):
        piece = function(x[i], g[i])
        return jax.tree.map(lambda a, b: jnp.where(i > 0, a, 0) + b, total, piece)

    start = jax.tree.map(lambda a: _anything(a.shape, a.dtype, x, g), made)
    return lax.fori_loop(0, n, add, start)


def _anything(shape, dtype, *after: jax.Array) -> jax.Array:
    """An array that is to be overwritten, made no earlier than others are.

    A loop's own zeros XLA's CPU makes when the program begins, once for all loops and a copy for
    each, held until its turn: a fifth of the temporaries of DCGAN's step, two fifths at batch 128.
    """
    return jnp.full(shape, sum(array[(0,) * array.ndim].astype(dtype) for array in after))


def _cut(x: jax.Array, n: int) -> jax.Array:
    return x.reshape(n, x.shape[0] // n, *x.shape[1:])
