"""Orthogonal wavelets, and the static matrices of filtering an axis with them.

NumPy computes them in float64 while a program is built: what runs is a product with a constant.
"""

from functools import cache

import numpy as np

# The scaling filter of the least asymmetric wavelet of six vanishing moments (Daubechies 1992,
# "Ten Lectures on Wavelets", table 6.3), whose sum is sqrt 2. A test derives it.
SYM6 = np.array(
    [
        0.015404109327027373,
        0.0034907120842174702,
        -0.11799011114819057,
        -0.048311742585633,
        0.4910559419267466,
        0.787641141030194,
        0.3379294217276218,
        -0.07263752278646252,
        -0.021060292512300564,
        0.04472490177066578,
        0.0017677118642428036,
        -0.007800708325034148,
    ]
)
# The scaling filter of two vanishing moments: Daubechies' own, in closed form.
SYM2 = np.array([1 + 3**0.5, 3 + 3**0.5, 3 - 3**0.5, 1 - 3**0.5]) / (4 * 2**0.5)
# Pixels of the doubled grid that downsampling needs beyond either end.
REACH = len(SYM6) // 2 - 1

# Pixels of the doubled grid by which `upsampling` moves an image to the right: sym6 is not
# symmetric, and its centroid off its middle. Left out, a flip would move an image by 0.4 pixels.
SHIFT = float(np.arange(len(SYM6)) @ SYM6[::-1] / SYM6.sum()) - (len(SYM6) - 1) / 2


def mirrored(index: np.ndarray, size: int) -> np.ndarray:
    """Folds indices into an axis that reflects about its end pixels: d c b | a b c d | c b a."""
    if size == 1:
        return np.zeros_like(index)
    index = np.mod(index, 2 * (size - 1))
    return np.minimum(index, 2 * (size - 1) - index)


@cache
def upsampling(size: int) -> np.ndarray:
    """Returns the matrix that brings a mirrored axis to the grid of twice the pixels, with sym6.

    The mirrored axis is periodic, so that L = 4 (size - 1) pixels, one period of the doubled
    grid from pixel 0 on, hold all of it: no margin can be too small. Pixel k covers the pixels 2k
    and 2k + 1 of the doubled grid.

    Args:
      size: pixels of the axis.

    Returns:
      (L + 1, size); the last row is the first one again.
    """
    taps = 2**0.5 * SYM6[::-1]  # H(1/z): the other way round as when downsampling.
    length = max(4 * (size - 1), 2)
    out = np.zeros((length, size))
    for m in range(length):
        for k in range((m - REACH) // 2 - 1, (m + REACH) // 2 + 2):
            if 0 <= m - 2 * k + REACH < len(taps):
                out[m, mirrored(np.array([k]), size)] += taps[m - 2 * k + REACH]
    return np.concatenate([out, out[:1]])


@cache
def downsampling(size: int) -> np.ndarray:
    """Returns the matrix that brings an axis back from the doubled grid, with sym6.

    It undoes `upsampling` exactly, since sym6 is orthogonal.

    Args:
      size: pixels of the axis.

    Returns:
      (size, 2 size + 2 REACH), from the pixels -REACH to 2 size + REACH - 1 of the doubled grid.
    """
    taps = SYM6[::-1] / 2**0.5
    out = np.zeros((size, 2 * size + 2 * REACH))
    for k in range(size):
        out[k, 2 * k : 2 * k + len(taps)] = taps
    return out


def bands() -> list[np.ndarray]:
    """Returns four zero-phase band-pass filters of sym2, which add up to the identity.

    They are of odd lengths and pass, from the first on, the octaves [0, pi/8], [pi/8, pi/4],
    [pi/4, pi/2] and [pi/2, pi]: each step splits off the upper half of what is left. Karras et al.
    2020 (arXiv:2006.06676), appendix B.
    """
    out, low = [], np.ones(1)
    for level in (1, 2, 4):
        high_pass = SYM2 * np.array([1, -1, 1, -1])
        halves = [np.convolve(taps, taps[::-1]) / 2 for taps in (SYM2, high_pass)]
        lower, upper = (np.convolve(low, _spread(half, level)) for half in halves)
        out.append(upper)
        low = lower
    return [low, *out[::-1]]


@cache
def band_matrices(size: int) -> np.ndarray:
    """Returns (4, size, size): the matrix of each of `bands` on an axis mirrored at its ends."""
    out = np.zeros((4, size, size))
    for matrix, taps in zip(out, bands(), strict=True):
        reach = len(taps) // 2
        for i in range(size):
            np.add.at(matrix[i], mirrored(np.arange(i - reach, i + reach + 1), size), taps)
    return out


def _spread(taps: np.ndarray, step: int) -> np.ndarray:
    """Returns the taps of H(z ** step), given those of H(z)."""
    out = np.zeros(step * (len(taps) - 1) + 1)
    out[::step] = taps
    return out
