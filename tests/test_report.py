"""What is written of metrics that a step need not measure."""

import json
import math

import jax.numpy as jnp
import pytest
from conftest import shipped

from ganjax import config as configs
from ganjax.report import Report
from ganjax.writer import Writer


def metrics(**own):
    every = ("d_loss", "g_loss", "d_grad_norm", "g_grad_norm")
    return {
        name: jnp.float32(value) for name, value in {**dict.fromkeys(every, 1.0), **own}.items()
    }


def test_a_metric_is_written_as_last_measured(tmp_path):
    """A penalty of every third step would never meet a line of every second one but by chance."""
    raw = shipped("wgan_gp")
    raw.log_every = 2
    config = configs.load(raw).config
    with Writer(tmp_path, 0, config.total_steps, True) as writer:
        report = Report(writer, tmp_path, config, None)
        for step, r1 in enumerate([math.nan, math.nan, 5.0, math.nan, math.nan, 7.0], 1):
            report.metrics(step, 8, metrics(r1=r1))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row.get("r1") for row in rows] == [None, 5.0, 7.0]


@pytest.mark.parametrize("wrong", [{"d_loss": math.nan}, {"r1": math.inf}])
def test_what_is_not_finite_is_refused(wrong, tmp_path, monkeypatch):
    config = configs.load(shipped("wgan_gp")).config
    with Writer(tmp_path, 0, config.total_steps, True) as writer:
        report = Report(writer, tmp_path, config, None)
        monkeypatch.setattr(report, "_diverged", lambda step, what: pytest.fail(what))
        with pytest.raises(pytest.fail.Exception, match=next(iter(wrong))):
            report.metrics(1, 8, metrics(**wrong))
