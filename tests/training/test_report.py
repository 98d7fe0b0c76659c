"""What is written of metrics that a step need not measure."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import shipped

from ganjax.training import schema
from ganjax.training.report import Report
from ganjax.training.writer import Writer


def metrics(**own):
    every = ("d_loss", "g_loss", "d_grad_norm", "g_grad_norm")
    return {
        name: jnp.float32(value) for name, value in {**dict.fromkeys(every, 1.0), **own}.items()
    }


def test_a_metric_is_written_as_last_measured(tmp_path):
    """A penalty of every third step would never meet a line of every second one but by chance."""
    raw = shipped("wgan_gp")
    raw.log_every = 2
    config = schema.load(raw).config
    with Writer(tmp_path, 0, config.total_steps, True) as writer:
        report = Report(writer, tmp_path, config, None)
        for step, r1 in enumerate([math.nan, math.nan, 5.0, math.nan, math.nan, 7.0], 1):
            report.metrics(step, 1, 8, [metrics(r1=r1)])
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row.get("r1") for row in rows] == [None, 5.0, 7.0]


@pytest.mark.parametrize("wrong", [{"d_loss": math.nan}, {"r1": math.inf}])
def test_what_is_not_finite_is_refused(wrong, tmp_path, monkeypatch):
    config = schema.load(shipped("wgan_gp")).config
    with Writer(tmp_path, 0, config.total_steps, True) as writer:
        report = Report(writer, tmp_path, config, None)
        monkeypatch.setattr(report, "_diverged", lambda step, what: pytest.fail(what))
        with pytest.raises(pytest.fail.Exception, match=next(iter(wrong))):
            report.metrics(1, 1, 8, [metrics(**wrong)])


def test_under_loss_scaling_a_gradient_may_overflow_but_no_loss(tmp_path, monkeypatch):
    raw = shipped("wgan_gp")
    raw.log_every = 1
    config = schema.load(raw).config
    with Writer(tmp_path, 0, config.total_steps, True) as writer:
        report = Report(writer, tmp_path, config, None, scaled_losses=True)
        report.metrics(1, 1, 8, [metrics(d_grad_norm=math.nan)])
        monkeypatch.setattr(report, "_diverged", lambda step, what: pytest.fail(what))
        with pytest.raises(pytest.fail.Exception, match="d_loss"):
            report.metrics(2, 1, 8, [metrics(d_loss=math.nan)])
    (row,) = (json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert row.keys() == {"step", "d_loss", "g_loss", "g_grad_norm"}


def test_of_several_seeds_it_is_told_whose(tmp_path, monkeypatch):
    raw = shipped("wgan_gp")
    raw.seed, raw.num_seeds, raw.log_every = 3, 2, 1
    config = schema.load(raw).config
    with Writer(tmp_path, 0, config.total_steps, True) as writer:
        report = Report(writer, tmp_path, config, None)
        report.metrics(1, 1, 8, [metrics(d_loss=1.0), metrics(d_loss=3.0)])
        monkeypatch.setattr(report, "_diverged", lambda step, what: pytest.fail(what))
        with pytest.raises(pytest.fail.Exception, match=r"^d_loss=nan of seed 4$"):
            report.metrics(2, 1, 8, [metrics(), metrics(d_loss=math.nan)])
    (row,) = (json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert row["d_loss"] == 2.0
    assert row["d_loss_seed_std"] == pytest.approx(math.sqrt(2))


def test_a_dispatch_of_steps_is_written_step_by_step(tmp_path):
    raw = shipped("wgan_gp")
    raw.log_every = 2
    config = schema.load(raw).config
    with Writer(tmp_path, 0, config.total_steps, True) as writer:
        report = Report(writer, tmp_path, config, None)
        for last in (4, 8):
            values = np.arange(last - 3, last + 1, dtype=np.float32)
            report.metrics(last, 4, 8, [dict.fromkeys(metrics(), values)])
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["d_loss"]) for row in rows] == [(n, n) for n in (2, 4, 6, 8)]
    # The first dispatch compiles; of the next, all steps take as long.
    assert ["images_per_second" in row for row in rows] == [False, False, True, True]
    assert rows[2]["images_per_second"] == pytest.approx(rows[3]["images_per_second"], rel=1e-3)
