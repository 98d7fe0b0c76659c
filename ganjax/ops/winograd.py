"""Computes convolutions on CPUs with fewer products than they have terms.

Winograd 1980, "Arithmetic complexity of computations"; Lavin & Gray 2016, arXiv:1509.09308.

Two neighbouring outputs of a window of r taps need r + 1 products instead of 2 r: each multiplies a
sum of inputs by a sum of taps. In two dimensions that makes 9 products instead of 16 for windows of
2x2 taps, and 16 instead of 36 for 3x3. Only at stride 1 do neighbouring windows overlap that way.
So, as in `ganjax.ops.blocks`, a block of one stride by one stride is taken as one pixel with as
many times the channels: a 4x4 window of stride 2 has 2x2 taps.

One decomposition serves all three maps, since they are one trilinear form
(`ganjax.ops.convolutions`). With the matrices A, B and G below, which stand in `MATRICES`, and the
elementwise product `.`,

    conv:         y = A' [(G k G') . (B' x B)] A
    input_grad:   x = B  [(G k G') . (A y A')] B'
    kernel_grad:  k = G' [(A y A') . (B' x B)] G

over tiles of 2x2 outputs. The coefficients are 0, 1, -1 and 1/2, so that errors stay at a few
roundings. Larger tiles would save more products but have larger errors.
"""

import jax
import jax.numpy as jnp
from jax import lax

from ganjax.ops import blocks
from ganjax.ops.chunks import cache_bytes, count_chunks, sum_chunks, write_chunks
from ganjax.ops.geometry import Geometry
from ganjax.ops.products import product_flattened, product_transposed

