"""Convolutions with fewer products than they have terms, for CPUs (Winograd 1980; Lavin & Gray
2016, arXiv:1509.09308).

Two neighbouring outputs of a window of r taps need r + 1 products, not 2 r: sums of inputs times
sums of taps. In two dimensions that is 9 for 16 where a window has 2 taps a side, 16 for 36
where it has 3. Only stride 1 has neighbours that overlap so; as in `ganjax.ops.blocks`, a block
of one stride by one stride is one pixel of as many times the channels, and a 4x4 window of
stride 2 has 2 taps a side.

The three maps (see `ganjax.ops.conv`) are one trilinear form, so that one decomposition serves
all: with B, G and A below, products P of the transformed

    conv:         y = A' [(G k G') . (B' x B)] A
    input_grad:   x = B  [(G k G') . (A y A')] B'
    kernel_grad:  k = G' [(A y A') . (B' x B)] G

over tiles of two outputs a side. The coefficients are 0, 1, -1 and 1/2: errors stay at a few
roundings (larger tiles would save more and lose that).
"""

import jax.numpy as jnp
from jax import lax

from ganjax.ops import blocks, chunks
from ganjax.ops.geometry import Geometry
from ganjax.ops.products import read_in_columns, transposed_first

# Taps a side -> (A', B', G): outputs from products, inputs and taps into factors.
# Lavin & Gray 2016, section 4.1, for 3 taps; for 2 it is Karatsuba's product.
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
# Outputs of a tile, a side.
TILE = 2
# Of the factors of one piece of the batch: so that they and what is made of them stay in the
# cache. Every piece more costs a turn of a loop, and its products are smaller: of 32 MiB, pieces of
# 16 are best (8: 7 to 9 % more of a step, 24: up to 10 %), of 480 one of 32 images of 64x64.
PIECE_BYTES = max(8 << 20, chunks.cache_bytes() // 2)
# Of the kernel gradient's products, measured: tiles over input channels from which on the
# factors are swapped, and input over output channels from which on the first is transposed, if
# a piece has few enough tiles to be written across quickly: of 2,048 that took ADA's step a sixth.
LEAST_TILES = 2
LEAST_RATIO = 4
MOST_TRANSPOSED = 1024


def fits(geometry) -> bool:
    """Whether the module has this convolution: 2 or 3 taps a side, whole tiles of outputs."""
    return set(geometry.shifts) <= MATRICES.keys() and not any(n % TILE for n in geometry.out)


def factor_bytes(geometry, batch: int, channels: int) -> int:
    """Of all factors made of the input, in float32."""
    (a, b), (s, t), (h, w) = geometry.shifts, geometry.strides, geometry.out
    tiles = batch * (h // TILE) * (w // TILE)
    return 4 * tiles * (a + TILE - 1) * (b + TILE - 1) * s * t * channels


def conv(x, k, geometry):
    """The forward map: (N, H, W, I), (h, w, I, O) -> (N, H', W', O)."""
    kernel = _of_kernel(k, geometry)

    def piece(x):
        products = _pairs(
            lambda a, b: lax.dot_general(a, b, (((3,), (0,)), ((), ()))),
            _of_input(x, geometry),
            kernel,
        )
        return _interleaved(_transformed(0, products, geometry))

    y = chunks.placed(piece, _wide(x), _count(geometry, x.shape[0], x.shape[3]), k)
    return y.astype(x.dtype)


def input_grad(g, k, geometry):
    """The input gradient: (N, H', W', O), (h, w, I, O) -> (N, H, W, I)."""
    if geometry.strides == (1, 1):
        # A forward map too, and that one's sums are the cheaper ones: no two tiles share outputs.
        back = Geometry((1, 1), geometry.input_grad_padding(), geometry.out, geometry.window)
        if fits(back):
            return conv(g, k[::-1, ::-1].swapaxes(2, 3), back)
    kernel = _of_kernel(k, geometry)

    def piece(g):
        products = _pairs(
            lambda a, b: lax.dot_general(a, b, (((3,), (1,)), ((), ()))),
            _of_output(g, geometry),
            kernel,
        )
        tiles = _transformed(1, products, geometry, transpose=True)
        return blocks.unblock(_untiled(tiles), geometry)

    x = chunks.placed(piece, _wide(g), _count(geometry, g.shape[0], k.shape[2]), k)
    return x.astype(g.dtype)


def kernel_grad(x, g, geometry):
    """The kernel gradient: (N, H, W, I), (N, H', W', O) -> (h, w, I, O)."""
    inputs, outputs = geometry.strides[0] * geometry.strides[1] * x.shape[3], g.shape[3]
    tiles = x.shape[0] * (geometry.out[0] // TILE) * (geometry.out[1] // TILE)
    # The first factor costs more, so it is the narrower one, but for the deepest layers, whose
    # kernels then would be what is transposed at length.
    swapped = outputs < inputs and tiles > LEAST_TILES * inputs
    count = _count(geometry, *x.shape[::3])
    product = read_in_columns
    if swapped and inputs >= LEAST_RATIO * outputs and tiles <= MOST_TRANSPOSED * count:
        product = transposed_first

    def piece(x, g):
        factors = _of_input(x, geometry), _of_output(g, geometry)
        return _pairs(product, *(reversed(factors) if swapped else factors))

    total = chunks.summed(piece, _wide(x), _wide(g), count)
    taps = _transformed(2, total, geometry, transpose=True)
    kernel = jnp.stack([jnp.stack(row) for row in taps])
    if swapped:
        kernel = kernel.swapaxes(2, 3)
    return blocks.unblock_kernel(kernel, geometry).astype(x.dtype)


def _count(geometry, batch: int, channels: int) -> int:
    return chunks.count(batch, factor_bytes(geometry, batch, channels), PIECE_BYTES)


def _wide(x):
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _of_kernel(k, geometry):
    """(h, w, I, O) -> a grid of (s * t * I, O)."""
    k = blocks.block_kernel(_wide(k), geometry)
    return _transformed(2, [list(row) for row in k], geometry)


def _of_input(x, geometry):
    """(N, H, W, I) -> a grid of (N, H' / 2, W' / 2, s * t * I)."""
    sides = [a + TILE - 1 for a in geometry.shifts]
    # Written once as blocks: else as padded images, whose pixels every factor puts into blocks.
    x = lax.optimization_barrier(blocks.block(x, geometry))
    return _transformed(1, _tiled(x, sides), geometry)


def _of_output(g, geometry):
    """(N, H', W', O) -> a grid of (N, H' / 2, W' / 2, O)."""
    return _transformed(0, _tiled(g, [TILE, TILE]), geometry, transpose=True)


def _transformed(which: int, grid, geometry, *, transpose: bool = False):
    """A grid of arrays, a list of rows, times MATRICES[...][which] from both sides."""
    down, across = (MATRICES[a][which] for a in geometry.shifts)
    if transpose:
        down, across = list(zip(*down, strict=True)), list(zip(*across, strict=True))
    grid = [_combined(across, row) for row in grid]
    columns = [_combined(down, column) for column in zip(*grid, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def _combined(matrix, arrays):
    """The sums of arrays that the rows of a matrix ask for."""

    def combined(row):
        terms = [(factor, array) for factor, array in zip(row, arrays, strict=True) if factor]
        # Positive ones first, so that others are taken from a sum and not negated by themselves:
        # 2 % of the lines of wgan_gp:celeb_a's program.
        terms.sort(key=lambda term: term[0] < 0)
        (factor, array), *rest = terms
        total = _times(factor, array)
        for factor, array in rest:
            term = _times(abs(factor), array)
            total = total + term if factor > 0 else total - term
        return total

    return [combined(row) for row in matrix]


def _times(factor, array):
    return array if factor == 1 else -array if factor == -1 else factor * array


def _pairs(function, these, those):
    return [
        [function(a, b) for a, b in zip(this, that, strict=True)]
        for this, that in zip(these, those, strict=True)
    ]


def _tiled(x, sides):
    """(N, H, W, C) -> x at each place of tiles of sides[0] x sides[1], two apart."""
    return [
        [
            x[:, i : x.shape[1] - sides[0] + i + 1 : TILE, j : x.shape[2] - sides[1] + j + 1 : TILE]
            for j in range(sides[1])
        ]
        for i in range(sides[0])
    ]


def _interleaved(grid):
    """A grid of the outputs at each place of tiles, (N, H, W, C) each -> (N, 2 H, 2 W, C)."""
    rows = [jnp.stack(row, 3) for row in grid]
    n, h, w, _, c = rows[0].shape
    return jnp.stack(rows, 2).reshape(n, h * TILE, w * TILE, c)


def _untiled(grid):
    """The transpose of `_tiled`: adds up what the tiles share.

    Place after place is written into what there is. In sums of padded places XLA finds out for
    every number alone where it comes from: with the products' sums that this reads, 10.5 ms instead
    of 3.8 for four pieces of 8x8 tiles of 8 images and 512 channels.
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
