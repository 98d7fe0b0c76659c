"""What is measured of the averaged generator while it trains."""

from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np
from jax.sharding import NamedSharding

from ganjax import step as steps
from ganjax.algorithms.base import Algorithm
from ganjax.config import ConfigError, RunConfig
from ganjax.data.base import Source
from ganjax.keys import fold
from ganjax.metrics import features, figures, parzen

# Samples made, and images read, at once.
PIECE = 500
NO_BEST = "none"


def check(config: RunConfig, held_out: Iterable[Source]) -> None:
    """Raises UserError if something cannot be measured, or the best is wanted by what is not."""
    wanted = config.evaluation
    at = "config.evaluation"
    for metric in wanted.metrics:
        if metric not in figures.METRICS:
            raise ConfigError(
                f"{at}.metrics={wanted.metrics}: there is no {metric!r}, but "
                f"{', '.join(figures.METRICS)}"
            )
    if wanted.features not in features.NETWORKS:
        raise ConfigError(
            f"{at}.features={wanted.features!r}: there are {', '.join(features.NETWORKS)}"
        )
    if wanted.metrics:
        least = min((wanted.num_samples, *(source.size for source in held_out)))
        if least < figures.LEAST:
            raise ConfigError(
                f"{at}.num_samples={wanted.num_samples}: of as many and the held-out images "
                f"{least} can be compared; {figures.LEAST} are needed"
            )
        features.load(wanted.features)  # Or say at once that the weights are not there.
    measured = [
        name
        for name in figures.names(wanted.metrics, wanted.features)
        if figures.sign(name) is not None
    ]
    if wanted.log_likelihood:
        measured.append(figures.LIKELIHOOD)
    if wanted.best == figures.LIKELIHOOD and not wanted.log_likelihood:
        raise ConfigError(
            f"{at}.best={wanted.best!r}: {at}.log_likelihood is 0, so it is not measured; set it "
            "to a number of samples, such as 1_000"
        )
    if wanted.best not in (NO_BEST, *measured):
        raise ConfigError(
            f"{at}.best={wanted.best!r}: {at}.metrics={wanted.metrics} of "
            f"{at}.features={wanted.features!r} give no such figure by which one model is better "
            f"than another, but {', '.join((NO_BEST, *measured))}"
        )
    if wanted.patience and wanted.best == NO_BEST:
        raise ConfigError(
            f"{at}.patience={wanted.patience}: {at}.best is 'none'; name the figure that is "
            "waited for, or set patience=0"
        )


def make_evaluate(
    algorithm: Algorithm,
    config: RunConfig,
    *,
    key: jax.Array,
    sampler: Callable,
    sharding: NamedSharding,
) -> Callable:
    """`evaluate(ema, phase, reals, held_out) -> figures`, {} if none is asked for.

    config.evaluation.metrics' figures are those of `ganjax.metrics.figures`, of the held-out
    images. Beside a KID stands its floor: that of training images instead of samples.

    val_log_likelihood is the mean log-likelihood, in nats an image, of the held-out images
    (in [0, 1]) under a Gaussian Parzen window over samples, and val_parzen_width its standard
    deviation, the best one on those images (Mirza & Osindero 2014, section 4.1).

    Args:
      algorithm: whose generator.
      config: its `evaluation` says what is measured.
      key: the run's root key; the same latents are used each time.
      sampler: `ganjax.step.make_sampler`'s, compiled.
      sharding: of a batch.
    """
    wanted = config.evaluation
    num = max(wanted.log_likelihood, wanted.num_samples if wanted.metrics else 0)
    if not num:
        return lambda ema, phase, reals, held_out: {}
    whole = -(-num // PIECE) * PIECE  # One shape, compiled once.
    z, label = steps.sample_inputs(algorithm, fold(key, "evaluation"), whole)

    def samples(ema, phase, count: int) -> Iterator[np.ndarray]:
        for i in range(0, count, PIECE):
            piece = slice(i, i + PIECE)
            yield np.asarray(sampler(ema, z[piece], label[piece], phase=phase))[: count - i]

    measure = _make_measure(config, sharding) if wanted.metrics else None

    def evaluate(ema, phase, reals: Source, held_out: Source):
        found = {}
        if measure is not None:
            pieces = samples(ema, phase, wanted.num_samples)
            found |= measure(pieces, phase.image_size, reals, held_out)
        if wanted.log_likelihood:
            fakes = _flat(np.concatenate(list(samples(ema, phase, wanted.log_likelihood))))
            real = _flat(held_out.fetch(np.arange(held_out.size))["image"])
            mean, width = parzen.parzen(fakes, real)
            found |= {figures.LIKELIHOOD: float(mean), "val_parzen_width": float(width)}
        return found

    return evaluate


def _make_measure(config: RunConfig, sharding: NamedSharding) -> Callable:
    """(samples, image size, training images, held-out images) -> figures."""
    wanted = config.evaluation
    metrics, network = wanted.metrics, wanted.features
    extract = features.Extractor(
        network, features.load(network), figures.outputs(metrics), sharding
    )
    # (of the held-out images, the floor) by the images' size: both stay the same.
    known: dict[int, tuple[features.Extracted, dict[str, float]]] = {}

    def of_reals(reals, held_out):
        chosen = [choose(source, wanted.num_samples) for source in (held_out, reals)]
        real = extract(read(held_out, chosen[0]), len(chosen[0]), "held-out images")
        if "kid" not in metrics:
            return real, {}
        train = extract(read(reals, chosen[1]), len(chosen[1]), "training images")
        floor = figures.measure(["kid"], network, real, train)
        name = figures.full_name("kid", network)
        return real, {f"{name}_floor": floor[name]}

    def measure(samples, image_size, reals, held_out):
        if image_size not in known:
            known[image_size] = of_reals(reals, held_out)
        real, floor = known[image_size]
        fake = extract(samples, wanted.num_samples, "samples")
        return figures.measure(metrics, network, real, fake) | floor

    return measure


def choose(source: Source, num: int) -> np.ndarray:
    """Indices of `num` images of a source, or of all, in an order that is random but fixed."""
    return np.random.RandomState(0).permutation(source.size)[:num]


def read(source: Source, indices: np.ndarray) -> Iterator[np.ndarray]:
    """Yields these images, some at a time: uint8 (n, H, W, C)."""
    for i in range(0, len(indices), PIECE):
        yield source.fetch(indices[i : i + PIECE])["image"]


def _flat(images: np.ndarray) -> np.ndarray:
    """uint8 (N, ...) -> float32 (N, D) in [0, 1]."""
    return images.reshape(len(images), -1).astype(np.float32) / 255
