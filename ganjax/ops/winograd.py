"""Convolutions with fewer products than they have terms, for CPUs.

Winograd 1980, "Arithmetic complexity of computations"; Lavin & Gray 2016, arXiv:1509.09308.

Two neighbouring outputs of a window of r taps need r + 1 products instead of 2 r: each multiplies a
sum of inputs by a sum of taps. In two dimensions that makes 9 products instead of 16 for windows of
2x2 taps, and 16 instead of 36 for 3x3. Only at stride 1 do neighbouring windows overlap that way,
so as in `ganjax.ops.blocks` a block of one stride by one stride is taken as one pixel with as many
times the channels: a 4x4 window of stride 2 has 2x2 taps.

One decomposition serves all three maps, since they are one trilinear form (`ganjax.ops.conv`). With
the matrices B, G and A below and elementwise products P of what they transform,

    conv:         y = A' [(G k G') . (B' x B)] A
    input_grad:   x = B  [(G k G') . (A y A')] B'
    kernel_grad:  k = G' [(A y A') . (B' x B)] G

over tiles of 2x2 outputs. The coefficients are 0, 1, -1 and 1/2, so that errors stay at a few
roundings; larger tiles would save more products and lose that.
"""

import jax
import jax.numpy as jnp
from jax import lax

from ganjax.ops import blocks
from ganjax.ops.chunks import cache_bytes, count_chunks, sum_chunks, write_chunks
from ganjax.ops.geometry import Geometry
from ganjax.ops.products import product_flattened, product_transposed

# Taps a side -> (A', B', G): outputs from products, factors from inputs, factors from taps.
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
OUTPUT, INPUT, KERNEL = range(3)  # The places of A', B' and G in these.
# Outputs a side of a tile.
TILE = 2
# Bytes of the factors of one chunk: they and the products should stay in the cache, and smaller
# chunks make more iterations and smaller products (docs/speed.md).
CHUNK_BYTES = max(8 << 20, cache_bytes() // 2)
# The kernel gradient's products swap their two factors from so many tiles an input channel on.
LEAST_TILES = 2
# They write the first factor transposed from so many input channels an output channel on, if a
# chunk has few enough tiles for that to be quick (docs/speed.md).
LEAST_RATIO = 4
MOST_TRANSPOSED = 1024


def fits(geometry: Geometry) -> bool:
    """Whether this module computes the convolution: with 2 or 3 taps a side and whole tiles."""
    return set(geometry.shifts) <= MATRICES.keys() and not any(n % TILE for n in geometry.out)


def factor_bytes(geometry: Geometry, batch: int, channels: int) -> int:
    """Returns the bytes of all factors of a batch's inputs in float32."""
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
        # It then is a forward map too, whose sums are cheaper: no two tiles share an output.
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
    # The first factor costs more, so it should be the narrower one; except in the deepest layers,
    # where swapping would make the large kernels be transposed at the end.
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
    """Returns the number of chunks for images of so many channels."""
    return count_chunks(batch, factor_bytes(geometry, batch, channels), CHUNK_BYTES)


def _wide(x):
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _kernel_factors(k, geometry):
    """(h, w, I, O) -> a grid of (s * t * I, O), with (s, t) the strides."""
    k = blocks.block_kernel(_wide(k), geometry)
    return _transform(KERNEL, [list(row) for row in k], geometry)


def _input_factors(x, geometry):
    """(N, H, W, I) -> a grid of (N, H' / 2, W' / 2, s * t * I), with (s, t) the strides."""
    sides = [a + TILE - 1 for a in geometry.shifts]
    # Without the barrier XLA stores padded images, and each factor cuts them into blocks again.
    x = lax.optimization_barrier(blocks.block(x, geometry))
    return _transform(INPUT, _places(x, sides), geometry)


def _output_factors(g, geometry):
    """(N, H', W', O) -> a grid of (N, H' / 2, W' / 2, O)."""
    return _transform(OUTPUT, _places(g, [TILE, TILE]), geometry, transpose=True)


def _transform(which: int, grid, geometry, *, transpose: bool = False):
    """Multiplies a grid of arrays, a list of rows, by one of the matrices from both sides.

    Args:
      which: OUTPUT, INPUT or KERNEL, the matrix in MATRICES.
      grid: the arrays, all of one shape.
      geometry: the convolution's, whose taps say which matrices they are.
      transpose: whether the matrices are transposed.
    """
    down, across = (MATRICES[a][which] for a in geometry.shifts)
    if transpose:
        down, across = list(zip(*down, strict=True)), list(zip(*across, strict=True))
    grid = [_combine(across, row) for row in grid]
    columns = [_combine(down, column) for column in zip(*grid, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def _combine(matrix, arrays):
    """Multiplies a vector of arrays by a matrix: a weighted sum of them for each of its rows."""

    def weighted_sum(row):
        terms = [(factor, array) for factor, array in zip(row, arrays, strict=True) if factor]
        # Positive terms come first: others then are subtracted and need no negation of their own,
        # which makes the program smaller.
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
    """(N, H, W, C) -> a grid of x at each place of its tiles, which are `sides` wide, two apart."""
    return [
        [
            x[:, i : x.shape[1] - sides[0] + i + 1 : TILE, j : x.shape[2] - sides[1] + j + 1 : TILE]
            for j in range(sides[1])
        ]
        for i in range(sides[0])
    ]


def _interleave(grid):
    """A grid of the outputs at each place of their tiles, (N, H, W, C) each -> (N, 2 H, 2 W, C)."""
    rows = [jnp.stack(row, 3) for row in grid]
    n, h, w, _, c = rows[0].shape
    return jnp.stack(rows, 2).reshape(n, h * TILE, w * TILE, c)


def _add_places(grid):
    """Transposes `_places`: adds up the pixels that tiles share.

    The places are written one after another into one array. Of a sum of padded places XLA makes a
    loop that finds for every number where it comes from, and is slower (docs/speed.md).
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
