"""Which series of metrics are told of as an illness, and which are not."""

import json
import re

import numpy as np
import pytest
from conftest import ROOT
from small import shipped

from ganjax.training import schema
from ganjax.training.illnesses import Watch

# Of runs that end with good samples (tests/golden/run_metrics.py).
SHIPPED = json.loads((ROOT / "tests" / "golden" / "run_metrics.json").read_text())
# A fifth of these steps is the stretch over which means are taken.
STEPS = 1_000


def watch(rows=(), **fields):
    config = shipped("dcgan")
    config.total_steps = STEPS
    config.update_from_flattened_dict(fields)
    return Watch(schema.load(config).config, rows)


def series(**metrics):
    """Lines of every tenth step, of values or functions of the step."""
    return [
        {"step": step, "d_loss": 0.7}
        | {name: value(step) if callable(value) else value for name, value in metrics.items()}
        for step in range(10, STEPS + 1, 10)
    ]


def told(rows, **fields):
    """(step, line) of everything that is told."""
    look = watch(**fields)
    return [(row["step"], line) for row in rows for line in look(row)]


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"d_acc": 0.97}, r"^D is right about 97.0% of images, above .* \(Béres 2021\): .* strong"),
        ({"d_acc": 0.6}, r"^D is right about 60.0% of images, below .* \(Béres 2021\): .* weak"),
        (
            {"d_acc": 0.9, "d_loss": 1e-4},
            r"^D's loss is 0.0001: .* \(Chintala et al. 2016\); weaken D",
        ),
    ],
)
def test_an_illness_is_told_once_when_it_has_lasted(metrics, message):
    ((step, line),) = told(series(**metrics))
    assert step == 2 * STEPS // 5

    assert re.search(message, line)
    assert "\n" not in line


def test_what_is_healthy_or_short_is_not_told():
    noise = np.random.RandomState(0)
    healthy = {
        "in the range": {"d_acc": 0.9, "d_loss": 0.5},
        "at its ends": {"d_acc": lambda step: 0.8 if step % 20 else 0.95},
        "noisy": {"d_acc": lambda step: float(np.clip(noise.normal(0.88, 0.1), 0, 1))},
        "a swing at the start": {"d_acc": lambda step: 1.0 if step <= 200 else 0.9},
        "a short swing": {"d_acc": lambda step: 1.0 if 500 < step <= 560 else 0.85},
        "of a loss without logits": {"d_loss": -5.0, "c_wass_loss": -6.0, "aug_p": 1.0},
    }
    for name, metrics in healthy.items():
        assert told(series(**metrics)) == [], name


def test_a_discriminator_that_becomes_too_strong_is_told_of_then():
    late = series(d_acc=lambda step: 0.85 if step <= 600 else 1.0)
    ((step, _),) = told(late)
    assert 700 < step < 800


KERAS = {"policy": "keras"}


@pytest.mark.parametrize(
    ("controller", "p", "is_told"),
    [
        ({"name": "accuracy", "p_max": 0.8}, 0.8, True),
        ({"name": "accuracy", "p_max": 0.8}, 0.79, False),
        ({"name": "accuracy"}, 1.0, True),
        ({"name": "fixed", "p": 1.0}, 1.0, False),
    ],
)
def test_p_at_its_cap_is_told_but_not_one_that_is_fixed(controller, p, is_told):
    rows = series(d_acc=0.9, aug_p=float(np.float32(p)))
    lines = told(rows, augment={**KERAS, "controller": controller})
    assert [line.startswith(f"p of augmentation stays at its cap, {p:g}") for _, line in lines] == (
        [True] * is_told
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_runs_as_shipped_are_told_of_nothing(name):
    config = shipped(name)
    config.total_steps = SHIPPED[name][-1]["step"]
    look = Watch(schema.load(config).config)
    assert [line for row in SHIPPED[name] for line in look(row)] == []


@pytest.mark.parametrize(
    "fields",
    [
        {"discriminator.dropout": 0.3},
        {"discriminator.spectral_norm": True},
        {"penalty.r1": 1.0},
        {"targets.noise": 0.1},
    ],
)
def test_a_discriminator_that_is_held_back_may_be_right_about_fewer_images(fields):
    rows = series(d_acc=0.6)
    assert len(told(rows)) == 1
    assert told(rows, **fields) == []


def evaluations(*shares, name="distinct_neighbours_efflite0"):
    return [{"step": 50 * (i + 1), name: share} for i, share in enumerate(shares)]


def test_fewer_and_fewer_distinct_neighbours_are_told_as_a_collapse():
    ((step, line),) = told(evaluations(0.2, 0.5, 0.6, 0.25, 0.2, 0.1))
    assert step == 250
    assert "20% of them distinct and once 60%: G collapses" in line
    # One evaluation says little, and half as many as ever are not few.
    assert told(evaluations(0.2, 0.6, 0.2, 0.6, 0.2)) == []
    assert told(evaluations(0.6, 0.3, 0.3, 0.3)) == []
    assert told(evaluations(0.6, 0.1, 0.1, name="distinct_neighbours_pixels_seed_std")) == []


def test_a_run_that_goes_on_tells_what_was_not_told_yet():
    rows = series(d_acc=lambda step: 0.6 if step <= 500 else 1.0)
    whole = told(rows)
    assert len(whole) == 2
    for killed in (10, 50, 70):
        look = watch(rows[:killed])
        rest = [(row["step"], line) for row in rows[killed:] for line in look(row)]
        assert rest == [(step, line) for step, line in whole if step > rows[killed - 1]["step"]]
