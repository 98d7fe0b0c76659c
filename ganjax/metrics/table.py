"""The table of all metrics, and look-ups in it."""

from collections.abc import Iterable, Iterator

from ganjax.metrics import (
    features,
    fid,
    inception_score,
    kid,
    modes,
    neighbours,
    parzen,
    perceptual,
    prdc,
    swd,
    tags,
)
from ganjax.metrics.metric import Figure, Metric

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        kid.KernelDistance(),
        kid.KernelDistanceOfBatches(),
        fid.FrechetDistance(),
        inception_score.InceptionScore(),
        prdc.PrecisionRecall(),
        prdc.DensityCoverage(),
        modes.Modes(),
        perceptual.PerceptualDistance(),
        neighbours.FeatureNeighbours(),
        neighbours.PixelNeighbours(),
        parzen.LogLikelihood(),
        swd.SlicedWasserstein(),
    )
}
# config.evaluation.log_likelihood asks for this one, instead of config.evaluation.metrics.
HELD_OUT_LIKELIHOOD = parzen.HeldOutLogLikelihood()


def network_outputs(metrics: Iterable[Metric]) -> tuple[str, ...]:
    """Returns the fields of `ganjax.metrics.features.Outputs` that these metrics need."""
    return tuple(sorted({metric.output for metric in metrics if metric.of_network}))


def ranking(metrics: Iterable[Metric], network: str) -> list[str]:
    """Returns the full names of the metrics' figures of which more or less is better.

    Args:
      metrics: the metrics.
      network: the name of the feature network.
    """
    return [
        metric.full_name(figure.name, network)
        for metric in metrics
        for figure in metric.figures
        if figure.better
    ]


def sign(figure: str) -> int | None:
    """Returns the direction in which a figure gets better.

    Args:
      figure: a full name, such as kid_efflite0.

    Returns:
      1 if more of it is better, -1 if less is, None if neither is or no metric gives it.
    """
    for name, each in figures():
        if name == figure and each.better:
            return 1 if each.better == "more" else -1
    return None


def figures() -> Iterator[tuple[str, Figure]]:
    """Yields all figures with their full names, once for every network, and those of tags."""
    yield from ((figure.name, figure) for figure in tags.FIGURES)
    for metric in (*METRICS.values(), HELD_OUT_LIKELIHOOD):
        for figure in (*metric.figures, *metric.further):
            for network in features.NETWORKS if metric.of_network else ("",):
                yield metric.full_name(figure.name, network), figure
