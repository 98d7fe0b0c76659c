"""Samples of a trained run together with the picture or film that shows them."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from ganjax.analysis.trained import Trained
from ganjax.errors import UserError
from ganjax.pictures import images, npz

# The most pixels of all frames of a film, which are held at once.
FILM_PIXELS = 1 << 29


class View(NamedTuple):
    """Samples of a run, and how they are shown.

    Attributes:
      arrays: arrays by name: the samples, "image", uint8 (N, H, W, C); for a conditional run,
        "label", int32 (N,), and "label_names", (classes,); and whatever else was computed. The
        first two may be batches that are still to be made.
      picture: returns the picture of the samples; None if there is none.
      frames: returns the frames of a film; None if there is no film.
      report: lines of text about the samples.
      milliseconds: how long a frame of the film lasts.
      unreadable: lines about the files that should have been shown and cannot be read.
    """

    arrays: dict[str, Any]
    picture: Callable[[], UInt8[np.ndarray, "h w c"]] | None = None
    frames: Callable[[], UInt8[np.ndarray, "n h w c"]] | None = None
    report: Sequence[str] = ()
    milliseconds: int = 50
    unreadable: Sequence[str] = ()


def check_size(
    run: Trained, num: int, columns: int, *, captioned: bool = False, film: bool = False
) -> None:
    """Raises a UserError if a picture would be too large for many programs to open.

    Args:
      run: the run whose samples are shown.
      num: the number of rows.
      columns: the number of images in a row.
      captioned: whether images have captions even if the run has no classes.
      film: whether the images are those of a film, which may have `FILM_PIXELS`.

    Raises:
      UserError: the picture would have more pixels than Pillow opens without a warning.
    """
    height, width = run.phase.size
    if captioned or run.algorithm.num_classes > 1:
        factor = math.ceil(images.CAPTIONED_SIDE / width)
        height, width = factor * height, factor * width
    limit = FILM_PIXELS if film else Image.MAX_IMAGE_PIXELS
    if limit is not None and num * columns * height * width > limit:
        raise UserError(
            f"--num={num}: {num} x {columns} images of {height}x{width} are more than the "
            f"{limit} pixels that a {'film' if film else 'picture'} may have; set less, or take "
            "--raw=<name>.npz without --out"
        )


def names_of(run: Trained, labels: Iterable[int]) -> list[str]:
    """Returns the class name of each label, or an empty list for an unconditional run."""
    names = run.class_names
    return [names[i] for i in labels] if names else []


def sample_arrays(
    run: Trained,
    samples: UInt8[np.ndarray, "n h w c"] | npz.Batches,
    labels: Int[np.ndarray, " n"] | npz.Batches,
) -> dict[str, Any]:
    """Returns samples and, for a conditional run, their labels by the names of `View.arrays`."""
    if not run.class_names:
        return {"image": samples}
    return {"image": samples, "label": labels, "label_names": np.array(run.class_names)}


def headed(
    cells: UInt8[np.ndarray, "n h w c"], names: Sequence[str]
) -> UInt8[np.ndarray, "h2 w2 c"]:
    """Lays images out in a grid that has a column for each name, and writes the name above it.

    Images are enlarged as by `images.sheet`.

    Args:
      cells: the images, row by row.
      names: the names of the columns.
    """
    cells = images.repeated(cells, images.enlargement(cells.shape, len(names), captioned=True))
    header = images.text_strips(names, *cells.shape[2:])
    rows = [images.grid(each, len(names)) for each in (header, cells)]
    return np.concatenate(rows)
