"""From a network's output to pictures on disk."""

import math
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image


def to_uint8(images: jax.Array, value_range: tuple[float, float]) -> jax.Array:
    """Images in `value_range` (what lies outside is clipped) -> uint8, rounded."""
    low, high = value_range
    levels = jnp.round((images.astype(jnp.float32) - low) / (high - low) * 255.0)
    return jnp.clip(levels, 0, 255).astype(jnp.uint8)


def grid(images: np.ndarray, columns: int | None = None, gap: int = 2) -> np.ndarray:
    """Lays images out row by row, as nearly square as can be.

    Args:
      images: uint8 (N, H, W, C).
      columns: images a row; by default the square root of N, rounded up.
      gap: black pixels between images.

    Returns:
      uint8 (H', W', C).
    """
    n, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    cells = np.zeros((rows * columns, height + gap, width + gap, channels), np.uint8)
    cells[:n, :height, :width] = images
    cells = cells.reshape(rows, columns, *cells.shape[1:]).swapaxes(1, 2)
    sheet = cells.reshape(rows * (height + gap), columns * (width + gap), channels)
    return sheet[: sheet.shape[0] - gap, : sheet.shape[1] - gap]


def save_png(path: Path, picture: np.ndarray) -> None:
    """Writes uint8 (H, W, 1 or 3) as PNG, whole or not at all."""
    squeezed = picture[..., 0] if picture.shape[-1] == 1 else picture
    temporary = path.with_name(f".{path.name}.tmp")
    Image.fromarray(squeezed).save(temporary, format="png")
    os.replace(temporary, path)
