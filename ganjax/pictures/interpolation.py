"""Paths between latents, along straight lines or along a sphere."""

import numpy as np


def lerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Interpolates linearly between two latents: (1 - t) a + t b.

    Args:
      a: (Z,), the latent at t = 0.
      b: (Z,), the latent at t = 1.
      t: (T,), positions on the path, in [0, 1].

    Returns:
      float32 (T, Z), the latents at these positions.
    """
    t = np.asarray(t)[:, None]
    return ((1 - t) * a + t * b).astype(np.float32)


def slerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Interpolates between two latents along a sphere.

    Gaussian latents of many dimensions lie near a sphere. The straight line between two of them
    passes through its inside, where the generator was never trained. With w the angle between a
    and b, the path is (sin((1 - t) w) a + sin(t w) b) / sin w (Shoemake 1985; for latents White
    2016, arXiv:1609.04468). If sin w is 0 (parallel, opposite or zero vectors), it is the straight
    line.

    Args:
      a: (Z,), the latent at t = 0.
      b: (Z,), the latent at t = 1.
      t: (T,), positions on the path, in [0, 1].

    Returns:
      float32 (T, Z), the latents at these positions.
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
    """Returns a closed path through latents, from each to the next and back to the first.

    Args:
      z: (N, Z), the latents in the order of the path.
      between: the number of points between two latents.
      method: a name in `METHODS`.

    Returns:
      float32 (N * (between + 1), Z), with z[i] at i * (between + 1). The first latent is not
      repeated at the end.
    """
    t = np.arange(between + 1) / (between + 1)
    ends = np.roll(z, -1, axis=0)
    return np.concatenate([METHODS[method](a, b, t) for a, b in zip(z, ends, strict=True)])
