"""The fields of a config that say what is measured during training."""

from collections.abc import Iterator

from ganjax.config import (
    ConfigError,
    Fields,
    Idle,
    Names,
    NonNegativeInt,
    PositiveInt,
    may_change_if_named,
)

# The value of `best` by which no figure chooses a best checkpoint.
NO_FIGURE = "none"


class BestFields(Fields):
    """What follows from the figures of a run's evaluations.

    Attributes:
      best: the figure by which the best checkpoint is chosen, such as "val_log_likelihood" or
        "kid_efflite0". That checkpoint is kept besides the latest ones, and sampled by default;
        "none" keeps the latest ones only. The metric says whether more or less is better.
      patience: the number of evaluations in a row without a better `best` after which the run
        stops; 0 never stops it.
    """

    best: str = may_change_if_named(NO_FIGURE)
    patience: NonNegativeInt = may_change_if_named(0)

    def check_patience(self) -> None:
        """Raises a ConfigError for a patience without a figure that is waited for."""
        if self.patience and self.best == NO_FIGURE:
            raise ConfigError(
                f"config.evaluation.patience={self.patience}: config.evaluation.best is 'none'; "
                "name the figure that is waited for, or set patience=0"
            )


class EvaluationFields(BestFields):
    """The measurements at each evaluation, of the averaged generator, besides held-out losses.

    By default there are none. `ganjax.training.evaluation` checks these fields and measures.

    Attributes:
      log_likelihood: the number of samples whose Parzen windows give val_log_likelihood
        (`ganjax.metrics.parzen`); 0 leaves it out.
      metrics: the metrics that are measured, such as ("kid", "fid"), of those in
        `ganjax.metrics.table.METRICS`; () measures none.
      features: the feature network of these metrics, whose name ends the names of their figures
        (kid_efflite0): "efflite0" comes with ganjax, "inception", "inception_clean" and
        "keras_inception" are fetched once. It is refused, as `weights` is, if no metric looks at
        images through a network.
      weights: the path of that network's published weight file; "" looks for it where it was
        installed or fetched to, and fetches it.
      num_samples: the number of samples that these metrics measure, and the most held-out images
        that the samples are compared with; without metrics it has no effect.
    """

    log_likelihood: NonNegativeInt = may_change_if_named(0)
    metrics: Names[str] = may_change_if_named(())
    features: str = may_change_if_named("efflite0")
    weights: str = may_change_if_named("")
    num_samples: PositiveInt = may_change_if_named(1_000)

    def idle(self) -> Iterator[Idle]:
        yield from super().idle()
        # Imported here, since metrics take long to import and most configs name none.
        from ganjax.metrics.table import METRICS

        if not any(name in METRICS and METRICS[name].of_network for name in self.metrics):
            reason = "no metric looks through a network; name one in config.evaluation.metrics"
            yield from (Idle("features", reason), Idle("weights", reason))
        if not self.metrics:
            yield Idle("num_samples")
