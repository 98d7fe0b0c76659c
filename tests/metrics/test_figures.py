"""Each figure against another's implementation or the definition written out in float64."""

import json

import numpy as np
import pytest
import scipy.linalg
from conftest import ROOT
from scipy.spatial.distance import cdist
from scipy.special import softmax

from ganjax.metrics import fid, figures, inception_score, kid, pairs, prdc
from ganjax.metrics.features import NETWORKS, Extracted
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
    made = kid.kid(REAL, FAKE, subsets=20, size=100)
    np.testing.assert_allclose(made, GOLDEN["kid"], rtol=1e-6)


def test_kid_of_all_pair_by_pair():
    mean, deviation = kid.kid(REAL[:40], FAKE[:40])
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
    np.testing.assert_allclose(kid.kid_of_batches(REAL[:149], FAKE, 50), expected, rtol=1e-9)


def test_kid_has_no_bias():
    """Of two sets of one distribution the mean is 0; with the diagonals left in it would not be."""
    random = np.random.RandomState(0)
    values = [kid.kid(random.randn(50, 8), random.randn(50, 8))[0] for _ in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20


def test_fid_is_torch_fidelitys_and_scipys():
    moments = [fid.moments_of(x) for x in (REAL, FAKE)]
    found = fid.frechet_distance(*moments)
    np.testing.assert_allclose(found, GOLDEN["fid"], rtol=1e-6)
    x, y = (z.astype(np.float64) for z in (REAL, FAKE))
    root = scipy.linalg.sqrtm(np.cov(x.T) @ np.cov(y.T))
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2)
    expected += np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root.real)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_fid_of_fewer_samples_than_dimensions():
    """Where matrix roots fail: 30 samples of 64 dimensions against the nuclear norm."""
    x, y = REAL[:30].astype(np.float64), FAKE[:30].astype(np.float64)
    a, b = ((z - z.mean(0)) / np.sqrt(29) for z in (x, y))
    trace = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.sum(a**2) + np.sum(b**2) - 2 * trace
    found = fid.frechet_distance(fid.moments_of(x), fid.moments_of(y))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert abs(fid.frechet_distance(fid.moments_of(x), fid.moments_of(x))) < 1e-6


def test_moments_of_batches_far_from_the_origin():
    x = REAL.astype(np.float64) + 1e6
    found = fid.moments(np.split(x, [1, 2, 120, 299]))
    assert found.count == 300
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-14)
    np.testing.assert_allclose(found.covariance(), np.cov(x.T), rtol=1e-6, atol=1e-8)


def test_inception_score_is_torch_fidelitys_and_the_definition():
    logits = inputs.logits()
    np.testing.assert_allclose(inception_score.inception_score(logits), GOLDEN["is"], rtol=1e-6)
    p = softmax(logits.astype(np.float64), axis=1)
    expected = np.exp(np.mean(np.sum(p * np.log(p / p.mean(0)), axis=1)))
    found = inception_score.inception_score(logits, splits=1)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    certain = np.where(np.eye(20)[np.arange(100) % 20], 1e4, 0.0)
    np.testing.assert_allclose(inception_score.inception_score(certain, splits=1)[0], 20)


@pytest.mark.parametrize("k", [3, 5])
def test_prdc_is_prdcs(k, monkeypatch):
    monkeypatch.setattr(pairs, "CHUNK", 7 * 300)  # Of 7 rows, the last of 6.
    found = prdc.prdc(REAL, FAKE, k)._asdict()
    assert found == pytest.approx(GOLDEN[f"prdc_{k}"], rel=1e-6)


def test_prdc_of_copies():
    """Copies of reals lie within them; copies of one real cover those about it alone."""
    found = prdc.prdc(REAL, REAL.copy(), 3)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    found = prdc.prdc(REAL, REAL[:1].repeat(50, 0), 5)
    assert found.precision == 1
    assert found.recall <= 1 / 300
    assert found.coverage < 0.2


@pytest.mark.parametrize("k", [3, 5])
def test_prdc_where_images_occur_twice(k, monkeypatch):
    """Then balls have the radius 0, or end at copies: rounding must not decide what is within."""
    monkeypatch.setattr(pairs, "CHUNK", 7 * 100)
    base = np.maximum(np.random.RandomState(0).randn(20, 1280), 0).astype(np.float32)
    real, fake = base.repeat(5, 0), base[:10].repeat(5, 0)
    # Of differences, so that equal pairs are equally far.
    apart = lambda x, y: np.sqrt(  # noqa: E731
        np.sum((x[:, None].astype(np.float64) - y[None]) ** 2, axis=-1)
    )
    # The 0th is the image itself.
    real_radii, fake_radii = (np.sort(apart(x, x), 1)[:, k] for x in (real, fake))
    between = apart(real, fake)
    inside = between <= real_radii[:, None]
    expected = {
        "precision": inside.any(0).mean(),
        "recall": (between <= fake_radii).any(1).mean(),
        "density": inside.sum(0).mean() / k,
        "coverage": inside.any(1).mean(),
    }
    assert prdc.prdc(real, fake, k)._asdict() == pytest.approx(expected, rel=1e-12)


def test_nearest_is_scipys(monkeypatch):
    monkeypatch.setattr(pairs, "CHUNK", 7 * 300)
    apart = cdist(FAKE.astype(np.float64), REAL.astype(np.float64))
    found = pairs.nearest(FAKE, REAL, 4)
    np.testing.assert_array_equal(found.index, apart.argsort(1)[:, :4])
    np.testing.assert_allclose(found.distance, np.sort(apart, 1)[:, :4], rtol=1e-9)
    own = cdist(REAL.astype(np.float64), REAL.astype(np.float64))
    np.testing.assert_allclose(pairs.radii(REAL, 3), np.sort(own, 1)[:, 3], rtol=1e-7)


def test_every_figure_names_its_network():
    logits, distances = inputs.logits(), np.ones(7, np.float32)
    sets = [Extracted(x, logits, distances) for x in (REAL, FAKE)]
    names = {name: set(figures.measure(figures.METRICS, name, *sets, sets[0])) for name in NETWORKS}
    for network, found in names.items():
        assert all(name.removesuffix("_std").endswith(f"_{network}") for name in found)
        assert not any(found & names[other] for other in names if other != network)
    assert names["efflite0"] >= {"kid_efflite0", "is_efflite0_std", "fid_efflite0"}


def test_a_deviation_is_of_several_subsets_and_the_record_says_of_how_many():
    for fakes, subsets, size in ((300, 1, 300), (200, 100, 200)):
        sets = Extracted(REAL), Extracted(FAKE[:fakes])
        found = figures.measure(["kid"], "efflite0", *sets)
        assert ("kid_efflite0_std" in found) == (subsets > 1)
        record = figures.METRICS["kid"].protocol(300, fakes)
        assert (record["subsets"], record["subset_size"]) == (subsets, size)


def test_signs():
    assert figures.sign("kid_efflite0") == figures.sign("fid_inception_clean") == -1
    assert figures.sign("recall_inception") == figures.sign("val_log_likelihood") == 1
    assert figures.sign("swd") == -1
    assert figures.sign("kid_efflite0_std") is figures.sign("kid") is None
