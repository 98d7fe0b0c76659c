"""The Kernel Inception Distance against torch-fidelity and the definition, a pair at a time."""

import json

import numpy as np
import pytest
from conftest import ROOT

from ganjax.metrics import kid
from ganjax.metrics.metric import Taken
from ganjax.metrics.table import METRICS
from tests.golden import feature_inputs as inputs

GOLDEN = json.loads((ROOT / "tests" / "golden" / "metrics.json").read_text())
REAL, FAKE = inputs.features(1), inputs.features(2)


def mmd2(x, y):
    """Binkowski et al. 2018, equation 4, a pair at a time."""
    k = lambda a, b: (float(a.astype(np.float64) @ b.astype(np.float64)) / len(a) + 1) ** 3  # noqa: E731
    within = [
        np.mean([k(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j])
        for z in (x, y)
    ]
    return sum(within) - 2 * np.mean([k(a, b) for a in x for b in y])


def test_kid_is_torch_fidelitys():
    made = kid.kernel_distance(REAL, FAKE, subsets=20, size=100)
    np.testing.assert_allclose(made, GOLDEN["kid"], rtol=1e-6)


def test_kid_of_all_pair_by_pair():
    mean, deviation = kid.kernel_distance(REAL[:40], FAKE[:40])
    np.testing.assert_allclose(mean, mmd2(REAL[:40], FAKE[:40]), rtol=1e-9)
    assert deviation == 0


def test_kid_of_all_pairs_at_once_equals_subset_by_subset():
    random = np.random.RandomState(0)
    drawn = [[random.choice(300, 30, replace=False) for _ in range(2)] for _ in range(200)]
    at_once = kid._of_subsets(REAL, FAKE, drawn)
    alone = [kid._of_subsets(REAL, FAKE, [each])[0] for each in drawn]
    np.testing.assert_allclose(at_once, alone, rtol=1e-9)
    a, b = drawn[0]
    np.testing.assert_allclose(at_once[0], mmd2(REAL[a], FAKE[b]), rtol=1e-9)


def test_kid_of_batches():
    expected = np.mean([mmd2(REAL[i : i + 50], FAKE[i : i + 50]) for i in (0, 50)])
    np.testing.assert_allclose(
        kid.kernel_distance_of_batches(REAL[:149], FAKE, 50), expected, rtol=1e-9
    )


def test_kid_has_no_bias():
    """Of two sets of one distribution the mean is 0; with the diagonals left in it would not be."""
    random = np.random.RandomState(0)
    values = [kid.kernel_distance(random.randn(50, 8), random.randn(50, 8))[0] for _ in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20


@pytest.mark.parametrize(("fakes", "subsets", "size"), [(300, 1, 300), (200, 100, 200)])
def test_a_deviation_is_of_several_subsets_and_the_record_says_of_how_many(fakes, subsets, size):
    metric = METRICS["kid"]
    found = metric.measure(metric.prepare(REAL), FAKE[:fakes])
    assert ("kid_std" in found) == (subsets > 1)
    record = metric.protocol(Taken(300, fakes))
    assert (record["subsets"], record["subset_size"]) == (subsets, size)
