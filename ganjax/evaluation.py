"""What is measured of the averaged generator while it trains."""

from collections.abc import Callable

import jax
import numpy as np

from ganjax import step as steps
from ganjax.algorithms.base import Algorithm
from ganjax.config import ConfigError, RunConfig
from ganjax.data.sources import Source
from ganjax.keys import fold
from ganjax.metrics import parzen

# Samples made at once.
PIECE = 500


def check(config: RunConfig) -> None:
    """Raises ConfigError if the best checkpoint is wanted by a figure that is not measured."""
    wanted = config.evaluation
    if wanted.best == "val_log_likelihood" and not wanted.log_likelihood:
        raise ConfigError(
            f"config.evaluation.best={wanted.best!r}: config.evaluation.log_likelihood is 0, so "
            "it is not measured; set it to a number of samples, such as 1_000"
        )
    if wanted.patience and wanted.best == "none":
        raise ConfigError(
            f"config.evaluation.patience={wanted.patience}: config.evaluation.best is 'none'; name "
            "the figure that is waited for, or set patience=0"
        )


def make_evaluate(
    algorithm: Algorithm, config: RunConfig, *, key: jax.Array, sampler: Callable
) -> Callable:
    """`evaluate(ema, phase, held_out) -> figures`, {} if config.evaluation asks for none.

    val_log_likelihood is the mean log-likelihood, in nats an image, of the held-out images
    (in [0, 1]) under a Gaussian Parzen window over samples, and val_parzen_width its standard
    deviation, the best one on those images (Mirza & Osindero 2014, section 4.1).

    Args:
      algorithm: whose generator.
      config: its `evaluation` says what is measured.
      key: the run's root key; the same latents are used each time.
      sampler: `ganjax.step.make_sampler`'s, compiled.
    """
    wanted = config.evaluation
    if not wanted.log_likelihood:
        return lambda ema, phase, held_out: {}
    num = -(-wanted.log_likelihood // PIECE) * PIECE  # One shape, compiled once.
    z, label = steps.sample_inputs(algorithm, fold(key, "evaluation"), num)

    def evaluate(ema, phase, held_out: Source):
        pieces = [slice(i, i + PIECE) for i in range(0, num, PIECE)]
        fakes = [np.asarray(sampler(ema, z[i], label[i], phase=phase)) for i in pieces]
        samples = _flat(np.concatenate(fakes))[: wanted.log_likelihood]
        reals = _flat(held_out.fetch(np.arange(held_out.size))["image"])
        mean, width = parzen.parzen(samples, reals)
        return {"val_log_likelihood": float(mean), "val_parzen_width": float(width)}

    return evaluate


def _flat(images: np.ndarray) -> np.ndarray:
    """uint8 (N, ...) -> float32 (N, D) in [0, 1]."""
    return images.reshape(len(images), -1).astype(np.float32) / 255
