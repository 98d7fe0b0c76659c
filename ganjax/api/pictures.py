"""Pictures of images from Python, which notebooks show in line."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ganjax.api import arguments
from ganjax.errors import UserError, naming_arguments
from ganjax.pictures import images as arrays


@naming_arguments
def grid(images: Any, columns: int | None = None, captions: Sequence[str] = ()) -> Image.Image:
    """Lays images out in a picture, which a notebook shows and `.save("grid.png")` writes.

    >>> run = ganjax.load("runs/cwgan_gp")
    >>> ganjax.grid(run.sample(16), columns=8).size
    (540, 132)

    Args:
      images: uint8 (N, H, W, 1 or 3), at least one; small ones are enlarged, pixel by pixel.
      columns: the number of images in a row; by default the grid is about square.
      captions: a text above each image, or none.

    Raises:
      UserError: these are no images.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise UserError(f"images are {images.dtype} {images.shape}: give uint8 (N, H, W, 1 or 3)")
    if not images.size:
        raise UserError(f"images are {images.shape}: give at least one")
    num = len(images)
    if len(captions) not in (0, num):
        raise UserError(f"captions are {len(captions)}: give {num}, one for each image, or none")
    if columns is not None:
        columns = arguments.whole("columns", columns)
    columns = min(columns or arrays.columns(num, 1), num)
    return arrays.to_pillow(arrays.sheet(images, columns, above=list(captions)))
