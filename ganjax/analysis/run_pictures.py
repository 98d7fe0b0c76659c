"""What `ganjax.sample` shows of a trained generator: samples, and how they are laid out."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from ganjax.analysis.trained import Trained, class_index
from ganjax.errors import UserError
from ganjax.metrics.neighbours import nearest, nearest_by_features
from ganjax.pictures import images, interpolation

PIXELS = "pixels"
# Pixels a side, at least, of a film of one image: smaller ones are hard to watch.
FILM_SIDE = 128
# Training images that vote on whether a sample has an attribute.
VOTES = 5


class Made(NamedTuple):
    """Samples and what is shown of them.

    Attributes:
      arrays: "image", uint8 (N, H, W, C); of a conditional model "label", int32 (N,), and
        "label_names", (classes,); and what else a command found.
      picture: () -> uint8 (H', W', C).
      frames: () -> uint8 (N, H', W', C), of a film; None where nothing moves.
      report: lines to print.
    """

    arrays: dict[str, np.ndarray]
    picture: Callable[[], np.ndarray]
    frames: Callable[[], np.ndarray] | None = None
    report: Sequence[str] = ()


def check_size(run: Trained, num: int, per_row: int, *, captioned: bool = False) -> None:
    """Refuses a picture that Pillow, for one, would not open again without a warning.

    Args:
      run: whose samples.
      num: rows, or samples.
      per_row: images a row.
      captioned: whether there is a caption even without classes.

    Raises:
      UserError: it has too many pixels.
    """
    side = run.phase.image_size
    if captioned or run.algorithm.num_classes > 1:
        side *= math.ceil(images.CAPTIONED_SIDE / side)
    if num * per_row * side**2 > Image.MAX_IMAGE_PIXELS:
        raise UserError(
            f"--num={num}: {num} x {per_row} images of {side}x{side} are more than the "
            f"{Image.MAX_IMAGE_PIXELS} pixels that a picture may have; set less, or take "
            "--raw=<name>.npz without --out"
        )


def grid(
    run: Trained,
    num: int,
    seed: int | None = None,
    label: Sequence[str] = (),
    *,
    columns: int | None = None,
) -> Made:
    """Samples; of a conditional model the classes in turn, the name over each image.

    Where the classes fit side by side, each is a column (or several).

    Args:
      run: whose.
      num: how many.
      seed: of the latents; None takes the run's.
      label: which classes, by name or index; by default all.
      columns: images a row, of which more than `num` are `num`; by default as many as rows.

    Raises:
      UserError: there is no such class.
    """
    classes = run.classes(label)
    z, turn = run.inputs(num, seed)
    labels = classes[np.arange(num) % len(classes)] if label else turn
    made = run.generate(z, labels)
    columns = min(columns or images.columns(num, len(classes)), num)

    def picture():
        return images.grid(images.captioned(made, above=_names(run, labels)), columns)

    if run.algorithm.num_classes == 1:
        return Made({"image": made}, lambda: images.grid(made, columns))
    return Made(_arrays(run, made, labels), picture)


def labels(run: Trained, num: int, seed: int | None = None, label: Sequence[str] = ()) -> Made:
    """What the class changes: one z a row, one class a column, its name above.

    Args:
      run: whose.
      num: rows.
      seed: of the latents; None takes the run's.
      label: which classes, by name or index; by default all.

    Raises:
      UserError: the model has no classes, or none of that name.
    """
    if run.algorithm.num_classes == 1:
        raise UserError(
            "labels: the run's model has no classes (it is unconditional); leave the word "
            "`labels` out for a grid of samples"
        )
    classes = run.classes(label)
    z, _ = run.inputs(num, seed)
    every = np.tile(classes, num)
    made = run.generate(z.repeat(len(classes), axis=0), every)

    def picture():
        large = images.enlarge(made)
        return _headed(images.grid(large, len(classes)), large, _names(run, classes))

    return Made(_arrays(run, made, every), picture)


def interpolate(
    run: Trained,
    num: int,
    seed: int | None = None,
    label: Sequence[str] = (),
    *,
    between: int = 16,
    method: str = "spherical",
) -> Made:
    """A closed path through latents, one class all along.

    As a picture every row leads from one z to the next, both shown, the last row back to the
    first z; as a film it is walked once a loop.

    Args:
      run: whose.
      num: latents, at least 2.
      seed: of them; None takes the run's.
      label: the class, by name or index; by default the first.
      between: images between two latents.
      method: "spherical" or "linear".

    Raises:
      UserError: fewer than 2 latents, more than one class, or no such class.
    """
    if num < 2:
        raise UserError(f"--num={num}: a path needs two ends; set 2 or more")
    if len(label) > 1:
        raise UserError(f"--label={','.join(label)}: the class stays the same; name one")
    one = run.classes(label)[0]
    z, _ = run.inputs(num, seed)
    path = interpolation.loop(z, between, method)
    every = np.full(len(path), one, np.int32)
    made = run.generate(path, every)
    conditional = run.algorithm.num_classes > 1

    def picture():
        cells = images.enlarge(made) if conditional else made
        rows = cells.reshape(num, between + 1, *cells.shape[1:])
        rows = np.concatenate([rows, np.roll(rows[:, :1], -1, axis=0)], axis=1)
        strip = images.grid(rows.reshape(-1, *cells.shape[1:]), between + 2)
        names = [*_names(run, [one]), *[""] * (between + 1)]
        return _headed(strip, cells, names) if conditional else strip

    def frames():
        film = images.enlarge(made, FILM_SIDE)
        return images.captioned(film, above=_names(run, every))

    return Made(_arrays(run, made, every), picture, frames)


def resolutions(run: Trained, num: int, seed: int | None = None, label: Sequence[str] = ()) -> Made:
    """What a growing run made at every resolution, at its end: one z a row, a resolution a column.

    All are shown as large as the largest. The arrays are "image_4", "image_8", ...

    Args:
      run: whose; columns go up to its resolution.
      num: rows.
      seed: of the latents; None takes the run's.
      label: which classes, in turn, by name or index; by default all.

    Raises:
      CheckpointError: the run has kept no checkpoint of the end of one of them.
      UserError: there is no such class.
    """
    side, ends = run.phase.image_size, run.resolutions()
    made = [grid(end, num, seed, label).arrays for end in ends]
    shown = {f"image_{one['image'].shape[1]}": one["image"] for one in made}

    def picture():
        columns = [
            images.enlarge(each, max(side, images.CAPTIONED_SIDE)) for each in shown.values()
        ]
        cells = np.stack(columns, axis=1).reshape(-1, *columns[0].shape[1:])
        names = [f"{end.phase.image_size}x{end.phase.image_size}" for end in ends]
        return _headed(images.grid(cells, len(columns)), cells, names)

    return Made({n: a for n, a in made[-1].items() if n != "image"} | shown, picture)


def arithmetic(
    run: Trained,
    num: int,
    seed: int | None = None,
    label: Sequence[str] = (),
    *,
    steps: int = 8,
    samples: int = 512,
) -> Made:
    """What an attribute changes: each row adds more of it, from left to right, to one z.

    The direction is the mean latent of samples that have the attribute less that of those that
    do not (Radford et al. 2015, arXiv:1511.06434, section 6.3.2, who chose three of each by
    eye). A sample has what most of the `VOTES` training images nearest to it have. Rows begin
    with samples that do not have it; the last column is two directions away.

    The arrays hold the "direction", (Z,), too, and of the `samples` whether they "have" it.

    Args:
      run: whose; unconditional, and its data have labels.
      num: rows.
      seed: of the latents; None takes the run's.
      label: the attribute: one class, by name or index.
      steps: columns after the first.
      samples: from which the direction is taken.

    Raises:
      UserError: there is no such class, the samples all have it or none has, the data have no
        labels, or the model itself takes them.
    """
    wanted, names = _attribute(run, label)
    source = run.training_images()
    z, none = run.inputs(max(samples, num), seed)
    made = run.generate(z, none)
    found = nearest(made, source, min(VOTES, source.size))
    voters = source.fetch(found.index.reshape(-1))["label"].reshape(found.index.shape)
    have = (voters == wanted).mean(axis=1) > 0.5
    if not 0 < have.sum() <= len(have) - num:
        raise UserError(
            f"--label={label[0]}: {have.sum()} of {len(have)} samples have it, and {num} rows of "
            "samples without it are wanted; take another class, more --samples or a lower --num"
        )
    direction = z[have].mean(axis=0) - z[~have].mean(axis=0)
    amounts = np.linspace(0, 2, steps + 1, dtype=np.float32)
    path = z[~have][:num, None] + amounts[:, None] * direction
    shown = run.generate(path.reshape(-1, z.shape[1]), np.zeros(num * (steps + 1), np.int32))

    def picture():
        cells = images.enlarge(shown)
        texts = [f"+{amount:.3g} '{names[wanted]}'" for amount in amounts]
        return _headed(images.grid(cells, steps + 1), cells, texts)

    report = [f"{have.sum()} of {len(have)} samples have {names[wanted]!r}"]
    return Made({"image": shown, "direction": direction, "have": have}, picture, report=report)


def _attribute(run: Trained, label: Sequence[str]) -> tuple[int, Sequence[str]]:
    """The index of the class that an unconditional run's data have, and all their names."""
    if run.algorithm.num_classes > 1:
        raise UserError("arithmetic: the run's model takes classes itself; use `labels`")
    classes = run.config.data.num_classes
    if classes == 1:
        raise UserError(
            "arithmetic: the run's images have no labels; train with config.data.label and "
            "config.data.num_classes set (config.conditioning may be 'none')"
        )
    if len(label) != 1:
        raise UserError("arithmetic: which attribute? set --label to the name of one class")
    names = run.training_images().label_names or [str(i) for i in range(classes)]
    return class_index(label[0], names), names


