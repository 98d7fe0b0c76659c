"""Evaluation of the averaged generator during training, by the metrics that a config names."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding

from ganjax.config import ConfigError
from ganjax.data.base import Source
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.phases import Phase
from ganjax.engine.sizes import Size, size_of
from ganjax.engine.state import Ema
from ganjax.keys import fold
from ganjax.metrics import features
from ganjax.metrics.features import Observed
from ganjax.metrics.fields import NO_FIGURE, EvaluationFields
from ganjax.metrics.image_set import ImageSet, choose, from_source
from ganjax.metrics.metric import Counts, Metric, Taken
from ganjax.metrics.table import HELD_OUT_LIKELIHOOD, METRICS, network_outputs, ranking
from ganjax.training import sampling
from ganjax.training.schema import RunConfig

# The names that config.evaluation.metrics takes.
NAMES = tuple(name for name, metric in METRICS.items() if metric.while_training)


class Wanted(NamedTuple):
    """A metric that a config asks for.

    Attributes:
      metric: the metric.
      num_samples: the number of samples to measure.
      num_reals: the most held-out images to compare samples with, drawn at random; None takes all.
    """

    metric: Metric
    num_samples: int
    num_reals: int | None


def wanted(fields: EvaluationFields) -> list[Wanted]:
    """Returns the metrics that `fields` ask for. All of them must exist (see `check`)."""
    num = fields.num_samples
    found = [Wanted(METRICS[name], num, num) for name in fields.metrics]
    if fields.log_likelihood:
        found.append(Wanted(HELD_OUT_LIKELIHOOD, fields.log_likelihood, None))
    return found


def check(config: RunConfig, compared: Iterable[Source] = (), holds_out: bool = True) -> None:
    """Checks that everything which config.evaluation asks for can be measured.

    Args:
      config: the run's config.
      compared: the images of each phase that samples are compared with; if empty, their numbers
        are not checked.
      holds_out: whether any images are held out.

    Raises:
      ConfigError: a metric cannot be measured, or no metric gives the figure that
        config.evaluation.best names.
    """
    fields, at = config.evaluation, "config.evaluation"
    if fields.log_likelihood and not holds_out:
        raise ConfigError(
            f"{at}.log_likelihood={fields.log_likelihood}: it is of held-out images, and "
            f"{config.data.source} has none; set 0, or hold some out (config.data.held_out)"
        )
    for name in fields.metrics:
        if name not in NAMES:
            raise ConfigError(
                f"{at}.metrics={fields.metrics}: there is no {name!r}, but {', '.join(NAMES)}"
            )
        if not METRICS[name].accepts(*size_of(config.image_size)):
            raise ConfigError(
                f"{at}.metrics={fields.metrics}: {name!r} is of images of {METRICS[name].sizes}, "
                f"and config.image_size is {config.image_size}; leave it out"
            )
    if fields.features not in features.NETWORKS:
        raise ConfigError(
            f"{at}.features={fields.features!r}: there are {', '.join(features.NETWORKS)}"
        )
    for name in fields.metrics:
        if not features.provides(fields.features, METRICS[name].needs):
            raise ConfigError(
                f"{at}.metrics={fields.metrics}: {name!r} needs classes, and the weights of "
                f"{at}.features={fields.features!r} have none; leave it out, or take 'efflite0'"
            )
    if fields.metrics:
        least = min((fields.num_samples, *(source.size for source in compared)))
        needed = max(METRICS[name].fewest for name in fields.metrics)
        if least < needed:
            raise ConfigError(
                f"{at}.num_samples={fields.num_samples}: of as many and the held-out images "
                f"{least} can be compared; {needed} are needed: set more, hold out more "
                "(config.data.held_out), or leave the metrics out"
            )
    _check_best(fields, at)


def _check_best(fields: EvaluationFields, at: str) -> None:
    """Raises a ConfigError for a best figure that is not measured, or patience without one."""
    of_likelihood = ranking([HELD_OUT_LIKELIHOOD], fields.features)
    if fields.best in of_likelihood and not fields.log_likelihood:
        raise ConfigError(
            f"{at}.best={fields.best!r}: {at}.log_likelihood is 0, so it is not measured; set "
            f"{at}.log_likelihood to a number of samples, such as 1000"
        )
    measured = ranking([each.metric for each in wanted(fields)], fields.features)
    if fields.best not in (NO_FIGURE, *measured):
        raise ConfigError(
            f"{at}.best={fields.best!r}: {at}.metrics={fields.metrics} of "
            f"{at}.features={fields.features!r} give no such figure by which one model is better "
            f"than another, but {', '.join((NO_FIGURE, *measured))}"
        )
    fields.check_patience()


def load(config: RunConfig) -> features.Params | None:
    """Loads the feature network's parameters, or returns None if no metric needs them.

    Raises:
      UserError: the weights can be neither found nor fetched.
    """
    fields = config.evaluation
    if not any(each.metric.of_network for each in wanted(fields)):
        return None
    return features.load(fields.features, fields.weights or None)


class Reference(NamedTuple):
    """A metric's results for real images, which stay the same from evaluation to evaluation.

    Attributes:
      metric: the metric.
      taken: the numbers of images that the metric looks at.
      prepared: what the metric's `prepare` returned.
      floor: the metric's floor, the figure of real images in place of samples, by its full name;
        {} if it has none.
    """

    metric: Metric
    taken: Taken
    prepared: Any
    floor: dict[str, float]


class Evaluator:
    """A callable that measures samples of the averaged generator against held-out images.

    The figures are those of the metrics in config.evaluation. Metrics that look for copies compare
    with the training images instead, and so do all if no images are held out. If a metric has a
    `training_floor` and images are held out, the figure of training images in place of samples is
    reported beside it, as kid_efflite0_floor. A metric leaves out the phases whose images it cannot
    take.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        config: RunConfig,
        *,
        sampler: Callable,
        sharding: NamedSharding,
        params: features.Params | None,
    ):
        """Prepares the feature network.

        Args:
          algorithm: the algorithm whose generator is measured.
          config: the run's config.
          sampler: the compiled sampler of `ganjax.engine.step.make_sampler`.
          sharding: the sharding of a batch over the devices.
          params: the feature network's parameters, from `load`.
        """
        self._algorithm, self._config = algorithm, config
        self._sampler, self._sharding = sampler, sharding
        self._wanted = wanted(config.evaluation)
        outputs = network_outputs(each.metric for each in self._wanted)
        network = config.evaluation.features
        self._extract = features.Extractor(network, params, outputs, sharding)
        # By image size, since the phases of a run have the same images at different sizes.
        self._references: dict[Size, list[Reference]] = {}

    def __call__(
        self, ema: Ema, phase: Phase, training: Source, held_out: Source, key: jax.Array
    ) -> dict[str, float]:
        """Measures a generator.

        Args:
          ema: the averaged generator.
          phase: the phase in which the generator is trained.
          training: the training images of the phase, whose labels samples have as often.
          held_out: the held-out images of the phase; there may be none.
          key: the run's root key, on this process's own device; it gives the same latents each
            time.

        Returns:
          The figures by their full names; {} if the config asks for none.
        """
        if not self._wanted:
            return {}
        size = phase.size
        if size not in self._references:
            self._references[size] = self._prepare(size, training, held_out)
        num = max(each.num_samples for each in self._wanted)
        z = np.asarray(self._algorithm.latent(fold(key, "evaluation", "sample"), num))
        label = draw_labels(training, self._algorithm.num_classes, num)
        sample = partial(
            sampling.sample_batches, self._sampler, ema, phase=phase, sharding=self._sharding
        )

        def samples(count: int) -> ImageSet:
            return ImageSet(
                "samples",
                count,
                self._shape(size),
                partial(sample, z[:count], label[:count]),
                labels=label[:count],
                num_classes=self._algorithm.num_classes,
            )

        fields, figures = self._config.evaluation, {}
        outputs = self._extract.observe(samples(fields.num_samples), "samples").outputs
        for metric, taken, prepared, floor in self._references[size]:
            fakes = Observed(samples(taken.fake), outputs)
            found = metric.measure(prepared, fakes.part(metric.needs, 0, taken.fake))
            figures |= metric.full_names(found, fields.features) | floor
        return figures

    def _prepare(self, size: Size, training: Source, held_out: Source) -> list[Reference]:
        """Computes what the metrics need of the real images, which is done once for each size."""
        metrics = [each.metric for each in self._wanted if each.metric.accepts(*size)]
        num = self._config.evaluation.num_samples
        shape = self._shape(size)
        has_floors = held_out.size > 0
        name, compared = ("held-out", held_out) if has_floors else ("training", training)
        real = from_source(f"{name} images", compared, num, shape)
        real = self._extract.observe(real, real.name)
        # Copies are looked for among all training images; a floor needs as many as samples.
        copies = any(metric.reference == "training" for metric in metrics)
        trained = from_source("training images", training, features.MOST if copies else num, shape)
        trained = Observed(trained)
        if any(m.of_network and (m.training_floor or m.reference == "training") for m in metrics):
            trained = self._extract.observe(trained.images, trained.images.name)
        with_copies = trained
        if self._config.data.mirror and any(
            metric.of_network and metric.reference == "training" for metric in metrics
        ):
            with_copies = self._extract.with_mirror_images(trained, "mirror images")
        every = Observed(from_source(f"{name} images", compared, None, shape))
        references = []
        for metric, num_samples, num_reals in self._wanted:
            if metric in metrics:
                held = every if num_reals is None else real
                of_copies = metric.reference == "training"
                reference, stand_in = (with_copies, held) if of_copies else (held, trained)
                found = self._look(metric, reference, stand_in, num_samples)
                references.append(found if has_floors else found._replace(floor={}))
        return references

    def _look(
        self, metric: Metric, reference: Observed, stand_in: Observed, num_samples: int
    ) -> Reference:
        """Computes what a metric needs of its reference images, and its floor."""
        taken = metric.choose_counts(
            Counts(reference.images.count, num_samples, stand_in.images.count)
        )
        prepared = metric.prepare(reference.part(metric.needs, 0, taken.reference))
        floor = {}
        if metric.training_floor:
            found = metric.measure(prepared, stand_in.part(metric.needs, 0, taken.fake))
            name = metric.full_name(metric.training_floor, self._config.evaluation.features)
            floor = {f"{name}_floor": found[metric.training_floor]}
        return Reference(metric, taken, prepared, floor)

    def _shape(self, size: Size) -> tuple[int, int, int]:
        return size.height, size.width, self._config.data.channels


def draw_labels(training: Source, num_classes: int, num: int) -> np.ndarray:
    """Draws labels for samples, with each class as frequent as among the training images.

    They are the labels of the images that `ganjax.metrics.image_set.choose` draws, in a random
    order that is always the same. If there are fewer images than samples, the labels repeat.

    Args:
      training: the training images.
      num_classes: the model's number of classes; a single class has the label 0.
      num: the number of samples.

    Returns:
      The labels, int32 (num,).
    """
    if num_classes == 1:
        return np.zeros(num, np.int32)
    assert training.labels is not None  # Sources of a model with classes are labelled.
    return training.labels()[np.resize(choose(training, num), num)].astype(np.int32)
