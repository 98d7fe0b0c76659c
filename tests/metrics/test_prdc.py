"""Precision, recall, density and coverage against prdc and the definition by differences."""

import json

import numpy as np
import pytest
from conftest import ROOT

from ganjax.metrics import pairs, prdc
from tests.golden import feature_inputs as inputs

GOLDEN = json.loads((ROOT / "tests" / "golden" / "metrics.json").read_text())
REAL, FAKE = inputs.features(1), inputs.features(2)


@pytest.mark.parametrize("k", [3, 5])
def test_prdc_is_prdcs(k, monkeypatch):
    monkeypatch.setattr(pairs, "CHUNK", 7 * 300)  # Of 7 rows, the last of 6.
    found = prdc.fidelity(REAL, FAKE, k)._asdict()
    assert found == pytest.approx(GOLDEN[f"prdc_{k}"], rel=1e-6)


def test_prdc_of_copies():
    """Copies of reals lie within them; copies of one real cover those about it alone."""
    found = prdc.fidelity(REAL, REAL.copy(), 3)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    found = prdc.fidelity(REAL, REAL[:1].repeat(50, 0), 5)
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
    assert prdc.fidelity(real, fake, k)._asdict() == pytest.approx(expected, rel=1e-12)
