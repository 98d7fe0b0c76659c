"""Orthogonal wavelets, and the constant matrices that filter an axis with them.

NumPy computes the matrices in float64 while a function is traced; the program multiplies by them.
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
# The pixels of the doubled grid that downsampling reads beyond either end of an axis.
REACH = len(SYM6) // 2 - 1

# The pixels of the doubled grid by which `upsampling` moves an image to the right, since sym6 is
# not symmetric. Left out, a flip would move an image by 0.4 pixels.
SHIFT = float(np.arange(len(SYM6)) @ SYM6[::-1] / SYM6.sum()) - (len(SYM6) - 1) / 2


def mirrored(index: np.ndarray, size: int) -> np.ndarray:
    """Folds indices of any size into an axis that reflects at its ends: d c b | a b c d | c b a.

    Args:
      index: an array of integers.
      size: the number of pixels of the axis.

    Returns:
      Indices from 0 to size - 1, of index's shape.
    """
    if size == 1:
        return np.zeros_like(index)
    index = np.mod(index, 2 * (size - 1))
    return np.minimum(index, 2 * (size - 1) - index)


@cache
def upsampling(size: int) -> np.ndarray:
    """Returns the matrix that upsamples a mirrored axis twofold with sym6.

    The mirrored axis is periodic, so one period of L = 4 (size - 1) pixels of the doubled grid
    holds all of it, and no margin can be too small. Pixel k covers the pixels 2k and 2k + 1 of the
    doubled grid.

    Args:
      size: the number of pixels of the axis.

    Returns:
      A matrix (L + 1, size), whose last row repeats the first one.
    """
    taps = 2**0.5 * SYM6[::-1]  # H(1/z): the reverse of the filter that downsamples.
    length = max(4 * (size - 1), 2)
    out = np.zeros((length, size))
    for m in range(length):
        for k in range((m - REACH) // 2 - 1, (m + REACH) // 2 + 2):
            if 0 <= m - 2 * k + REACH < len(taps):
                out[m, mirrored(np.array([k]), size)] += taps[m - 2 * k + REACH]
    return np.concatenate([out, out[:1]])


@cache
def downsampling(size: int) -> np.ndarray:
    """Returns the matrix that downsamples an axis twofold with sym6.

    It undoes `upsampling` exactly, since sym6 is orthogonal.

    Args:
      size: the number of pixels of the downsampled axis.

    Returns:
      A matrix (size, 2 size + 2 REACH), which takes the pixels from -REACH to 2 size + REACH - 1 of
      the doubled grid.
    """
    taps = SYM6[::-1] / 2**0.5
    out = np.zeros((size, 2 * size + 2 * REACH))
    for k in range(size):
        out[k, 2 * k : 2 * k + len(taps)] = taps
    return out


def bands() -> list[np.ndarray]:
    """Returns the taps of four zero-phase band-pass filters of sym2, whose sum is the identity.

    Their lengths are odd, and they pass the octaves [0, pi/8], [pi/8, pi/4], [pi/4, pi/2] and
    [pi/2, pi], in this order: each step splits off the upper half of the band that is left. Karras
    et al. 2020 (arXiv:2006.06676), appendix B.
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
    """Returns the matrices (4, size, size) that apply `bands` to an axis mirrored at its ends."""
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
