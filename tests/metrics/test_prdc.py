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
    assert found == (1, 1, 1, 1)
    found = prdc.fidelity(REAL, REAL[:1].repeat(50, 0), 5)
    assert found.precision == 1
    assert found.recall <= 1 / 300
    assert found.coverage < 0.2


def by_loops(real, fake, k):
    """All four, a pair at a time, of differences, so that equal pairs are equally far."""

    def apart(a, b):
        return np.sqrt(np.sum((a.astype(np.float64) - b) ** 2))

    def radius(x, i):
        return sorted(apart(x[i], x[j]) for j in range(len(x)) if j != i)[k - 1]

    real_radii = [radius(real, i) for i in range(len(real))]
    fake_radii = [radius(fake, i) for i in range(len(fake))]
    precise, recalled, covered, inside = set(), set(), set(), 0
    for i in range(len(real)):
        for j in range(len(fake)):
            between = apart(real[i], fake[j])
            if between <= real_radii[i]:
                precise.add(j)
            if between <= fake_radii[j]:
                recalled.add(i)
            if between < real_radii[i]:
                covered.add(i)
                inside += 1
    return {
        "precision": len(precise) / len(fake),
        "recall": len(recalled) / len(real),
        "density": inside / len(fake) / k,
        "coverage": len(covered) / len(real),
    }


def grid(seed, num):
    """Points of a small grid, of which many are equal and most are equally far from others."""
    return np.random.RandomState(seed).randint(0, 3, (num, 3)).astype(np.float32)


BASE = np.maximum(np.random.RandomState(0).randn(12, 256), 0).astype(np.float32)
TIES = {
    "grids": (grid(0, 40), grid(1, 30)),
    "a set with itself": (BASE, BASE),
    # Balls have the radius 0, or end at copies.
    "copies": (BASE.repeat(4, 0), BASE[:6].repeat(4, 0)),
    "more copies than k": (BASE.repeat(6, 0), BASE[:6].repeat(7, 0)),
    "a collapse": (BASE, BASE[:1].repeat(9, 0)),
}


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("name", TIES)
def test_prdc_where_distances_are_equal(name, k, monkeypatch):
    """Rounding must not decide what is within, and density and coverage leave the surface out."""
    monkeypatch.setattr(pairs, "CHUNK", 7 * 20)
    real, fake = TIES[name]
    expected = by_loops(real, fake, k)
    assert prdc.fidelity(real, fake, k)._asdict() == pytest.approx(expected, rel=1e-12)
    if name == "a set with itself":
        assert expected["density"] == pytest.approx(1, rel=1e-12)
