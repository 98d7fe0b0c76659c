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


def summed(function: Callable, x: jax.Array, g: jax.Array, n: int):
    """function(x, g), a tree of arrays that are sums over the batch, from n pieces of it."""
    if n == 1:
        return function(x, g)
    pieces = _cut(x, n), _cut(g, n)
    made = jax.eval_shape(function, *(a[0] for a in pieces))
    start = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), made)

    def add(total, piece):
        return jax.tree.map(jnp.add, total, function(*piece)), None

    return lax.scan(add, start, pieces)[0]


def _cut(x: jax.Array, n: int) -> jax.Array:
    return x.reshape(n, x.shape[0] // n, *x.shape[1:])