# For each number of taps a side (A', B', G): outputs of products, factors of inputs, of taps.
# Lavin & Gray 2016, section 4.1, for 3 taps; Karatsuba's product for 2.
MATRICES = {
    2: (
        ((1, 1, 0), (0, 1, -1)),
        ((1, -1, 0), (0, 1, 0), (0, 1, -1)),
        ((1, 0), (1, 1), (0, 1)),
    ),
    3: (
        ((1, 1, 1, 0), (0, 1, -1, -1)),
        ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
        ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
    ),
}
OUTPUT, INPUT, KERNEL = range(3)  # The indices of A', B' and G in MATRICES[taps].
# The height and width of a tile of outputs.
TILE = 2
# Bytes of the factors of one chunk: they and the products should stay in the cache, and smaller
# chunks make more iterations and smaller products (docs/speed.md).
CHUNK_BYTES = max(8 << 20, cache_bytes() // 2)
# The kernel gradient swaps the factors of its products beyond so many tiles per input channel.
LEAST_TILES = 2
# Swapped, it writes a transposed first factor from so many input channels per output channel on,
# if a chunk has few enough tiles for that to be quick (docs/speed.md).
LEAST_RATIO = 4
MOST_TRANSPOSED = 1024


def fits(geometry: Geometry) -> bool:
    """Returns whether this module computes the convolution.

    It does if a window spans 2 or 3 strides a side and the output is a whole number of tiles.
    """
    return set(geometry.shifts) <= MATRICES.keys() and not any(n % TILE for n in geometry.out)


def factor_bytes(geometry: Geometry, batch: int, channels: int) -> int:
    """Returns the bytes that the factors of a batch of inputs take in float32."""
    (a, b), (s, t), (h, w) = geometry.shifts, geometry.strides, geometry.out
    tiles = batch * (h // TILE) * (w // TILE)
    return 4 * tiles * (a + TILE - 1) * (b + TILE - 1) * s * t * channels


def conv(x: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the forward map: (N, H, W, I), (h, w, I, O) -> (N, H', W', O)."""
    kernel_factors = _kernel_factors(k, geometry)

    def conv_chunk(x):
        products = _products(
            lambda a, b: lax.dot_general(a, b, (((3,), (0,)), ((), ()))),
            _input_factors(x, geometry),
            kernel_factors,
        )
        return _interleave(_transform(OUTPUT, products, geometry))

    y = write_chunks(conv_chunk, _wide(x), _count(geometry, x.shape[0], x.shape[3]), k)
    return y.astype(x.dtype)


def input_grad(g: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the input gradient: (N, H', W', O), (h, w, I, O) -> (N, H, W, I)."""
    if geometry.strides == (1, 1):
        # It is then a forward map too, whose sums are cheaper: no two tiles share an output.
        reverse = Geometry((1, 1), geometry.input_grad_padding(), geometry.out, geometry.window)
        if fits(reverse):
            return conv(g, k[::-1, ::-1].swapaxes(2, 3), reverse)
    kernel_factors = _kernel_factors(k, geometry)

    def input_grad_of_chunk(g):
        products = _products(
            lambda a, b: lax.dot_general(a, b, (((3,), (1,)), ((), ()))),
            _output_factors(g, geometry),
            kernel_factors,
        )
        places = _transform(INPUT, products, geometry, transpose=True)
        return blocks.unblock(_add_places(places), geometry)

    x = write_chunks(input_grad_of_chunk, _wide(g), _count(geometry, g.shape[0], k.shape[2]), k)
    return x.astype(g.dtype)


def kernel_grad(x: jax.Array, g: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the kernel gradient: (N, H, W, I), (N, H', W', O) -> (h, w, I, O)."""
    inputs, outputs = geometry.strides[0] * geometry.strides[1] * x.shape[3], g.shape[3]
    tiles = x.shape[0] * (geometry.out[0] // TILE) * (geometry.out[1] // TILE)
    # The first factor costs more, so it should be the narrower one, except in the deepest layers:
    # there swapping would transpose large kernels at the end.
    swapped = outputs < inputs and tiles > LEAST_TILES * inputs
    count = _count(geometry, *x.shape[::3])
    product = product_flattened
    if swapped and inputs >= LEAST_RATIO * outputs and tiles <= MOST_TRANSPOSED * count:
        product = product_transposed

    def products_of_chunk(x, g):
        factors = _input_factors(x, geometry), _output_factors(g, geometry)
        return _products(product, *(reversed(factors) if swapped else factors))

    products = sum_chunks(products_of_chunk, _wide(x), _wide(g), count)
    taps = _transform(KERNEL, products, geometry, transpose=True)
    kernel = jnp.stack([jnp.stack(row) for row in taps])
    if swapped:
        kernel = kernel.swapaxes(2, 3)
    return blocks.unblock_kernel(kernel, geometry).astype(x.dtype)


def _count(geometry, batch: int, channels: int) -> int:
    """Returns the number of chunks of a batch of images with this number of channels."""
    return count_chunks(batch, factor_bytes(geometry, batch, channels), CHUNK_BYTES)


def _wide(x):
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _kernel_factors(k, geometry):
    """Transforms a kernel (h, w, I, O) to a grid of (s * t * I, O), with (s, t) the strides."""
    k = blocks.block_kernel(_wide(k), geometry)
    return _transform(KERNEL, [list(row) for row in k], geometry)


def _input_factors(x, geometry):
    """Transforms inputs (N, H, W, I) to a grid of (N, H' / 2, W' / 2, s * t * I) factors.

    (s, t) are the strides.
    """
    sides = [a + TILE - 1 for a in geometry.shifts]
    # Without the barrier XLA stores padded images, and each factor cuts them into blocks again.
    x = lax.optimization_barrier(blocks.block(x, geometry))
    return _transform(INPUT, _places(x, sides), geometry)


def _output_factors(g, geometry):
    """Transforms cotangents (N, H', W', O) to a grid of (N, H' / 2, W' / 2, O) factors."""
    return _transform(OUTPUT, _places(g, [TILE, TILE]), geometry, transpose=True)


def _transform(which: int, grid, geometry, *, transpose: bool = False):
    """Multiplies a grid of arrays, a list of rows, by one of the matrices from both sides.

    Args:
      which: OUTPUT, INPUT or KERNEL, the matrix in MATRICES.
      grid: the arrays, all of one shape.
      geometry: the geometry of the convolution, whose numbers of taps choose the matrices.
      transpose: whether the matrices are transposed.
    """
    down, across = (MATRICES[a][which] for a in geometry.shifts)
    if transpose:
        down, across = list(zip(*down, strict=True)), list(zip(*across, strict=True))
    grid = [_combine(across, row) for row in grid]
    columns = [_combine(down, column) for column in zip(*grid, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def _combine(matrix, arrays):
    """Multiplies a vector of arrays by a matrix, whose rows hold the weights of the sums."""

    def weighted_sum(row):
        terms = [(factor, array) for factor, array in zip(row, arrays, strict=True) if factor]
        # Positive terms come first: the others are then subtracted and need no negation of their
        # own, which makes the program smaller.
        terms.sort(key=lambda term: term[0] < 0)
        (factor, array), *rest = terms
        total = _times(factor, array)
        for factor, array in rest:
            term = _times(abs(factor), array)
            total = total + term if factor > 0 else total - term
        return total

    return [weighted_sum(row) for row in matrix]


def _times(factor, array):
    return array if factor == 1 else -array if factor == -1 else factor * array


def _products(function, grid, other):
    """Applies a function to each pair of arrays at the same place of two grids."""
    return [
        [function(a, b) for a, b in zip(row, other_row, strict=True)]
        for row, other_row in zip(grid, other, strict=True)
    ]


def _places(x, sides):
    """Returns a grid of the pixels (N, H, W, C) of x at each place of its tiles.

    Tiles are `sides` (height, width) large and begin TILE pixels apart.
    """
    return [
        [
            x[:, i : x.shape[1] - sides[0] + i + 1 : TILE, j : x.shape[2] - sides[1] + j + 1 : TILE]
            for j in range(sides[1])
        ]
        for i in range(sides[0])
    ]


def _interleave(grid):
    """Assembles images (N, 2 H, 2 W, C) from a grid of the pixels (N, H, W, C) of their tiles."""
    rows = [jnp.stack(row, 3) for row in grid]
    n, h, w, _, c = rows[0].shape
    return jnp.stack(rows, 2).reshape(n, h * TILE, w * TILE, c)


def _add_places(grid):
    """Computes the transpose of `_places`, which adds up the pixels that tiles share.

    The places are written one after another into one array. XLA would compute a sum of padded
    places by a slower loop, which looks up the source of every number (docs/speed.md).
    """
    n, h, w, c = grid[0][0].shape
    sides = len(grid), len(grid[0])
    lower, wider = ((side - 1) // TILE for side in sides)
    x = jnp.zeros((n, h + lower, TILE, w + wider, TILE, c), grid[0][0].dtype)
    for i, row in enumerate(grid):
        for j, place in enumerate(row):
            place = place[:, :, None, :, None]
            start = 0, i // TILE, i % TILE, j // TILE, j % TILE, 0
            if max(i, j) >= TILE:
                end = [a + b for a, b in zip(start, place.shape, strict=True)]
                place += lax.slice(x, start, end)
            x = lax.dynamic_update_slice(x, place, start)
    x = x.reshape(n, (h + lower) * TILE, (w + wider) * TILE, c)
    return x[:, : h * TILE + sides[0] - TILE, : w * TILE + sides[1] - TILE]
