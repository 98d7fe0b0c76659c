"""The time of a step on paper, against numbers by hand and against the steps that were measured."""

import re

import jax
import numpy as np
import pytest
from conftest import ROOT

from experiments.benchmarks.ours import load
from experiments.benchmarks.rows import GPU_ROWS, PRECISIONS
from ganjax.ops.lowering import native_convolutions
from ganjax.parallel.sharding import make_layout
from ganjax.planning import dry_run
from ganjax.planning.accelerators import ACCELERATORS
from ganjax.planning.report import _clock, _rounded
from ganjax.planning.times import (
    TRAFFIC,
    UTILISATION,
    Collective,
    Seconds,
    Work,
    collective_seconds,
    compute_seconds,
)
from ganjax.training.images import Images

# The work of a step of each row that was measured on a GPU, in both precisions.
WORK = {
    "dcgan:celeb_a": (Work(2.99e11, 1.96e10, 61), Work(2.99e11, 1.62e10, 61)),
    "wgan_gp:celeb_a": (Work(6.88e11, 3.3e10, 279), Work(6.88e11, 2.27e10, 279)),
    "wgan_gp": (Work(1.75e10, 2.34e9, 139), Work(1.75e10, 1.6e9, 139)),
    "cgan": (Work(1.36e9, 8.8e8, 49), Work(1.36e9, 8.7e8, 49)),
    "progan:celeb_a_64": (Work(1.4e13, 1.94e11, 200), Work(1.4e13, 1.29e11, 200)),
    "ada:emoji64": (Work(2.21e11, 2.34e10, 47), Work(2.21e11, 2.06e10, 47)),
    # 1024x1024 with remat, in float32 alone.
    "progan:celeb_a_hq_1024": (Work(7.72e12, 6.65e11, 463),),
}


def measured():
    """Yields (config, precision, ms) of the steps on an H100 in docs/speed.md and memory.md."""
    section = (ROOT / "docs" / "speed.md").read_text().split("## Train steps on a GPU\n")[1]
    names = []
    for line in section.split("\n## ")[0].splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 3 and cells[2].isdecimal():
            same = cells[1] == "the same in bfloat16"
            names += [] if same else [cells[1].split("`")[1]]
            yield names[-1], PRECISIONS[same], float(cells[3])
    memory = " ".join((ROOT / "docs" / "memory.md").read_text().split())
    large = re.search(
        r"On one H100 `([\w:]+)` with `remat` takes ([\d.]+) s a step of batch 4", memory
    )
    yield large[1], "float32", 1e3 * float(large[2])


def test_the_range_holds_every_step_that_was_measured():
    """And docs/accelerators.md shows it; it is no wider than a factor of 4.5."""
    page = (ROOT / "docs" / "accelerators.md").read_text()
    found = list(measured())
    assert len(found) == sum(map(len, WORK.values()))
    for config, precision, ms in found:
        work = WORK[config][PRECISIONS.index(precision)]
        range_ = compute_seconds(ACCELERATORS["h100"], work, precision)
        assert 1e3 * range_.low <= ms <= 1e3 * range_.high, (config, precision)
        assert range_.high < 4.5 * range_.low, (config, precision)
        ends = f"{1e3 * range_.low:.3g} to {1e3 * range_.high:.3g}"
        assert f"| `{config}` | {precision} | {ms:g} | {ends} |" in page


@pytest.mark.slow
@pytest.mark.parametrize("config", WORK)
def test_the_work_of_the_measured_steps_is_that_of_today(config):
    for precision, work in zip(PRECISIONS, WORK[config], strict=False):
        fields = GPU_ROWS.get(config, {"remat": True}) | {"precision": precision}
        loaded = load(config, **fields)
        algorithm = loaded.module.build(loaded.config)
        one, phase = make_layout(jax.devices()[:1]), algorithm.phases[-1]
        with native_convolutions():
            found = dry_run.work(Images(loaded.config), algorithm, one, phase)
        np.testing.assert_allclose(found, work, rtol=0.05)


def test_the_time_of_collectives_is_as_by_hand():
    """4 GB in a ring of 8 H100s: 14 rounds of 0.5 GB at 450 GB/s; between nodes at 50 GB/s."""
    h100 = ACCELERATORS["h100"]
    sent = {"all-reduce": Collective(1, 4 * 10**9)}
    np.testing.assert_allclose(collective_seconds(h100, sent, 8), 14 * (0.5 / 450 + 2e-6))
    np.testing.assert_allclose(collective_seconds(h100, sent, 16), 30 * (0.25 / 50 + 5e-6))
    assert collective_seconds(h100, sent, 1) == 0
    gathers = {"all-gather": Collective(2, 8 * 10**9)}
    np.testing.assert_allclose(collective_seconds(h100, gathers, 8), 7 * (1 / 450 + 2 * 2e-6))


def test_the_time_of_computation_is_as_by_hand():
    """A second of FLOPs at the peak, one of bytes, and a thousand starts."""
    h100 = ACCELERATORS["h100"]
    for precision, peak in (("float32", 494.7e12), ("bfloat16", 989.4e12)):
        found = compute_seconds(h100, Work(peak, 3.35e12, 1_000), precision)
        expected = [1 / UTILISATION[i] + TRAFFIC[i] + (0.008, 0.036)[i] for i in (0, 1)]
        np.testing.assert_allclose(found, expected)
    shared = Work(8.0, 80.0, 5).shared(4)
    assert shared == (2.0, 20.0, 5), "every device starts every product"
    assert Seconds(2.0, 8.0).middle == 4.0


def test_times_and_rates_are_written_for_people():
    assert [_clock(each) for each in (0.4, 59.6, 3_723, 360_000)] == [
        "0:00:00",
        "0:01:00",
        "1:02:03",
        "100:00:00",
    ]
    assert [_rounded(each) for each in (0.123, 9.87, 1234.0, 98_765.0)] == [
        "0.12",
        "9.9",
        "1,200",
        "99,000",
    ]


def test_faster_accelerators_take_less_time_and_each_names_its_source():
    work = WORK["progan:celeb_a_64"][0]
    order = ["b200", "h200", "h100", "a100", "rtx-5090", "rtx-4090", "rtx-3090"]
    times = [compute_seconds(ACCELERATORS[name], work).middle for name in order]
    assert times == sorted(times)
    assert all(each.source for each in ACCELERATORS.values())
