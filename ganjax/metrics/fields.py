"""The fields of a config that say what is measured while training."""

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from ganjax.config import Fields

# In place of a figure's name: no figure marks the best checkpoint.
NO_FIGURE = "none"


class EvaluationFields(Fields):
    """What is measured on held-out images, besides D's loss on them.

    Attributes:
      log_likelihood: samples in the Parzen window that gives val_log_likelihood; 0 leaves
        it out. See `ganjax.metrics.parzen`.
      metrics: which of `ganjax.metrics.figures.METRICS`, such as ("kid", "fid"); () for none.
        Their figures' names end in the network's: kid_efflite0.
      features: the network of these, of `ganjax.metrics.features.NETWORKS`: "efflite0" comes
        with ganjax, "inception" and "inception_clean" are fetched once.
      weights: the path of that network's published weight file; "" looks for it where it was
        installed or fetched to, and fetches it.
      num_samples: generated images, and at most as many held-out ones, that these take.
      best: the figure by which the best checkpoint is kept besides the latest, and
        sampled: "val_log_likelihood", "kid_efflite0", ..., or "none". Whether more of it or
        less is better is known.
      patience: evaluations in a row without a better figure after which the run stops; 0
        never stops it.
    """

    log_likelihood: NonNegativeInt = 0
    metrics: Annotated[tuple[str, ...], Field(strict=False)] = ()
    features: str = "efflite0"
    weights: str = ""
    num_samples: PositiveInt = 1_000
    best: str = NO_FIGURE
    patience: NonNegativeInt = 0
