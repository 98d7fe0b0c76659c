"""The Inception Score against torch-fidelity and the definition."""

import json

import numpy as np
import scipy
from conftest import ROOT

from ganjax.metrics import inception_score
from tests.golden import feature_inputs as inputs

GOLDEN = json.loads((ROOT / "tests" / "golden" / "metrics.json").read_text())


def test_inception_score_is_torch_fidelitys_and_the_definition():
    logits = inputs.logits()
    np.testing.assert_allclose(inception_score.score(logits), GOLDEN["is"], rtol=1e-6)
    p = scipy.special.softmax(logits.astype(np.float64), axis=1)
    expected = np.exp(np.mean(np.sum(p * np.log(p / p.mean(0)), axis=1)))
    found = inception_score.score(logits, splits=1)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    certain = np.where(np.eye(20)[np.arange(100) % 20], 1e4, 0.0)
    np.testing.assert_allclose(inception_score.score(certain, splits=1)[0], 20)