def neighbours(
    run: Trained,
    num: int,
    seed: int | None = None,
    label: Sequence[str] = (),
    *,
    k: int = 4,
    by: str = PIXELS,
) -> Made:
    """A sample a row, and beside it the training images nearest to it, their distances below.

    Its arrays hold "neighbour_image", "neighbour_index" and "neighbour_distance" too, which
    `ganjax.metrics.neighbours.Neighbours` describes.

    Args:
      run: whose.
      num: samples.
      seed: of the latents; None takes the run's.
      label: which classes, in turn, by name or index; by default all.
      k: neighbours of each.
      by: "pixels", or a network of `ganjax.metrics.features.NETWORKS` whose features count.

    Raises:
      UserError: there is no such network, or there are not as many training images, or no such
        class.
      DataError: the training images are no longer there.
    """
    source = run.training_images()
    if k > source.size:
        raise UserError(f"--neighbours={k}: there are {source.size} training images; set fewer")
    made = grid(run, num, seed, label).arrays
    if by == PIXELS:
        found = nearest(made["image"], source, k)
        measure = "mean absolute difference (0: equal, 1: black against white)"
    else:
        found = nearest_by_features(made["image"], source, k, by)
        measure = f"distance of {by} features"
    names = _names(run, made["label"]) if "label" in made else ["sample"] * num

    def picture():
        rows = np.concatenate([made["image"][:, None], found.image], axis=1)
        below = [
            text
            for name, row in zip(names, found.distance, strict=True)
            for text in (name, *(f"{distance:.4f}" for distance in row))
        ]
        cells = rows.reshape(-1, *rows.shape[2:])
        return images.grid(images.captioned(cells, below=below), 1 + k)

    report = [f"{measure} and training image"]
    for i, (distances, indices) in enumerate(zip(found.distance, found.index, strict=True)):
        of = f" ({names[i]})" if "label" in made else ""
        pairs = zip(distances, indices, strict=True)
        report.append(f"sample {i}{of}: " + ", ".join(f"{d:.4f} #{j}" for d, j in pairs))
    more = {f"neighbour_{name}": array for name, array in found._asdict().items()}
    return Made(made | more, picture, report=report)


def _names(run: Trained, labels: Sequence[int]) -> list[str]:
    """A name for each label; none at all for an unconditional model."""
    names = run.class_names
    return [names[i] for i in labels] if names else []


def _arrays(run: Trained, made: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    if not run.class_names:
        return {"image": made}
    return {"image": made, "label": labels, "label_names": np.array(run.class_names)}


def _headed(sheet: np.ndarray, cells: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """A grid of cells with a name over each column."""
    strips = images.text_strips(names, *cells.shape[2:])
    return np.concatenate([images.grid(strips, len(names)), sheet])
