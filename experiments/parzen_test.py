"""Scores a run's samples by the Parzen log-likelihood of images that chose nothing.

    python -m experiments.parzen_test --workdir=runs/cgan_paper_mnist5k

As Mirza & Osindero 2014 (arXiv:1411.1784), section 4.1, and Goodfellow et al. 2014
(arXiv:1406.2661), section 5: the held-out images choose the windows' width, as they chose where
training stopped, and the test images are scored. These are the images of the training split that
config.data.num_examples left out, so the run must have set it. Beside the figure stands that of the
run's training images in place of its samples.
"""

import argparse
from typing import NamedTuple

import jax
import numpy as np

from experiments.tools import arguments
from ganjax import shared_flags
from ganjax.analysis.image_sets import from_run
from ganjax.analysis.trained import Trained
from ganjax.data import splits
from ganjax.data.fields import DataFields
from ganjax.data.sources import Source, open_source
from ganjax.engine.sizes import ImageSize
from ganjax.errors import UserError
from ganjax.metrics import parzen

SAMPLES = 10_000  # As in both papers.


class Scored(NamedTuple):
    """The log-likelihood of the test images under windows on some points.

    Attributes:
      mean: the mean over the test images, in nats.
      standard_error: the standard error of that mean.
      width: the windows' standard deviation, in units of pixels in [0, 1].
      windows: the number of windows.
    """

    mean: float
    standard_error: float
    width: float
    windows: int


def unused(data: DataFields, image_size: ImageSize) -> np.ndarray:
    """Returns the images of the training split that are not trained on, uint8 (N, H, W, C).

    Raises:
      UserError: all are trained on.
    """
    whole = data.model_copy(update={"num_examples": 0, "fraction": 1.0})
    source = open_source(whole, "train", image_size=image_size)
    chosen = splits.subset(source.size, 0, data)
    if chosen is None:
        raise UserError(
            f"config.data.num_examples={data.num_examples}: no image of {data.source} is left out "
            f"of training to be tested on; train on fewer than its {source.size}"
        )
    return source.fetch(np.setdiff1d(np.arange(source.size), chosen))["image"]


def score(windows: np.ndarray, held_out: np.ndarray, test: np.ndarray) -> Scored:
    """Scores test images by windows whose width held-out images choose; uint8 (N, H, W, C) each."""
    points, chosen_by, scored = (parzen.flat(images) for images in (windows, held_out, test))
    width = parzen.choose_width(points, chosen_by)
    each = np.asarray(parzen.log_likelihood(points, scored, width), np.float64)
    error = float(each.std(ddof=1) / np.sqrt(len(each)))
    return Scored(float(each.mean()), error, width, len(points))


def measure(run: Trained, num: int = SAMPLES) -> dict[str, Scored]:
    """Returns the scores of a run's samples and of its training images, by "samples" and "reals".

    Args:
      run: the trained run.
      num: the number of samples.

    Raises:
      UserError: the run was trained on all images.
    """

    def every(source: Source) -> np.ndarray:
        return source.fetch(np.arange(source.size))["image"]

    test = unused(run.config.data, run.phase.image_size)
    held_out = every(run.images_of("validation"))
    return {
        "samples": score(from_run(run, "samples", num).array(), held_out, test),
        "reals": score(every(run.images_of("train")), held_out, test),
    }


def main():
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--workdir", type=shared_flags.path, required=True)
    parser.add_argument("--which", default="best", help="the checkpoint: best, last or a step")
    parser.add_argument("--num", type=arguments.count, default=SAMPLES, help="samples")
    parser.add_argument("--trust", action="store_true", help="the run may name code of its own")
    args = parser.parse_args()
    run = Trained(args.workdir, args.which, jax.local_devices(), trust=args.trust)
    for name, scored in measure(run, args.num).items():
        print(
            f"step {run.step}: windows of deviation {scored.width:.4g} on {scored.windows} {name}: "
            f"{scored.mean:.1f} +- {scored.standard_error:.1f} nats"
        )


if __name__ == "__main__":
    main()
