"""Distances of all pairs against SciPy's."""

import numpy as np
import scipy

from ganjax.metrics import pairs
from tests.golden import feature_inputs as inputs

REAL, FAKE = inputs.features(1), inputs.features(2)


def test_nearest_is_scipys(monkeypatch):
    monkeypatch.setattr(pairs, "CHUNK", 7 * 300)
    apart = scipy.spatial.distance.cdist(FAKE.astype(np.float64), REAL.astype(np.float64))
    found = pairs.nearest(FAKE, REAL, 4)
    np.testing.assert_array_equal(found.index, apart.argsort(1)[:, :4])
    np.testing.assert_allclose(found.distance, np.sort(apart, 1)[:, :4], rtol=1e-9)
    own = scipy.spatial.distance.cdist(REAL.astype(np.float64), REAL.astype(np.float64))
    np.testing.assert_allclose(pairs.radii(REAL, 3), np.sort(own, 1)[:, 3], rtol=1e-7)
