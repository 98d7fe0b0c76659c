"""What holds for every metric: one interface, and figures that name their network."""

import re

import numpy as np
import pytest

from ganjax import evaluate
from ganjax.data.base import Source
from ganjax.metrics.features import NETWORKS, Observed, Outputs
from ganjax.metrics.image_set import from_source
from ganjax.metrics.metric import Counts
from ganjax.metrics.table import HELD_OUT_LIKELIHOOD, METRICS, network_outputs, ranking, sign
from tests.golden import feature_inputs as inputs

EVERY = [*METRICS.values(), HELD_OUT_LIKELIHOOD]


def observed(seed, count=40):
    """A set of random images, and random outputs of a network."""
    random = np.random.RandomState(seed)
    images = random.randint(0, 256, (count, 8, 8, 1)).astype(np.uint8)
    source = Source(count, lambda i: {"image": images[i]}, ())
    outputs = Outputs(
        inputs.features(seed, count),
        inputs.logits(count),
        random.uniform(size=count // 2).astype(np.float32),
    )
    return Observed(from_source("random", source, None), outputs)


def measured(metric, real, fake):
    taken = metric.choose_counts(Counts(real.images.count, fake.images.count))
    prepared = metric.prepare(real.part(metric.needs, 0, taken.reference))
    return metric.measure(prepared, fake.part(metric.needs, 0, taken.fake))


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.name)
def test_every_metric_gives_the_figures_that_it_lists(metric):
    """Of as many images as it needs and of more; by fewer than all it may leave its deviation."""
    assert metric.accepts(8, 8)
    fewest = max(metric.fewest, 6)
    for count in (fewest, 40):
        found = measured(metric, observed(1, 40), observed(2, count))
        assert all(np.isfinite(value) and type(value) is float for value in found.values())
        listed = {figure.name for figure in metric.figures}
        assert listed <= {*found, "kid_std"}
    assert metric.training_floor in {"", *found}


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.name)
def test_what_a_metric_prepares_of_reals_serves_any_fakes(metric):
    real, one, other = (observed(seed, 16) for seed in (1, 2, 3))
    prepared = metric.prepare(real.part(metric.needs, 0, 16))
    first = metric.measure(prepared, one.part(metric.needs, 0, 16))
    metric.measure(prepared, other.part(metric.needs, 0, 16))
    assert metric.measure(prepared, one.part(metric.needs, 0, 16)) == first


def test_every_figure_names_its_network_unless_it_is_of_pixels():
    names = {
        network: {m.full_name(f.name, network) for m in EVERY if m.of_network for f in m.figures}
        for network in NETWORKS
    }
    for network, found in names.items():
        assert all(name.removesuffix("_std").endswith(f"_{network}") for name in found)
        assert not any(found & names[other] for other in names if other != network)
    assert names["efflite0"] >= {"kid_efflite0", "is_efflite0_std", "fid_efflite0"}
    assert METRICS["swd"].full_names({"swd_16": 1.0}, "efflite0") == {"swd_16": 1.0}


def test_no_two_metrics_give_the_same_figure():
    names = [figure.name for metric in EVERY for figure in metric.figures]
    assert len(names) == len(set(names))


def test_signs():
    assert sign("kid_efflite0") == sign("fid_inception_clean") == -1
    assert sign("recall_inception") == sign("val_log_likelihood") == 1
    assert sign("swd") == -1
    assert sign("kid_efflite0_std") is sign("kid") is sign("swd_16") is None


def test_the_ranking_leaves_out_what_has_no_better():
    metrics = [METRICS[name] for name in ("kid", "neighbours", "swd")]
    assert ranking(metrics, "inception") == ["kid_inception", "swd"]
    assert network_outputs(metrics) == ("features",)


def test_a_part_of_a_set_is_its_images_and_outputs_and_reads_no_more(monkeypatch):
    """Distances are of pairs: half as many."""
    monkeypatch.setattr("ganjax.metrics.image_set.BATCH", 8)
    random, read = np.random.RandomState(0), []
    images = random.randint(0, 256, (40, 4, 4, 1)).astype(np.uint8)
    source = Source(40, lambda i: (read.extend(i), {"image": images[i]})[1], ())
    outputs = Outputs(random.randn(40, 3), None, random.randn(20))
    whole = Observed(from_source("random", source, None, (4, 4, 1)), outputs)
    part = whole.part("images", 4, 14)
    np.testing.assert_array_equal(part.array(), images[4:14])
    assert len(read) == 17, "batches of 1, 8 and 8, and no later one"
    np.testing.assert_array_equal(part.source.fetch(np.array([0, 9]))["image"], images[[4, 13]])
    np.testing.assert_array_equal(whole.part("features", 4, 14), outputs.features[4:14])
    np.testing.assert_array_equal(whole.part("distances", 4, 14), outputs.distances[2:7])
    assert whole.part("images", 30, 99).count == 10


@pytest.mark.parametrize("name", [each for each in METRICS if each != HELD_OUT_LIKELIHOOD])
def test_the_help_of_evaluate_names_every_metric(name):
    assert re.search(rf"\b{name}\b", str(evaluate.__doc__))
