"""Tests of sweeps that train: every shipped one in its smallest form, reports, real kills."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from small import mock_tfds

from experiments.report import write_report
from experiments.tools import design, jobs, results, runs
from ganjax.analysis.comparison import best_and_last, compare
from ganjax.errors import UserError
from ganjax.metrics.features import NETWORKS
from ganjax.pictures import images
from ganjax.runtime import checkout
from ganjax.training import attempts

pytestmark = pytest.mark.usefixtures("native_convolutions")

EMA = ROOT / "experiments" / "ema_decay.py"


def train(sweep, out):
    """Trains every run in this process."""
    planned = runs.plan(sweep, out)
    for run in planned:
        jobs.train(run.config, run.folder, run.checked.total_steps)
    return planned


# A feature network has tests of its own: each run would compile it.
NO_NETWORK = {
    "evaluation.metrics": (),
    "evaluation.features": "efflite0",
    "evaluation.log_likelihood": 8,
    "evaluation.best": "val_log_likelihood",
}


def without_network(sweep):
    also = [name for name in sweep.also if not name.endswith(tuple(NETWORKS))]
    last = {**sweep.last, **NO_NETWORK}
    return sweep._replace(metric="val_log_likelihood", also=also, last=last)


def with_one_family(cell):
    """Returns a cell with one family of ADA's transforms, if it has any: presets have them all."""
    augment = cell.overrides.get("augment", {})
    if "families" not in augment:
        return cell
    return cell._replace(
        overrides={**cell.overrides, "augment": {**augment, "families": ("blit",)}}
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [path for path in design.shipped() if path != EMA], ids=lambda path: path.stem
)
@pytest.mark.usefixtures("one_device")
def test_a_shipped_sweep_is_trained(path, tmp_path):
    """Of one cell in its smallest form; test_sweep_design.py checks that all cells can be run."""
    name, sweep, _ = design.load(f"{path}:smoke")
    cells = [with_one_family(sweep.cells[-1])]
    sweep = without_network(sweep)._replace(cells=cells, baseline={})
    with mock_tfds(200):
        planned = train(sweep, tmp_path)
    (row,) = results.table(sweep, results.read(sweep, planned))
    assert row.finished == 1
    assert np.isfinite([row.best.mean, row.last.mean]).all()
    assert all(np.isfinite(value.mean) for value in row.also.values() if value is not None)
    if len(sweep.cells[0].levels) > 1 and sweep.also:  # Panels of several axes and metrics.
        table = write_report(name, sweep, tmp_path, command="the command")
        assert f"{row.last.mean:.4g}" in table
        for metric in (sweep.metric, *sweep.also):
            Image.open(tmp_path / "report" / f"curves_{metric}.png").verify()


def of_two_seeds():
    _, sweep, _ = design.load(f"{EMA}:smoke")
    return without_network(sweep)._replace(seeds=2)


@pytest.fixture(scope="module")
def ema(tmp_path_factory):
    """Two cells of two seeds, trained: (the sweep, its folder)."""
    out = tmp_path_factory.mktemp("ema")
    sweep = of_two_seeds()
    train(sweep, out)
    return sweep, out


def test_the_table_is_of_the_metrics_that_were_written(ema):
    sweep, out = ema
    planned = runs.plan(sweep, out)
    last = {run.label: runs.metrics(run.folder)[-1][sweep.metric] for run in planned}
    rows = results.table(sweep, results.read(sweep, planned))
    for row in rows:
        values = [last[f"{row.cell.label}, seed {seed}"] for seed in (0, 1)]
        assert row.last.mean == pytest.approx(np.mean(values))
        assert row.last.deviation == pytest.approx(abs(values[0] - values[1]) / np.sqrt(2))
    assert rows[0].last_difference is None
    expected = rows[1].last.mean - rows[0].last.mean
    assert rows[1].last_difference.mean == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_seeds_that_are_together_have_the_results_of_runs_of_their_own(tmp_path):
    apart = of_two_seeds()
    apart = apart._replace(cells=apart.cells[:1])
    together = apart._replace(together=True)
    found = {}
    for sweep, folder in ((apart, "apart"), (together, "together")):
        planned = train(sweep, tmp_path / folder)
        assert len(planned) == (1 if sweep.together else 2)
        for each in results.read(sweep, planned):
            found.setdefault((each.run.cell.label, each.seed), []).append(
                results.last_value(each, sweep.metric)
            )
    assert len(found) == 2
    for one, other in found.values():
        assert one == pytest.approx(other, rel=1e-4)
    assert len({one for one, _ in found.values()}) == 2
    folder = tmp_path / "together"
    text = write_report("ema_decay", together, folder, command="the command")
    assert text.count(" ± ") >= 1
    assert "2 runs" not in (page := (folder / "report" / "index.html").read_text())
    assert "1 runs finished" in page
    drawn = [path.name for path in (folder / "report" / "samples").iterdir()]
    assert drawn
    assert all("_seed_" in name for name in drawn)


