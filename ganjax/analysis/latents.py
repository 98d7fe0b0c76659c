"""Paths through the latents of a trained run."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8

from ganjax.analysis.trained import Trained
from ganjax.analysis.views import FILM_PIXELS, View, headed, names_of, sample_arrays
from ganjax.errors import UserError
from ganjax.pictures import images, interpolation

# The least width, in pixels, of a film: smaller ones are hard to watch.
FILM_SIDE = 128
# The pixels between grids.
GAP = 12


def interpolate(
    run: Trained,
    num: int,
    seed: int | None = None,
    classes: Sequence[str] = (),
    *,
    between: int = 16,
    method: str | None = None,
    pick: Sequence[int] = (),
    cells: int = 1,
) -> View:
    """Shows samples along a closed path through latents.

    In the picture every row leads from one latent to the next, and shows both; the last row
    leads back to the first latent. The film follows the path once and then repeats.

    With several cells, as many paths are followed at once and shown as a grid, which begins as the
    grid of the first `cells` samples, then becomes that of the next ones, and so on. The cells go
    through the classes, and each keeps its own; a single cell has one class.

    The view's "image" has the samples in the order of time, those of one moment next to each other.

    Args:
      run: the trained run.
      num: the number of latents on the path, at least 2.
      seed: the seed of these latents; None takes the run's.
      classes: the names or indices of classes, of a single cell one; by default that of the picked
        samples, else the first, and of several cells all.
      between: the number of samples between two latents.
      method: a name in `interpolation.METHODS`; by default `natural_method`.
      pick: the indices, in `ganjax.analysis.grids.grid`, of the samples that the path leads
        through; by default they are the first `num`.
      cells: the number of paths.

    Raises:
      UserError: there are fewer than 2 latents, no such class, several classes in one cell, or a
        spherical path is asked for through latents that lie on no sphere.
    """
    method = method or natural_method(run)
    if method == "spherical" and natural_method(run) != "spherical":
        raise UserError(
            f"--interpolation=spherical: the run's latents are {_latent(run)}, and lie near no "
            "sphere; leave it out for straight paths"
        )
    num = len(pick) or num
    if num < 2:
        flag = f"--pick={pick[0]}" if pick else f"--num={num}"
        raise UserError(f"{flag}: a path needs two ends; set 2 or more")
    if pick and cells > 1:
        raise UserError(f"--cells={cells}: --pick chooses the samples of one path; leave out one")
    if cells == 1 and len(classes) > 1:
        raise UserError(f"--label={','.join(classes)}: the class stays the same; name one")
    z, labels = _points(run, num, seed, classes, pick, cells)
    paths = [interpolation.loop(z[i::cells], between, method) for i in range(cells)]
    moments = len(paths[0])
    labels = np.tile(labels, moments)
    samples = run.generate(np.stack(paths, axis=1).reshape(-1, z.shape[1]), labels)
    conditional = run.algorithm.num_classes > 1

    def together(samples: UInt8[np.ndarray, "n h w c"]) -> UInt8[np.ndarray, "t h w c"]:
        """Returns the samples of each moment as one picture."""
        if cells == 1:
            return samples
        captioned = (
            images.captioned(samples, above=names_of(run, labels)) if conditional else samples
        )
        grids = captioned.reshape(moments, cells, *captioned.shape[1:])
        columns = images.columns(cells, len(np.unique(labels)))
        return np.stack([images.grid(each, columns) for each in grids])

    def picture():
        shown = together(samples)
        rows = shown.reshape(num, between + 1, *shown.shape[1:])
        rows = np.concatenate([rows, np.roll(rows[:, :1], -1, axis=0)], axis=1)
        flat = rows.reshape(-1, *shown.shape[1:])
        if cells > 1:
            return images.sheet(flat, between + 2, gap=GAP)
        if not conditional:
            return images.sheet(flat, between + 2)
        return headed(flat, [*names_of(run, labels[:1]), *[""] * (between + 1)])

    def frames():
        if cells > 1:
            grids = together(samples)
            fits = len(grids) * images.GRID_SIDE**2 <= FILM_PIXELS
            return images.enlarge(grids, images.GRID_SIDE if fits else FILM_SIDE)
        large = images.enlarge(samples, FILM_SIDE)
        return images.captioned(large, above=names_of(run, labels))

    return View(sample_arrays(run, samples, labels), picture, frames)


def natural_method(run: Trained) -> str:
    """Returns the method that keeps to where the run's latents lie.

    Only normal latents lie near a sphere. Uniform ones fill a cube, which contains every straight
    path between them, but not every arc.
    """
    return "spherical" if _latent(run) == "normal" else "linear"


def _latent(run: Trained) -> str:
    """Returns config.latent, or "normal" for an algorithm that has no such field."""
    return getattr(run.config, "latent", "normal")


def _points(
    run: Trained,
    num: int,
    seed: int | None,
    classes: Sequence[str],
    pick: Sequence[int],
    cells: int,
) -> tuple[Float[np.ndarray, "n z"], Int[np.ndarray, " cells"]]:
    """Returns the latents that the paths of `interpolate` lead through, and each cell's class.

    The latents are in the order of time, those of one moment next to each other.
    """
    chosen = run.classes(classes)
    if not pick:
        z, _ = run.inputs(num * cells, seed)
        return z, chosen[np.arange(cells) % len(chosen)]
    z, _ = run.inputs(max(pick) + 1, seed)
    labels = chosen[np.array(pick) % len(chosen)]
    different = np.flatnonzero(labels != labels[0])
    if len(different):
        one, other = names_of(run, labels[[0, different[0]]])
        raise UserError(
            f"--pick={','.join(map(str, pick))}: sample {pick[0]} is of class {one} and sample "
            f"{pick[different[0]]} of class {other}, and the class stays the same; pick samples of "
            "one class, or set --label to the name of one"
        )
    return z[list(pick)], labels[:1]
