"""Figures of the samples of a run's checkpoints, each of which is measured once."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import jax

from experiments.equal_time.parts import Part
from ganjax.analysis.image_sets import from_run
from ganjax.analysis.trained import Trained
from ganjax.metrics import features
from ganjax.metrics.image_set import ImageSet, from_source
from ganjax.metrics.table import METRICS, network_outputs
from ganjax.parallel.sharding import make_layout
from ganjax.runtime import storage

FIGURES = "figures.json"
Measure = Callable[[ImageSet], dict[str, float]]


def measurer(part: Part, real: ImageSet) -> Measure:
    """Returns a function that measures fakes against reals by the metrics of a part."""
    sharding = make_layout(jax.local_devices()).batch
    prepared = []
    for name, network in part.metrics.items():
        metric = METRICS[name]
        params, outputs = features.load(network), network_outputs([metric])
        extract = features.Extractor(network, params, outputs, sharding)
        reference = metric.prepare(extract.observe(real, "reals").part(metric.needs, 0, real.count))
        prepared.append((metric, network, extract, reference))

    def measure(fake: ImageSet) -> dict[str, float]:
        figures = {}
        for metric, network, extract, reference in prepared:
            observed = extract.observe(fake, "fakes").part(metric.needs, 0, fake.count)
            figures |= metric.full_names(metric.measure(reference, observed), network)
        return figures

    return measure


def measure_run(part: Part, folder: Path, steps: Sequence[int], measure: Measure) -> None:
    """Measures the checkpoints of a run that have not been measured yet.

    Args:
      part: what is compared.
      folder: the run's folder, to whose `FIGURES` the figures are written, by step.
      steps: the steps of the checkpoints.
      measure: the function of `measurer`.
    """
    figures = read_figures(folder)
    for step in steps:
        if step not in figures:
            run = Trained(folder, str(step))
            figures[step] = measure(from_run(run, f"{folder.name} step {step}", part.samples))
            storage.write_json(folder / FIGURES, figures)


def read_figures(folder: Path) -> dict[int, dict[str, float]]:
    """Returns the figures of a run by step, as far as they are measured."""
    path = folder / FIGURES
    if not path.is_file():
        return {}
    return {int(step): found for step, found in json.loads(path.read_text()).items()}


def floor(part: Part, folder: Path, out: Path, measure: Measure) -> None:
    """Measures training images in place of samples, and writes the figures to the part's folder."""
    if not (out / FIGURES).is_file():
        images = Trained(folder, "last").images_of("train")
        found = measure(from_source("training images", images, part.samples))
        storage.write_json(out / FIGURES, {0: found})