def test_attempts_say_where_and_how_long(ema):
    sweep, out = ema
    for each in results.read(sweep, runs.plan(sweep, out)):
        (one,) = each.attempts
        assert one["versions"]["jax"]
        assert one["devices"] == "8 x cpu"
        assert 0 < each.wall_time < 600
        assert attempts.last(each.run.folder)["outcome"] == "finished"


def test_several_runs_are_compared_in_one_picture(ema):
    sweep, out = ema
    folders = [run.folder for run in runs.plan(sweep, out)[:2]]
    plot, lines = compare(folders, ["g_loss", sweep.metric], num=4)
    assert lines == ["config.ema.decay: 0.0, 0.999"]
    for axes, metric in zip(plot.axes[:2], ("g_loss", sweep.metric), strict=True):
        assert axes.get_title() == metric
        for line, folder in zip(axes.lines, folders, strict=True):
            found = [(row["step"], row[metric]) for row in runs.metrics(folder) if metric in row]
            np.testing.assert_array_equal(line.get_xdata(), [8 * step for step, _ in found])
            np.testing.assert_array_equal(line.get_ydata(), [value for _, value in found])
            assert line.get_label() == folder.name
    shown = {axes.get_title(): axes.images[0].get_array() for axes in plot.axes[2:] if axes.images}
    expected = {}
    for folder in folders:
        for name, run in best_and_last(folder).items():
            title = f"{folder.name}, {name}, step {run.step}"
            expected[title] = images.grid(run.generate(*run.inputs(4, seed=0)))[..., 0]
    assert shown.keys() == expected.keys()
    assert all(np.array_equal(shown[title], expected[title]) for title in expected)
    with pytest.raises(UserError, match=r"--metrics=nothing: .* has none such; all runs have"):
        compare(folders, ["nothing"])


def browser():
    """Chromium's path; where there is none, CI must have it and others skip."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None and not os.environ.get("CI"):
        pytest.skip("no Chromium here: apt-get install chromium")
    assert path is not None, "CI needs Chromium"
    return path


def column(page, table, index):
    cells = page.locator(f"#{table} tbody tr:not([hidden]) td:nth-child({index + 1})")
    return cells.all_inner_texts()


def test_the_page_needs_no_other_file_and_sorts_and_filters(ema):
    """Its pictures load without a network."""
    from playwright.sync_api import sync_playwright

    sweep, out = ema
    # Text that is no HTML stays text.
    write_report("a <b>name</b>", sweep, out, command="the command")
    errors, requests = [], []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=browser(), args=["--no-sandbox"], timeout=60_000
        )
        page = chromium.new_page()
        page.context.set_offline(True)
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        index = out / "report" / "index.html"
        page.goto(index.as_uri())
        assert page.locator("h1").inner_text() == "a <b>name</b>"
        loaded = page.evaluate("[...document.images].map((i) => i.complete && i.naturalWidth > 0)")
        # A plot, and samples of two cells, each at its best checkpoint and its last.
        made = len(list((out / "report" / "samples").iterdir()))
        assert 2 <= made <= 4
        assert loaded == [True] * (1 + made)
        runs_ = [run.folder.name for run in runs.plan(sweep, out)]
        folder = page.locator("#runs th").all_inner_texts().index("folder")
        assert column(page, "runs", folder) == runs_
        heads = page.locator("#runs th")
        last = heads.all_inner_texts().index(f"last {sweep.metric}")
        unsorted = [float(text) for text in column(page, "runs", last)]
        heads.nth(last).locator("button").click()
        assert [float(text) for text in column(page, "runs", last)] == sorted(unsorted)
        assert heads.nth(last).get_attribute("aria-sort") == "ascending"
        heads.nth(last).locator("button").click()
        assert [float(text) for text in column(page, "runs", last)] == sorted(unsorted)[::-1]
        page.locator('input[data-filter="runs"]').fill("0.999 finished")
        assert column(page, "runs", 0) == ["0.999", "0.999"]
        assert page.locator('[data-count="runs"]').inner_text() == "2 of 4"
        page.locator('input[data-filter="runs"]').fill("no such word")
        assert column(page, "runs", 0) == []
        assert len(column(page, "cells", 0)) == 2  # Each table has its own.
        chromium.close()
    assert errors == []
    assert {urllib.parse.urlsplit(url).scheme for url in requests} <= {"file", "data"}
    assert [url for url in requests if url.startswith("file")] == [index.as_uri()]


SWEEP = """
from experiments.tools.design import Sweep, axis

