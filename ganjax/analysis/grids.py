"""Grids of a trained run's samples: by class, by resolution, and beside training images."""

from collections.abc import Iterator, Sequence

import numpy as np

from ganjax.analysis.trained import Trained
from ganjax.analysis.views import View, headed, names_of, sample_arrays
from ganjax.errors import UserError
from ganjax.metrics.neighbours import nearest, nearest_by_features
from ganjax.pictures import images, npz
from ganjax.training import sampling

PIXELS = "pixels"
# How many labels are made at once where samples are streamed.
LABELS = 1 << 16


def grid(
    run: Trained,
    num: int,
    seed: int | None = None,
    classes: Sequence[str] = (),
    *,
    columns: int | None = None,
    numbered: bool = False,
    stream: bool = False,
) -> View:
    """Shows samples in a grid.

    Those of a conditional run take the classes in turn, whose names stand above them. If the
    classes fit side by side, each class has one or several columns.

    Args:
      run: the trained run.
      num: the number of samples.
      seed: the seed of their latents; None takes the run's.
      classes: the names or indices of classes; by default all.
      columns: the number of images in a row, at most `num`; by default the grid is about square.
      numbered: whether the index of each sample, counted from 0, stands above it.
      stream: whether the samples, of which then there is no picture, are made only when the view's
        arrays are written, so that there may be more than the memory holds.

    Raises:
      UserError: there is no such class.
    """
    chosen = run.classes(classes)
    if stream:
        return _streamed(run, num, seed, chosen)
    z, labels = run.inputs(num, seed)
    if classes:
        labels = chosen[np.arange(num) % len(chosen)]
    samples = run.generate(z, labels)
    columns = min(columns or images.columns(num, len(chosen)), num)

    def picture():
        texts = names_of(run, labels)
        if numbered:
            texts = [": ".join([str(i), *texts[i : i + 1]]) for i in range(num)]
        return images.sheet(samples, columns, above=texts)

    return View(sample_arrays(run, samples, labels), picture)


def _streamed(run: Trained, num: int, seed: int | None, chosen: np.ndarray) -> View:
    """Returns samples that are made when they are written, and have no picture."""
    z = run.streamed_latents(num, seed)
    labels = sampling.Rows(num, lambda indices: chosen[indices % len(chosen)])

    def make_labels() -> Iterator[np.ndarray]:
        for first in range(0, num, LABELS):
            yield labels[np.arange(first, min(first + LABELS, num))]

    samples = npz.Batches(
        (num, *run.image_shape), np.dtype(np.uint8), lambda: run.shown_batches(z, labels)
    )
    return View(sample_arrays(run, samples, npz.Batches((num,), chosen.dtype, make_labels)))


def class_grid(
    run: Trained, num: int, seed: int | None = None, classes: Sequence[str] = ()
) -> View:
    """Shows what the class changes, in a grid with one latent for each row and a class per column.

    Args:
      run: the trained run.
      num: the number of rows.
      seed: the seed of the latents; None takes the run's.
      classes: the names or indices of classes; by default all.

    Raises:
      UserError: the run has no classes, or no such class.
    """
    if run.algorithm.num_classes == 1:
        raise UserError(
            "labels: the run's model has no classes (it is unconditional); leave the word "
            "`labels` out for a grid of samples"
        )
    chosen = run.classes(classes)
    z, _ = run.inputs(num, seed)
    labels = np.tile(chosen, num)
    samples = run.generate(z.repeat(len(chosen), axis=0), labels)

    def picture():
        return headed(samples, names_of(run, chosen))

    return View(sample_arrays(run, samples, labels), picture)


def resolution_grid(
    run: Trained, num: int, seed: int | None = None, classes: Sequence[str] = ()
) -> View:
    """Shows what a growing run generated at the end of each resolution.

    Each row has one latent and each column one resolution; all images are shown at the largest
    size. The view's arrays are "image_4", "image_8", ...

    Args:
      run: the trained run; the last column has its resolution.
      num: the number of rows.
      seed: the seed of the latents; None takes the run's.
      classes: the names or indices of classes, which the rows take in turn; by default all.

    Raises:
      CheckpointError: the run has kept no checkpoint from the end of some resolution.
      UserError: the run has one resolution, or there is no such class.
    """
    ends = run.resolutions()
    if len(ends) == 1:
        raise UserError(
            f"resolutions: {run.folder} at step {run.step} has one resolution, {run.phase.size}; "
            "draw it by grid"
        )
    arrays = [grid(end, num, seed, classes).arrays for end in ends]
    samples = {f"image_{each['image'].shape[1]}": each["image"] for each in arrays}

    def picture():
        columns = [images.enlarge(each, run.phase.size.width) for each in samples.values()]
        cells = np.stack(columns, axis=1).reshape(-1, *columns[0].shape[1:])
        return headed(cells, [str(end.phase.size) for end in ends])

    labels = {name: array for name, array in arrays[-1].items() if name != "image"}
    return View(labels | samples, picture)


def neighbour_grid(
    run: Trained,
    num: int,
    seed: int | None = None,
    classes: Sequence[str] = (),
    *,
    k: int = 4,
    by: str = PIXELS,
) -> View:
    """Shows samples, each beside its nearest training images with their distances below.

    If the run was trained with config.data.mirror, training images are also compared flipped left
    to right, and those that are nearer so are shown so.

    The view's arrays include "neighbour_image", "neighbour_index" and "neighbour_distance", the
    fields of `ganjax.metrics.neighbours.Neighbours`.

    Args:
      run: the trained run.
      num: the number of samples.
      seed: the seed of their latents; None takes the run's.
      classes: the names or indices of classes, which the samples take in turn; by default all.
      k: the number of neighbours of each sample.
      by: "pixels" to measure distances of pixels, or the name of a network in
        `ganjax.metrics.features.NETWORKS` to measure distances of its features.

    Raises:
      UserError: there is no such network or class, or there are fewer training images than k.
      DataError: the training images cannot be read any more.
    """
    source, mirror = run.training_images(), run.config.data.mirror
    if k > source.size:
        raise UserError(f"--neighbours={k}: there are {source.size} training images; set fewer")
    arrays = grid(run, num, seed, classes).arrays
    samples = arrays["image"]
    if by == PIXELS:
        found = nearest(samples, source, k, mirror=mirror)
        measure = "mean absolute difference (0: equal, 1: black against white)"
    else:
        found = nearest_by_features(samples, source, k, by, mirror=mirror)
        measure = f"distance of {by} features"
    names = names_of(run, arrays["label"]) if "label" in arrays else []

    said = [
        [f"{d:.4f} mirrored" if mirrored else f"{d:.4f}" for d, mirrored in zip(*row, strict=True)]
        for row in zip(found.distance, found.mirrored, strict=True)
    ]

    def picture():
        rows = np.concatenate([samples[:, None], found.image], axis=1)
        captions = []
        for name, row in zip(names or ["sample"] * num, said, strict=True):
            captions += [name, *row]
        cells = rows.reshape(-1, *rows.shape[2:])
        return images.sheet(cells, 1 + k, below=captions)

    report = [f"{measure} and training image"]
    for i, (row, indices) in enumerate(zip(said, found.index, strict=True)):
        of_class = f" ({names[i]})" if names else ""
        pairs = zip(row, indices, strict=True)
        report.append(f"sample {i}{of_class}: " + ", ".join(f"{text} #{j}" for text, j in pairs))
    neighbours = {f"neighbour_{name}": array for name, array in found._asdict().items()}
    return View(arrays | neighbours, picture, report=report)
