"""Comparison at equal seconds of train steps: lengths, schedules and what is resumed."""

import json

import numpy as np
import pytest

from experiments.equal_time import __main__ as equal_time
from experiments.equal_time import figures, parts, runs, table
from experiments.tools import configs
from ganjax.errors import UserError
from ganjax.runtime import storage
from ganjax.training import schema


@pytest.mark.parametrize("name", parts.PARTS)
def test_every_config_of_a_part_is_valid_and_its_schedules_are_as_long_a_part_of_the_run(name):
    part = parts.PARTS[name]
    for system, named in part.systems.items():
        before = configs.named(named).to_dict()
        steps = 2 * part.points * (before["total_steps"] // part.points)
        after = parts.config_of(part, system, steps, part.points, seed=1)
        loaded, module = schema.load(after)
        assert [phase.stop for phase in module.build(loaded).phases] == [steps]
        assert (loaded.seed, loaded.keep_checkpoints) == (1, part.points)
        assert loaded.checkpoint_every * part.points == loaded.total_steps == steps
        assert (loaded.evaluation.metrics, loaded.data.source) == ((), part.data["source"])
        assert loaded.steps_per_dispatch == 1
        if named == "wgan_gp":
            was, now = (each["d_optimiser"]["learning_rate"] for each in (before, after))
            shares = [was["over"] / before["total_steps"], now["over"] / steps]
            np.testing.assert_allclose(*shares, rtol=1e-5)
            assert (now["start"], now["end"]) == (was["start"], was["end"])


def test_only_schedules_are_stretched():
    group = {"rate": {"start": 1.0, "end": 0.0, "over": 10, "form": "cosine"}, "steps": 10}
    config = {"optimiser": group, "over": 10}
    parts.stretch(config, 0.25)
    assert config["optimiser"]["rate"]["over"] == 2
    assert (config["optimiser"]["steps"], config["over"]) == (10, 10)


def test_the_seconds_of_a_step_are_those_of_all_attempts(tmp_path, monkeypatch):
    """The first attempt has 20 steps that count, of 2 seconds but one of 50, the next 60 of 4."""
    assert runs.step_seconds(tmp_path) is None
    for spent in ([9.0] * runs.WARM_UP + [2.0] * 19 + [50.0], [4.0] * 65, [9.0]):
        ends = iter(np.cumsum([0.0, *spent]))
        monkeypatch.setattr(runs.time, "process_time", lambda ends=ends: next(ends))
        clock = runs.Clock(tmp_path)
        for _ in range(len(spent) + 1):
            clock.advance()
        clock.close()
    assert runs.step_seconds(tmp_path) == pytest.approx((20 * 2.0 + 60 * 4.0) / 80)


def test_a_folder_of_another_length_is_refused(tmp_path):
    assert equal_time.settled("emoji", 5.0, tmp_path).seconds == 5.0
    assert equal_time.settled("emoji", 5.0, tmp_path).metrics == {"kid": "efflite0"}
    for name, seconds in (("emoji", None), ("digits", 5.0)):
        with pytest.raises(UserError, match="holds part emoji of 5 seconds"):
            equal_time.settled(name, seconds, tmp_path)


def test_a_short_run_without_a_timed_step_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(equal_time, "trained", lambda config, folder: False)
    with pytest.raises(UserError, match="calibration/wgan_gp: no step was timed; remove this fol"):
        equal_time.calibrated(parts.PARTS["smoke"], tmp_path)


def test_systems_are_compared_at_the_seconds_that_all_have_had(tmp_path):
    """Steps took as long as they were timed by one system, and twice as long by the other."""
    part, name = parts.PARTS["smoke"], "legible_digits"
    for folder, rate, a_step in (("wgan_gp", 1.0, 2.0), ("dcgan", 10.0, 1.0)):
        for seed in range(2):
            run = tmp_path / f"{folder}_seed{seed}"
            run.mkdir()
            found = {step: dict.fromkeys(part.shown, rate * step) for step in (10, 20)}
            (run / figures.FIGURES).write_text(json.dumps(found))
            storage.append_line(run / runs.CLOCK, {"step_seconds": a_step, "steps": 20})
    (tmp_path / figures.FIGURES).write_text(json.dumps({0: dict.fromkeys(part.shown, 0.5)}))
    lengths = dict.fromkeys(("wgan_gp", "dcgan"), 20)
    table.report(part, tmp_path, dict.fromkeys(lengths, 1.0), lengths)
    head, _, slow, fast, reals, *_ = (tmp_path / "table.md").read_text().splitlines()
    assert [f"{name} at {time} s" in head for time in (5, 10, 20)] == [True] * 3
    # `dcgan` has had 20 seconds, `wgan_gp` 40, and was at its first checkpoint after 20.
    assert slow == "| wgan_gp | 2 | 20 | 2.0000 | 40 |" + "  |  | 10 |" * 2
    assert fast == "| dcgan | 2 | 20 | 1.0000 | 20 |" + "  | 100 | 200 |" * 2
    assert reals.count(" 0.5 |") == 6


@pytest.mark.slow
def test_the_smallest_form_goes_on_after_a_stop_and_trains_nothing_twice(
    tmp_path, monkeypatch, one_device, native_convolutions
):
    part = equal_time.settled("smoke", None, tmp_path)
    train, trained = runs.train, []

    def recorded(config, folder, display):
        if len(trained) == 4:
            trained.append("stopped")
            raise KeyboardInterrupt
        train(config, folder, display)
        trained.append(folder.name)

    monkeypatch.setattr(runs, "train", recorded)
    with pytest.raises(KeyboardInterrupt):
        equal_time.compare(part, tmp_path)
    equal_time.compare(part, tmp_path)
    assert trained[:4] == ["wgan_gp", "dcgan", "wgan_gp_seed0", "dcgan_seed0"]
    assert trained[4:] == ["stopped", "wgan_gp_seed1", "dcgan_seed1"]
    measured = json.loads((tmp_path / "dcgan_seed1" / figures.FIGURES).read_text())
    assert len(measured) == part.points
    table = (tmp_path / "table.md").read_text()
    assert "| dcgan | 2 |" in table
    assert "training images" in table
    assert (tmp_path / "curves.png").stat().st_size
