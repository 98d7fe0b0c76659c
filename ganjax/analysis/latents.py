"""Interpolation between the latents of a trained run, and arithmetic with them."""

from collections.abc import Sequence

import numpy as np

from ganjax.analysis.trained import Trained, class_index
from ganjax.analysis.views import View, headed, names_of, sample_arrays
from ganjax.errors import UserError
from ganjax.metrics.neighbours import nearest
from ganjax.pictures import images, interpolation

# The least side, in pixels, of a film of one image: smaller ones are hard to watch.
FILM_SIDE = 128
# The number of training images that vote on whether a sample has an attribute.
VOTES = 5


def interpolate(
    run: Trained,
    num: int,
    seed: int | None = None,
    classes: Sequence[str] = (),
    *,
    between: int = 16,
    method: str = "spherical",
) -> View:
    """Shows samples along a closed path through latents, all of one class.

    In the picture every row leads from one latent to the next, and shows both; the last row
    leads back to the first latent. The film follows the path once and then repeats.

    Args:
      run: the trained run.
      num: the number of latents on the path, at least 2.
      seed: the seed of these latents; None takes the run's.
      classes: the name or index of one class; by default the first.
      between: the number of samples between two latents.
      method: "spherical" or "linear".

    Raises:
      UserError: there are fewer than 2 latents, several classes, or no such class.
    """
    if num < 2:
        raise UserError(f"--num={num}: a path needs two ends; set 2 or more")
    if len(classes) > 1:
        raise UserError(f"--label={','.join(classes)}: the class stays the same; name one")
    label = run.classes(classes)[0]
    z, _ = run.inputs(num, seed)
    path = interpolation.loop(z, between, method)
    labels = np.full(len(path), label, np.int32)
    samples = run.generate(path, labels)
    conditional = run.algorithm.num_classes > 1

    def picture():
        cells = images.enlarge(samples) if conditional else samples
        rows = cells.reshape(num, between + 1, *cells.shape[1:])
        rows = np.concatenate([rows, np.roll(rows[:, :1], -1, axis=0)], axis=1)
        cells = rows.reshape(-1, *cells.shape[1:])
        if not conditional:
            return images.grid(cells, between + 2)
        return headed(cells, [*names_of(run, [label]), *[""] * (between + 1)])

    def frames():
        large = images.enlarge(samples, FILM_SIDE)
        return images.captioned(large, above=names_of(run, labels))

    return View(sample_arrays(run, samples, labels), picture, frames)


def arithmetic(
    run: Trained,
    num: int,
    seed: int | None = None,
    classes: Sequence[str] = (),
    *,
    steps: int = 8,
    samples: int = 512,
) -> View:
    """Shows what an attribute changes: from left to right, each row adds more of it to a latent.

    The direction is the mean latent of samples that have the attribute less that of samples that
    do not (Radford et al. 2015, arXiv:1511.06434, section 6.3.2, who chose three of each by
    eye). Here a sample has the attribute if most of the `VOTES` training images nearest to it
    have it. Rows begin with samples without the attribute and end with twice the direction added.

    The view's arrays include "direction", (Z,), and "have", bool (samples,), which says which
    samples have the attribute.

    Args:
      run: the trained run, which is unconditional although its images have labels.
      num: the number of rows.
      seed: the seed of the latents; None takes the run's.
      classes: the attribute, as the name or index of one class.
      steps: the number of columns after the first.
      samples: the number of samples from which the direction is computed.

    Raises:
      UserError: there is no such class, no sample has it or too few lack it, the images have no
        labels, or the run is conditional.
    """
    attribute, names = _attribute(run, classes)
    source = run.training_images()
    z, labels = run.inputs(max(samples, num), seed)
    found = nearest(run.generate(z, labels), source, min(VOTES, source.size))
    voters = source.fetch(found.index.reshape(-1))["label"].reshape(found.index.shape)
    have = (voters == attribute).mean(axis=1) > 0.5
    if not 0 < have.sum() <= len(have) - num:
        raise UserError(
            f"--label={classes[0]}: {have.sum()} of {len(have)} samples have it, and {num} rows of "
            "samples without it are wanted; take another class, more --samples or a lower --num"
        )
    direction = z[have].mean(axis=0) - z[~have].mean(axis=0)
    amounts = np.linspace(0, 2, steps + 1, dtype=np.float32)
    path = z[~have][:num, None] + amounts[:, None] * direction
    shown = run.generate(path.reshape(-1, z.shape[1]), np.zeros(num * (steps + 1), np.int32))

    def picture():
        texts = [f"+{amount:.3g} '{names[attribute]}'" for amount in amounts]
        return headed(images.enlarge(shown), texts)

    report = [f"{have.sum()} of {len(have)} samples have {names[attribute]!r}"]
    return View({"image": shown, "direction": direction, "have": have}, picture, report=report)


def _attribute(run: Trained, classes: Sequence[str]) -> tuple[int, Sequence[str]]:
    """Returns the index of a class of an unconditional run's images, and all classes' names.

    Raises:
      UserError: the run is conditional, or its images have no classes or no such class.
    """
    if run.algorithm.num_classes > 1:
        raise UserError("arithmetic: the run's model takes classes itself; use `labels`")
    num_classes = run.config.data.num_classes
    if num_classes == 1:
        raise UserError(
            "arithmetic: the run's images have no labels; train with config.data.label and "
            "config.data.num_classes set (config.conditioning may be 'none')"
        )
    if len(classes) != 1:
        raise UserError("arithmetic: which attribute? set --label to the name of one class")
    names = run.training_images().label_names or [str(i) for i in range(num_classes)]
    return class_index(classes[0], names), names
