"""Computes functions of a batch on CPUs in chunks that stay in the cache.

A loop computes one chunk after another, so that the program holds the function once and the chunks
share its memory. The loop also keeps XLA from fusing the function into a later operation that
repeats pixels, which would compute a pixel anew for every repetition. A convolution in such a loop
must have the order of axes of `ganjax.ops.canonical`.
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
# The size that is assumed where there is no such folder (docs/speed.md).
USUAL_CACHE = 32 << 20


@cache
def cache_bytes() -> int:
    """Returns the size in bytes of the largest cache of the machine's first core.

    Where the operating system does not tell, this is `USUAL_CACHE`.
    """
    sizes = [path.read_text().strip() for path in CACHES.glob("index*/size")]
    return max((int(s[:-1]) << 10 for s in sizes if s.endswith("K")), default=USUAL_CACHE)


def count_chunks(batch: int, total_bytes: int, chunk_bytes: int) -> int:
    """Returns the number of equal chunks into which to cut a batch of images.

    The number is the least that divides the batch and keeps a chunk within `chunk_bytes`, or the
    batch size where a single image takes more.

    Args:
      batch: the number of images.
      total_bytes: the bytes of what is computed for the whole batch.
      chunk_bytes: the bytes that a chunk may take.
    """
    needed = min(-(-total_bytes // chunk_bytes), batch)
    return next(n for n in range(needed, batch + 1) if batch % n == 0)


def map_chunks(function: Callable[[Any], jax.Array], arrays: Any, count: int) -> jax.Array:
    """Computes `function(arrays)` chunk by chunk, in a form that JAX can differentiate.

    Args:
      function: takes a tree of arrays and returns an array, each with the batch as its first axis;
        an image's result depends on that image alone.
      arrays: the tree of arrays of the whole batch.
      count: the number of chunks, which divides the batch.

    Returns:
      The function's result for the whole batch.
    """
    if count == 1:
        return function(arrays)
    y = lax.map(function, jax.tree.map(lambda array: _cut(array, count), arrays))
    return y.reshape(-1, *y.shape[2:])


def write_chunks(
    function: Callable[[jax.Array], jax.Array], x: jax.Array, count: int, kernel: jax.Array
) -> jax.Array:
    """Computes `function(x)` chunk by chunk and writes each in place into the result.

    This takes less memory than `map_chunks`, but it is only for the lowerings of primitives, which
    JAX does not differentiate: it would keep the whole result for every chunk.

    Args:
      function: as in `map_chunks`, of one array.
      x: the array of the whole batch.
      count: the number of chunks, which divides the batch.
      kernel: an array that the function also reads; the result is not allocated before this array
        has been computed.

    Returns:
      The function's result for the whole batch.
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
    """Computes `function(x, g)` chunk by chunk, where its results are sums over the batch.

    Like `write_chunks` this is only for the lowerings of primitives.

    Args:
      function: takes two arrays with the batch as their first axis and returns a tree of arrays.
      x: the first array of the whole batch.
      g: the second array of the whole batch.
      count: the number of chunks, which divides the batch.

    Returns:
      The sum of the function's results for all chunks.
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
    """Returns an array to be overwritten, which is not allocated before other arrays exist.

    Zeros would be allocated by XLA on CPU when the program begins, once for each loop, and held
    until the loop runs (docs/memory.md). Values that are read from the loop's inputs prevent that.
    """
    return jnp.full(shape, sum(array[(0,) * array.ndim].astype(dtype) for array in after))


def _cut(x: jax.Array, count: int) -> jax.Array:
    return x.reshape(count, x.shape[0] // count, *x.shape[1:])
