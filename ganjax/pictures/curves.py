"""Curves drawn by matplotlib (pip install 'ganjax[experiments]')."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from ganjax.errors import UserError
from ganjax.pictures import letters
from ganjax.runtime import storage


class Curve(NamedTuple):
    """A quantity that was measured while a generator was trained.

    Attributes:
      images: (N,) integers, the number of images that training had seen at each measurement.
      values: (N,) floats, the measurements.
    """

    images: np.ndarray
    values: np.ndarray


def figure(width: float, height: float):
    """Returns an empty matplotlib Figure, which needs no screen.

    Args:
      width: the width of the Figure in inches.
      height: the height of the Figure in inches.

    Raises:
      UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("plots need matplotlib: pip install 'ganjax[experiments]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def draw(axes, curves: Sequence[Curve], *, label: str, **style) -> None:
    """Draws the curves of one setting, each as a thin line, and their mean as a thick one.

    The mean is drawn at the numbers of images at which all curves have a measurement.

    Args:
      axes: matplotlib's axes.
      curves: the curves; empty ones are left out.
      label: the name of the mean in the legend.
      **style: options of matplotlib's plot, such as color.
    """
    curves = [curve for curve in curves if len(curve.images)]
    if len(curves) == 1:
        axes.plot(*curves[0], label=written(label), linewidth=1.6, **style)
    elif curves:
        for curve in curves:
            axes.plot(*curve, alpha=0.3, linewidth=0.8, **style)
        common = sorted(set.intersection(*(set(curve.images.tolist()) for curve in curves)))
        values = [curve.values[np.isin(curve.images, common)] for curve in curves]
        axes.plot(common, np.mean(values, axis=0), label=written(label), linewidth=1.6, **style)


def show(axes, picture: UInt8[np.ndarray, "h w c"], title: str) -> None:
    """Shows a picture, of 1 or 3 channels, in a panel of its own.

    Args:
      axes: matplotlib's axes.
      picture: the picture.
      title: what stands above it.
    """
    shown = picture[..., 0] if picture.shape[-1] == 1 else picture
    axes.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_title(written(title), fontsize="small")
    axes.axis("off")


def written(text: str) -> str:
    """Returns a text as matplotlib's font can write it (`letters.spelled`), with no formula."""
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    has_glyph = lambda character: font.get_char_index(ord(character)) > 0  # noqa: E731
    return letters.spelled(text, has_glyph).replace("$", r"\$")


def save(path: Path, plot) -> None:
    """Writes a matplotlib Figure, completely or not at all.

    Args:
      path: the file to write; its suffix says the format.
      plot: the Figure.
    """
    # Without a date, equal plots are equal files.
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with storage.replacing(path, durable=False) as temporary:
        plot.savefig(temporary, format=path.suffix[1:], dpi=120, metadata=metadata)
