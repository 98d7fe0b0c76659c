"""Arithmetic with the latents of a trained run: what adding an attribute changes."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from ganjax.analysis.classes import class_index
from ganjax.analysis.grids import PIXELS
from ganjax.analysis.trained import Trained
from ganjax.analysis.views import View, headed
from ganjax.errors import UserError
from ganjax.metrics.neighbours import nearest, nearest_by_features

# The number of training images that vote on whether a sample has an attribute.
VOTES = 5
# The fewest samples with the attribute, and without it, that a vote must find: votes err.
FEWEST = 20


class _Sides(NamedTuple):
    """The samples on both sides of a direction.

    Attributes:
      have: the indices of samples that have the attribute.
      have_not: the indices of samples that do not.
      starts: the indices of samples that rows begin with.
      num: the number of samples that were looked at.
      name: the attribute, "" if it has no name.
    """

    have: Int[np.ndarray, " a"]
    have_not: Int[np.ndarray, " b"]
    starts: Int[np.ndarray, " rows"]
    num: int
    name: str = ""

    def among(self, indices: Int[np.ndarray, " n"]) -> Bool[np.ndarray, " num"]:
        """Returns which samples these are."""
        return np.isin(np.arange(self.num), indices)


def arithmetic(
    run: Trained,
    num: int,
    seed: int | None = None,
    classes: Sequence[str] = (),
    *,
    steps: int = 8,
    samples: int = 512,
    by: str = "efflite0",
    have: Sequence[int] = (),
    have_not: Sequence[int] = (),
) -> View:
    """Shows what an attribute changes: from left to right, each row adds more of it to a latent.

    The direction is the mean latent of samples that have the attribute less that of samples that
    do not (Radford et al. 2015, arXiv:1511.06434, section 6.3.2, who chose three of each by
    eye). Rows begin with samples without the attribute and end with twice the direction added.

    Which samples have it is told by `have` and `have_not`. Without these it is a class of the
    training images, and a sample has it if most of the `VOTES` training images nearest to it do.

    The view's arrays include "direction", (Z,), and "have" and "have_not", bool, which say of each
    sample on which side it was counted.

    Args:
      run: the trained run. Without `have` it is unconditional, although its images have labels.
      num: the number of rows.
      seed: the seed of the latents; None takes the run's.
      classes: without `have`, the attribute, as the name or index of one class; with it, the
        classes of a conditional run's samples, by default all.
      steps: the number of columns after the first.
      samples: the number of samples that are voted on.
      by: what images are near in: "pixels", or the features of a network of
        `ganjax.metrics.features.NETWORKS`.
      have: the indices of samples that have the attribute, as `ganjax.analysis.grids.grid` numbers
        them.
      have_not: the indices of samples that do not.

    Raises:
      UserError: one of `have` and `have_not` is missing, or they overlap. Or without them: there is
        no such class or network, fewer than `FEWEST` samples have the attribute or lack it, the
        images have no labels, or the run is conditional.
    """
    if have or have_not:
        sides, of_classes = _picked(num, have, have_not), run.classes(classes)
    else:
        sides, of_classes = _voted(run, num, seed, classes, samples, by), np.zeros(1, np.int32)
    z, _ = run.inputs(sides.num, seed)
    direction = z[sides.have].mean(axis=0) - z[sides.have_not].mean(axis=0)
    amounts = np.linspace(0, 2, steps + 1, dtype=np.float32)
    path = z[sides.starts, None] + amounts[:, None] * direction
    labels = of_classes[sides.starts % len(of_classes)].repeat(steps + 1)
    shown = run.generate(path.reshape(-1, z.shape[1]), labels)

    def picture():
        name = f" {sides.name!r}" if sides.name else ""
        return headed(shown, [f"+{amount:.3g}{name}" for amount in amounts])

    what = repr(sides.name) if sides.name else "the attribute"
    report = [f"{len(sides.have)} of {sides.num} samples have {what}, {len(sides.have_not)} do not"]
    arrays = {
        "image": shown,
        "direction": direction,
        "have": sides.among(sides.have),
        "have_not": sides.among(sides.have_not),
    }
    return View(arrays, picture, report=report)


def _picked(num: int, have: Sequence[int], have_not: Sequence[int]) -> _Sides:
    """Returns the sides that a user chose. Rows begin with `have_not`, then with other samples."""
    for flag, own, other in (("have", have, "have_not"), ("have_not", have_not, "have")):
        if not own:
            raise UserError(f"--{other} needs --{flag} too: samples of that side by number")
    both = sorted(set(have) & set(have_not))
    if both:
        raise UserError(f"--have and --have_not both name sample {both[0]}; leave it out of one")
    enough = max(*have, *have_not, num + len(have) - 1) + 1
    rest = np.setdiff1d(np.arange(enough), [*have, *have_not])
    starts = np.array([*have_not, *rest])[:num]
    return _Sides(np.array(have), np.array(have_not), starts, enough)


def _voted(
    run: Trained, num: int, seed: int | None, classes: Sequence[str], samples: int, by: str
) -> _Sides:
    """Returns the sides that the training images nearest to samples vote for."""
    attribute, names = _attribute(run, classes)
    source = run.training_images()
    of_samples = run.generate(*run.inputs(max(samples, num), seed))
    votes, mirror = min(VOTES, source.size), run.config.data.mirror
    if by == PIXELS:
        found = nearest(of_samples, source, votes, mirror=mirror)
    else:
        found = nearest_by_features(of_samples, source, votes, by, mirror=mirror)
    voters = source.fetch(found.index.reshape(-1))["label"].reshape(found.index.shape)
    voted = (voters == attribute).mean(axis=1) > 0.5
    have, have_not = np.flatnonzero(voted), np.flatnonzero(~voted)
    fewer = min(len(have), len(have_not))
    if fewer < FEWEST:
        more = "set more --samples"
        if fewer:  # A quarter more than is likely to do.
            more = f"set --samples={math.ceil(1.25 * FEWEST / fewer * len(voted) / 100) * 100}"
        raise UserError(
            f"--label={classes[0]}: {len(have)} of {len(voted)} samples have it, by {by}, and the "
            f"mean of fewer than {FEWEST} on a side says little; {more}, or choose samples by eye: "
            "their numbers stand in `grid --numbered`, name them by --have and --have_not"
        )
    if num > len(have_not):
        raise UserError(
            f"--num={num}: rows begin with samples that do not have --label={classes[0]}, and "
            f"{len(have_not)} of {len(voted)} do not; set fewer, or more --samples"
        )
    return _Sides(have, have_not, have_not[:num], len(voted), names[attribute])


def _attribute(run: Trained, classes: Sequence[str]) -> tuple[int, Sequence[str]]:
    """Returns the index of a class of an unconditional run's images, and all classes' names.

    Raises:
      UserError: the run is conditional, or its images have no classes or no such class.
    """
    by_eye = "choose samples by eye with --have and --have_not"
    if run.algorithm.num_classes > 1:
        raise UserError(
            f"arithmetic: the run's model takes classes itself; use `labels`, or {by_eye}"
        )
    num_classes = run.config.data.num_classes
    if num_classes == 1:
        raise UserError(
            f"arithmetic: the run's images have no labels; {by_eye}, or train with "
            "config.data.label and config.data.num_classes set (config.conditioning may be 'none')"
        )
    if len(classes) != 1:
        raise UserError(
            "arithmetic: which attribute? set --label to the name of one class, or --have and "
            "--have_not to numbers of samples"
        )
    names = run.training_images().label_names or [str(i) for i in range(num_classes)]
    return class_index(classes[0], names), names
