"""Tests that metrics get worse as images do, and are near their floor for real images."""

import json
import os
import subprocess
import sys
from itertools import pairwise

import pytest
from conftest import ROOT

# What must grow (1) or fall (-1) at every further step of a degradation.
DIRECTIONS = {
    # Density is unbounded: what blur takes from the details may lie among more reals at first,
    # and nearer to one: neighbour_distance.
    "blur": {
        "kid": 1,
        "kid_batch": 1,
        "fid": 1,
        "is": -1,
        "precision": -1,
        "recall": -1,
        "coverage": -1,
    },
    # Noise makes images unlike each other, so not perceptual_distance.
    "noise": {
        "kid": 1,
        "kid_batch": 1,
        "fid": 1,
        "is": -1,
        "precision": -1,
        "density": -1,
        "coverage": -1,
        "neighbour_distance": 1,
    },
    # The few that are left are reals: how near their neighbours are, and among how many reals
    # they lie (precision, density), is the chance of which are left.
    "collapse": {
        "kid": 1,
        "kid_batch": 1,
        "fid": 1,
        "is": -1,
        "recall": -1,
        "coverage": -1,
        "perceptual_distance": -1,
        "distinct_neighbours": -1,
    },
}


@pytest.mark.slow
def test_degradations_are_ranked(tmp_path):
    """In a process of its own: the other tests' XLA does not optimise, which here takes longer."""
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    out = tmp_path / "table.json"
    command = [sys.executable, "-m", "experiments.metric_sanity", "--num=128", f"--out={out}"]
    subprocess.run(command, check=True, cwd=ROOT, env=env, timeout=600)
    rows = json.loads(out.read_text())
    floor = rows[0][2]
    for kind, directions in DIRECTIONS.items():
        steps = [floor, *(found for name, _, found in rows if name == kind)]
        for figure, direction in directions.items():
            values = [direction * step[f"{figure}_efflite0"] for step in steps]
            # What has reached its worst, such as a precision of 0, stays there.
            assert all(a <= b for a, b in pairwise(values)), (kind, figure)
            assert values[0] < values[-1], (kind, figure)
    assert abs(floor["kid_efflite0"]) < 0.1 * rows[3][2]["kid_efflite0"]
    assert floor["precision_efflite0"] > 0.6
    assert floor["coverage_efflite0"] > 0.8
