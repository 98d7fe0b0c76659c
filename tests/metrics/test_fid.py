"""The Frechet distance against torch-fidelity, SciPy's matrix root and the nuclear norm."""

import json

import numpy as np
import scipy
from conftest import ROOT

from ganjax.metrics import fid
from tests.golden import feature_inputs as inputs

GOLDEN = json.loads((ROOT / "tests" / "golden" / "metrics.json").read_text())
REAL, FAKE = inputs.features(1), inputs.features(2)


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
