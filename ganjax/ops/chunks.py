"""Computes functions of a batch in chunks that stay in the cache, for CPUs.

The chunks are computed one after another in a loop, so that the program holds the function once and
the chunks share its memory. The loop is also what keeps XLA from fusing the function into a later
operation that repeats pixels, which would compute the sums of a pixel for every repetition. A
convolution in such a loop must have the order of axes that `ganjax.ops.canonical` has.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

# The folder in which Linux describes the caches of its first core.
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
# Bytes that are assumed where it does not: those of the machine of docs/speed.md.
USUAL_CACHE = 32 << 20


@cache
def cache_bytes() -> int:
    """Returns the size in bytes of the largest cache that the first core uses."""
    sizes = [path.read_text().strip() for path in CACHES.glob("index*/size")]
    return max((int(s[:-1]) << 10 for s in sizes if s.endswith("K")), default=USUAL_CACHE)


def count_chunks(batch: int, total_bytes: int, chunk_bytes: int) -> int:
    """Returns the number of equal chunks into which to cut a batch of images.

    It is the least that divides the batch and keeps a chunk within `chunk_bytes`, except that a
    chunk has at least one image.

    Args:
      batch: the number of images.
      total_bytes: the bytes that the whole batch takes.
      chunk_bytes: the bytes that a chunk may take.
    """
    needed = min(-(-total_bytes // chunk_bytes), batch)
    return next(n for n in range(needed, batch + 1) if batch % n == 0)


def map_chunks(function: Callable[[Any], jax.Array], arrays: Any, count: int) -> jax.Array:
    """Computes `function(arrays)` chunk by chunk; it is differentiated as any other function.

    Args:
      function: takes a tree of arrays and returns an array, each with the batch as its first axis;
        an image's result depends on that image alone.
      arrays: the tree of arrays of the whole batch.
      count: the number of chunks, which divides the batch.
    """
    if count == 1:
        return function(arrays)
    y = lax.map(function, jax.tree.map(lambda array: _cut(array, count), arrays))
    return y.reshape(-1, *y.shape[2:])


def write_chunks(
    function: Callable[[jax.Array], jax.Array], x: jax.Array, count: int, kernel: jax.Array
) -> jax.Array:
    """Computes `function(x)` chunk by chunk, each written in place into the result.

    This takes less memory than `map_chunks`, but it is only for maps with a `jax.custom_vjp`: to
    differentiate through the loop JAX would keep the whole result for every chunk.

    Args:
      function: as in `map_chunks`, of one array.
      x: the array of the whole batch.
      count: the number of chunks, which divides the batch.
      kernel: an array that the function also reads; the result's memory is not taken before it has
        been computed.
    """
    if count == 1:
        return function(x)
    x = _cut(x, count)
    result = jax.eval_shape(function, x[0])

    def write(i, y):
        return lax.dynamic_update_index_in_dim(y, function(x[i]), i, 0)

    y = lax.fori_loop(0, count, write, _buffer((count, *result.shape), result.dtype, x, kernel))
    return y.reshape(-1, *y.shape[2:])


def sum_chunks(
    function: Callable[[jax.Array, jax.Array], Any], x: jax.Array, g: jax.Array, count: int
) -> Any:
    """Computes `function(x, g)`, whose results are sums over the batch, chunk by chunk.

    Like `write_chunks` it is only for maps with a `jax.custom_vjp`.

    Args:
      function: takes two arrays with the batch as their first axis and returns a tree of arrays.
      x: the first array of the whole batch.
      g: the second array of the whole batch.
      count: the number of chunks, which divides the batch.
    """
    if count == 1:
        return function(x, g)
    x, g = _cut(x, count), _cut(g, count)
    result = jax.eval_shape(function, x[0], g[0])

    def add(i, total):
        chunk = function(x[i], g[i])
        return jax.tree.map(lambda a, b: jnp.where(i > 0, a, 0) + b, total, chunk)

    start = jax.tree.map(lambda a: _buffer(a.shape, a.dtype, x, g), result)
    return lax.fori_loop(0, count, add, start)


def _buffer(shape, dtype, *after: jax.Array) -> jax.Array:
    """Returns an array of arbitrary values, to be overwritten, made after other arrays exist.

    Zeros, with which loops usually begin, XLA's CPU makes when the program begins, a copy for each
    loop, and holds until the loop runs (docs/memory.md). Values read from an input prevent that.
    """
    return jnp.full(shape, sum(array[(0,) * array.ndim].astype(dtype) for array in after))


def _cut(x: jax.Array, count: int) -> jax.Array:
    return x.reshape(count, x.shape[0] // count, *x.shape[1:])