SWEEP = Sweep(
    question="Does it go on?",
    base="configs/cgan.py",
    fixed={
        "total_steps": 400,
        "batch_size": 16,
        "generator.widths": (8, 8),
        "discriminator.widths": (8, 8),
        "log_every": 1,
        "eval_every": 200,
        "sample_every": 400,
        "checkpoint_every": 50,
        "evaluation.log_likelihood": 20,
        "evaluation.best": "val_log_likelihood",
    },
    cells=axis("cell", {
        "plain": {},
        "diverges": {"g_optimiser.learning_rate": 1e30},
        "fails": {"data.source": "folder:%s"},
    }),
    seeds=1,
    metric="val_log_likelihood",
    baseline={"cell": "plain"},
)
"""


@pytest.mark.slow
def test_a_sweep_that_is_stopped_goes_on(tmp_path):
    """Real jobs. SIGTERM to the whole group, as Ctrl-C is, lets the run that trains save."""
    file, out = tmp_path / "mine.py", tmp_path / "runs"
    file.write_text(SWEEP % (tmp_path / "no_images"))
    _, sweep, _ = design.load(str(file))
    plain = runs.plan(sweep, out)[0]
    command = [sys.executable, "-m", "experiments.sweep", f"--sweep={file}", f"--out={out}"]

    def launch():
        return subprocess.Popen(
            [*command, "--jobs=1"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    process = launch()
    deadline = time.monotonic() + 200
    while len(runs.metrics(plain.folder)) < 10 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 1, output
    assert "stopping: 1 runs save what they have" in output
    stopped = runs.progress(plain)
    assert stopped.state == runs.STOPPED, output
    assert (plain.folder / "checkpoints" / str(stopped.step)).is_dir(), output

    output, _ = launch().communicate(timeout=400)
    assert [runs.progress(run).state for run in runs.plan(sweep, out)] == [
        "finished",
        "diverged",
        "failed",
    ], output
    assert "cell diverges, seed 0: diverged at step" in output
    assert "cell fails, seed 0: failed at step 0: config.data.source" in output
    steps = [row["step"] for row in runs.metrics(plain.folder) if "g_loss" in row]
    assert steps == list(range(1, 401))
    first, ended, second, last = attempts.read(plain.folder)
    assert [first["event"], ended["outcome"]] == ["begin", "stopped"]
    assert [second["event"], last["outcome"]] == ["begin", "finished"]
    assert first["revision"] == second["revision"] == checkout.find(ROOT).revision

    # What is over is left alone; what failed would be tried again.
    dry = subprocess.run([*command, "--executor=dry"], cwd=ROOT, capture_output=True, text=True)
    assert dry.returncode == 0
    for run in runs.plan(sweep, out):
        assert f"{run.hash}  {runs.progress(run).state}" in dry.stdout
    assert len(attempts.read(plain.folder)) == 4
