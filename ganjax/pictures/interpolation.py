"""Paths between latents: straight, or along a sphere."""

import numpy as np


def lerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The straight line: (1 - t) a + t b.

    Args:
      a: (Z,), where t is 0.
      b: (Z,), where t is 1.
      t: (T,), in [0, 1].

    Returns:
      float32 (T, Z).
    """
    t = np.asarray(t)[:, None]
    return ((1 - t) * a + t * b).astype(np.float32)


def slerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Spherical interpolation (Shoemake 1985; for latents White 2016, arXiv:1609.04468).

    A Gaussian z of many dimensions lies near a sphere; the straight line between two cuts
    through its inside, where the generator was never trained. With w the angle between a and
    b: (sin((1 - t) w) a + sin(t w) b) / sin w. Where that is no direction (parallel, opposite
    or zero vectors) it is the straight line.

    Args:
      a: (Z,), where t is 0.
      b: (Z,), where t is 1.
      t: (T,), in [0, 1].

    Returns:
      float32 (T, Z).
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    cosine = np.clip(a @ b / lengths, -1, 1) if lengths else 1.0
    angle = np.arccos(cosine)
    if np.sin(angle) < 1e-6:
        return lerp(a, b, t)
    t = np.asarray(t)[:, None]
    path = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    return path.astype(np.float32)


METHODS = {"spherical": slerp, "linear": lerp}


def loop(z: np.ndarray, between: int, method: str) -> np.ndarray:
    """A closed path through latents: from each to the next, and from the last to the first.

    Args:
      z: (N, Z), in order.
      between: points between two of them.
      method: a name in `METHODS`.

    Returns:
      float32 (N * (between + 1), Z): z[i] at i * (between + 1). The first does not come again.
    """
    t = np.arange(between + 1) / (between + 1)
    ends = np.roll(z, -1, axis=0)
    return np.concatenate([METHODS[method](a, b, t) for a, b in zip(z, ends, strict=True)])
