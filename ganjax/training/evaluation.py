"""What is measured of the averaged generator while it trains."""

from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np
from jax.sharding import NamedSharding

from ganjax.config import ConfigError
from ganjax.data.base import Source
from ganjax.engine.algorithm import Algorithm
from ganjax.keys import fold
from ganjax.metrics import features, figures, parzen, swd
from ganjax.training import sampling
from ganjax.training.schema import RunConfig

# Images read at once, and bytes of them (170 images of 256x256).
PIECE = 500
PIECE_BYTES = 32 << 20
# Images of which features are kept: as many as published FIDs take.
MOST = 50_000
# What can be measured while training.
METRICS = (*figures.METRICS, figures.SWD)


def check(config: RunConfig, held_out: Iterable[Source] = ()) -> None:
    """Refuses what cannot be measured.

    Args:
      config: whose `evaluation`.
      held_out: the images that are held out, for each phase; without them their number is not
        looked at.

    Raises:
      ConfigError: something cannot be measured, or the best is wanted by what is not.
    """
    wanted = config.evaluation
    at = "config.evaluation"
    for metric in wanted.metrics:
        if metric not in METRICS:
            raise ConfigError(
                f"{at}.metrics={wanted.metrics}: there is no {metric!r}, but {', '.join(METRICS)}"
            )
    if figures.SWD in wanted.metrics and not swd.takes(config.image_size, config.image_size):
        raise ConfigError(
            f"{at}.metrics={wanted.metrics}: 'swd' is of images of {swd.COARSEST} times a power "
            f"of 2 pixels a side, or {swd.PATCH} to {swd.COARSEST}, and config.image_size is "
            f"{config.image_size}; leave it out"
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
    measured = [
        name
        for name in figures.names(_of_network(wanted.metrics), wanted.features)
        if figures.sign(name) is not None
    ]
    if figures.SWD in wanted.metrics:
        measured.append(figures.SWD)
    if wanted.log_likelihood:
        measured.append(figures.LIKELIHOOD)
    if wanted.best == figures.LIKELIHOOD and not wanted.log_likelihood:
        raise ConfigError(
            f"{at}.best={wanted.best!r}: {at}.log_likelihood is 0, so it is not measured; set it "
            "to a number of samples, such as 1_000"
        )
    if wanted.best not in (figures.NO_FIGURE, *measured):
        raise ConfigError(
            f"{at}.best={wanted.best!r}: {at}.metrics={wanted.metrics} of "
            f"{at}.features={wanted.features!r} give no such figure by which one model is better "
            f"than another, but {', '.join((figures.NO_FIGURE, *measured))}"
        )
    if wanted.patience and wanted.best == figures.NO_FIGURE:
        raise ConfigError(
            f"{at}.patience={wanted.patience}: {at}.best is 'none'; name the figure that is "
            "waited for, or set patience=0"
        )


def load(config: RunConfig) -> features.Params | None:
    """The feature network's parameters, None where no metric asks for it.

    Raises:
      UserError: its weights cannot be had.
    """
    wanted = config.evaluation
    if not _of_network(wanted.metrics):
        return None
    return features.load(wanted.features, wanted.weights or None)


def _of_network(metrics: Iterable[str]) -> list[str]:
    return [metric for metric in metrics if metric in figures.METRICS]


def make_evaluate(
    algorithm: Algorithm,
    config: RunConfig,
    *,
    sampler: Callable,
    sharding: NamedSharding,
    params: features.Params | None,
) -> Callable:
    """`evaluate(ema, phase, reals, held_out, key) -> figures`, {} if none is asked for.

    `key` is the run's root key, on this process's own device; it gives the same latents each time.

    config.evaluation.metrics' figures are those of `ganjax.metrics.figures`, of the held-out
    images; neighbours are looked for among the training images. Beside a KID and an SWD stands
    its floor: that of training images instead of samples. Samples have the labels of
    `draw_labels`. swd is the mean over the levels, swd_16, swd_32, ... (`ganjax.metrics.swd`), of
    as many samples as there are reals; images of a phase that are too small have none.

    val_log_likelihood is the mean log-likelihood, in nats an image, of the held-out images
    (in [0, 1]) under a Gaussian Parzen window over samples, and val_parzen_width its standard
    deviation, the best one on those images (Mirza & Osindero 2014, section 4.1).

    Args:
      algorithm: whose generator.
      config: its `evaluation` says what is measured.
      sampler: `ganjax.engine.step.make_sampler`'s, compiled.
      sharding: of a batch.
      params: `load`'s.
    """
    wanted = config.evaluation
    num = max(wanted.log_likelihood, wanted.num_samples if wanted.metrics else 0)
    if not num:
        return lambda ema, phase, reals, held_out, key: {}
    measures = []
    if _of_network(wanted.metrics):
        measures.append(_make_measure(config, params, sharding))
    if figures.SWD in wanted.metrics:
        measures.append(_make_swd(wanted.num_samples))

    def evaluate(ema, phase, reals: Source, held_out: Source, key: jax.Array):
        z = np.asarray(algorithm.latent(fold(key, "evaluation", "sample"), num))
        label = draw_labels(reals, algorithm.num_classes, num)

        def samples(count: int) -> Iterator[np.ndarray]:
            inputs = z[:count], label[:count]
            return sampling.sample_batches(sampler, ema, *inputs, phase=phase, sharding=sharding)

        found = {}
        for measure in measures:
            found |= measure(samples, phase.image_size, reals, held_out)
        if wanted.log_likelihood:
            fakes = parzen.flat(np.concatenate(list(samples(wanted.log_likelihood))))
            real = parzen.flat(held_out.fetch(np.arange(held_out.size))["image"])
            mean, width = parzen.parzen(fakes, real)
            found |= {figures.LIKELIHOOD: float(mean), "val_parzen_width": float(width)}
        return found

    return evaluate


def _make_measure(config: RunConfig, params: features.Params, sharding: NamedSharding) -> Callable:
    """(samples, image size, training images, held-out images) -> figures.

    `samples` is a number -> batches of as many.
    """
    wanted = config.evaluation
    metrics, network = _of_network(wanted.metrics), wanted.features
    extract = features.Extractor(network, params, figures.outputs(metrics), sharding)
    # (of the held-out images, of training images, the floor) by the images' size: all stay
    # the same.
    known: dict[int, tuple[features.Extracted, features.Extracted, dict[str, float]]] = {}

    def of_reals(reals, held_out):
        chosen = choose(held_out, wanted.num_samples)
        real = extract(read(held_out, chosen), len(chosen), "held-out images")
        trained_on = set(metrics) & set(figures.OF_TRAINING)
        if "kid" not in metrics and not trained_on:
            return real, features.Extracted(), {}
        # Copies are looked for among all of them.
        chosen = choose(reals, MOST if trained_on else wanted.num_samples)
        train = extract(read(reals, chosen), len(chosen), "training images")
        if "kid" not in metrics:
            return real, train, {}
        stand_in = features.rows(train, 0, wanted.num_samples)
        name = figures.full_name("kid", network)
        floor = figures.measure(["kid"], network, real, stand_in)[name]
        return real, train, {f"{name}_floor": floor}

    def measure(samples, image_size, reals, held_out):
        if image_size not in known:
            known[image_size] = of_reals(reals, held_out)
        real, train, floor = known[image_size]
        fake = extract(samples(wanted.num_samples), wanted.num_samples, "samples")
        return figures.measure(metrics, network, real, fake, train) | floor

    return measure


def _make_swd(num: int) -> Callable:
    """As `_make_measure`, of at most `num` images of each kind."""
    known: dict[int, tuple[int, swd.Described, float]] = {}

    def of_reals(reals, held_out):
        count = min(num, held_out.size, reals.size, swd.MOST)
        real, other = (
            swd.describe(read(source, choose(source, count)), name)
            for source, name in ((held_out, "a"), (reals, "b"))
        )
        return count, real, swd.distance(real, other).average

    def measure(samples, image_size, reals, held_out):
        if not swd.takes(image_size, image_size):
            return {}
        if image_size not in known:
            known[image_size] = of_reals(reals, held_out)
        count, real, floor = known[image_size]
        found = swd.distance(real, swd.describe(samples(count), "b")).figures()
        return found | {f"{figures.SWD}_floor": floor}

    return measure


def choose(source: Source, num: int) -> np.ndarray:
    """Indices of `num` images of a source, or of all, in an order that is random but fixed."""
    return np.random.RandomState(0).permutation(source.size)[:num]


def draw_labels(reals: Source, num_classes: int, num: int) -> np.ndarray:
    """Labels of samples that are to be like reals: those of `choose(reals, num)`.

    So classes are as frequent as among the reals, and in a random order; where there are fewer
    reals, they come again. 0 without classes.

    Args:
      reals: the training images.
      num_classes: the model's.
      num: how many.

    Returns:
      int32 (num,).
    """
    if num_classes == 1:
        return np.zeros(num, np.int32)
    return reals.labels()[np.resize(choose(reals, num), num)].astype(np.int32)


def read(source: Source, indices: np.ndarray) -> Iterator[np.ndarray]:
    """Yields these images, some at a time: uint8 (n, H, W, C)."""
    first, size = 0, 1
    while first < len(indices):
        images = source.fetch(indices[first : first + size])["image"]
        yield images
        first += size
        # What one takes is known now.
        size = max(1, min(PIECE, PIECE_BYTES // images[0].nbytes))
