"""What is written of the metrics of steps."""

import contextlib
import io
import json
import math
import re

import jax.numpy as jnp
import numpy as np
import pytest
from small import shipped

from ganjax.engine.phases import Phase
from ganjax.training import leaks, schema
from ganjax.training.epochs import Epochs
from ganjax.training.illnesses import Watch
from ganjax.training.images import Images
from ganjax.training.report import Report
from ganjax.training.window import Window
from ganjax.training.writer import Writer, read_metrics


@contextlib.contextmanager
def reporting(folder, window=None, scaled_losses=False, **fields):
    """The report of a WGAN-GP of 100 steps on 50 images, of which a step reads 8."""
    raw = shipped("wgan_gp")
    raw.update(fields)
    config = schema.load(raw).config
    epochs = Epochs(50, 1, (Phase(0, 100, 8, 32),))
    with Writer(folder, 0, 100, True, epochs.at) as writer:
        yield Report(
            writer,
            folder,
            config,
            None,
            epochs=epochs,
            log=epochs.cadences(config).log,
            window=window or Window(),
            watch=Watch(config),
            scaled_losses=scaled_losses,
        )


def metrics(**own):
    every = ("d_loss", "g_loss", "d_grad_norm", "g_grad_norm")
    return {
        name: jnp.float32(value) for name, value in {**dict.fromkeys(every, 1.0), **own}.items()
    }


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_progress_bar_has_room_on_80_columns(tmp_path, monkeypatch):
    """With the longest numbers, whatever other metrics there are."""
    monkeypatch.setattr("sys.stderr", terminal := io.StringIO())
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    with Writer(tmp_path, 90_000, 100_000) as writer:
        values = {"c_wass_loss": -1.0, "d_loss": -0.00012345, "g_loss": -123.45}
        writer.write_scalars(90_000, values | {"images_per_second": 123_456.0})
        writer._display._bar.refresh()
    last = terminal.getvalue().split("\r")[-2]
    assert re.search(r"d -0.0001234, g -123.5, images/s 1.235e\+05\]$", last), last
    assert len(last.split("|")[1]) >= 8, last


def test_a_line_has_means_since_the_line_before_and_last_values(tmp_path):
    window = Window(["aug_p"])
    with reporting(tmp_path, window, log_every=3) as report:
        for step in range(1, 7):
            report.metrics(step, 1, 8, [metrics(d_loss=step**2, aug_p=step / 8)])
    found = [(row["step"], row["d_loss"], row["aug_p"]) for row in rows(tmp_path)]
    assert found == [(3, 14 / 3, 3 / 8), (6, (16 + 25 + 36) / 3, 6 / 8)]


def test_a_line_begins_with_the_step_and_the_epochs(tmp_path):
    with reporting(tmp_path, log_every=4) as report:
        for step in range(1, 10):
            report.metrics(step, 1, 8, [metrics()])
    assert [list(row.items())[:2] for row in rows(tmp_path)] == [
        [("step", 4), ("epoch", 4 / 6)],
        [("step", 8), ("epoch", 8 / 6)],
    ]


def test_a_metric_that_no_step_of_a_line_measures_is_as_in_the_line_before(tmp_path):
    """A penalty of every third step would never meet a line of every second one but by chance."""
    with reporting(tmp_path, log_every=2) as report:
        for step, r1 in enumerate([math.nan, math.nan, 5.0, math.nan, math.nan, math.nan], 1):
            report.metrics(step, 1, 8, [metrics(r1=r1)])
    assert [row.get("r1") for row in rows(tmp_path)] == [None, 5.0, 5.0]


def test_a_report_that_goes_on_from_any_step_writes_the_same_lines(tmp_path):
    """What a checkpoint holds of it is JSON."""

    def measured(step):
        values = {"d_loss": 0.1 * step, "aug_p": 0.01 * step, "r1": step if step % 3 else math.nan}
        return [metrics(**values), metrics(**{k: v / 3 for k, v in values.items()})]

    def write(folder, first, last, window):
        with reporting(folder, window, log_every=4, num_seeds=2) as report:
            for step in range(first, last):
                report.metrics(step, 1, 8, measured(step))

    def without_speed(folder):
        every = read_metrics(folder / "metrics.jsonl")
        return [{k: v for k, v in row.items() if k != "images_per_second"} for row in every]

    (tmp_path / "whole").mkdir()
    write(tmp_path / "whole", 1, 13, Window(["aug_p"]))
    for killed in range(1, 12):
        folder, window = tmp_path / str(killed), Window(["aug_p"])
        folder.mkdir()
        write(folder, 1, killed + 1, window)
        lines = (folder / "metrics.jsonl").read_bytes()
        saved = json.loads(json.dumps(window.saved()))
        (folder / "metrics.jsonl").unlink()
        write(folder, killed + 1, 13, Window(["aug_p"], saved))
        (folder / "metrics.jsonl").write_bytes(lines + (folder / "metrics.jsonl").read_bytes())
        assert without_speed(folder) == without_speed(tmp_path / "whole")


@pytest.mark.parametrize(("image_size", "told"), [((32, 64), True), ((32, 32), False)])
def test_figures_of_squashed_images_are_told_as_such(tmp_path, capsys, image_size, told):
    for metrics in (("kid",), ("pixel_neighbours",), ()):
        raw = shipped("wgan_gp")
        raw.update(image_size=image_size, evaluation={"metrics": metrics})
        notes = Images(schema.load(raw).config).notes()
        line = "images of 32x64 are squashed to a square for efflite0"
        assert [note.startswith(line) for note in notes] == [True] * (told and metrics == ("kid",))
    with reporting(tmp_path) as report:
        report.begin_run(0, "networks", notes=["a note"])
    assert "a note\n" in capsys.readouterr().out


def test_a_known_illness_is_told_once(tmp_path, capsys):
    with reporting(tmp_path, log_every=1, total_steps=250) as report:
        for step in range(1, 121):
            report.metrics(step, 1, 8, [metrics(d_acc=1.0)])
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "too strong for G" in line)
    assert line.startswith("step 100: D is right about 100.0% of images")


@pytest.mark.parametrize("wrong", [{"d_loss": math.nan}, {"r1": math.inf}])
def test_what_is_not_finite_is_refused(wrong, tmp_path, monkeypatch):
    with reporting(tmp_path) as report:
        monkeypatch.setattr(report, "_diverged", lambda step, what: pytest.fail(what))
        with pytest.raises(pytest.fail.Exception, match=next(iter(wrong))):
            report.metrics(1, 1, 8, [metrics(**wrong)])


def test_under_loss_scaling_a_gradient_may_overflow_but_no_loss(tmp_path, monkeypatch):
    with reporting(tmp_path, scaled_losses=True, log_every=1) as report:
        report.metrics(1, 1, 8, [metrics(d_grad_norm=math.nan)])
        monkeypatch.setattr(report, "_diverged", lambda step, what: pytest.fail(what))
        with pytest.raises(pytest.fail.Exception, match="d_loss"):
            report.metrics(2, 1, 8, [metrics(d_loss=math.nan)])
    (row,) = rows(tmp_path)
    assert row.keys() == {"step", "epoch", "d_loss", "g_loss", "g_grad_norm"}


def test_of_several_seeds_it_is_told_whose(tmp_path, monkeypatch):
    with reporting(tmp_path, seed=3, num_seeds=2, log_every=1) as report:
        report.metrics(1, 1, 8, [metrics(d_loss=1.0), metrics(d_loss=3.0)])
        monkeypatch.setattr(report, "_diverged", lambda step, what: pytest.fail(what))
        with pytest.raises(pytest.fail.Exception, match=r"^d_loss=nan of seed 4$"):
            report.metrics(2, 1, 8, [metrics(), metrics(d_loss=math.nan)])
    (row,) = rows(tmp_path)
    assert row["d_loss"] == 2.0
    assert row["d_loss_seed_std"] == pytest.approx(math.sqrt(2))


def test_a_dispatch_of_steps_is_written_step_by_step(tmp_path):
    with reporting(tmp_path, log_every=2) as report:
        for last in (4, 8):
            values = np.arange(last - 3, last + 1, dtype=np.float32)
            report.metrics(last, 4, 8, [dict.fromkeys(metrics(), values)])
    found = rows(tmp_path)
    assert [(row["step"], row["d_loss"]) for row in found] == [(n, n - 0.5) for n in (2, 4, 6, 8)]
    # The first dispatch compiles; of the next, all steps take as long.
    assert ["images_per_second" in row for row in found] == [False, False, True, True]
    assert found[2]["images_per_second"] == pytest.approx(found[3]["images_per_second"], rel=1e-3)


def test_what_is_left_out_slows_no_rate(tmp_path, monkeypatch):
    """Neither the time before a dispatch's end, nor the steps of that dispatch."""
    now = 0.0
    monkeypatch.setattr("ganjax.training.report.time.perf_counter", lambda: now)
    with reporting(tmp_path, log_every=2) as report:
        for last, seconds in ((2, 9.0), (4, 2.0), (6, 50.0), (8, 2.0)):
            now += seconds
            if last == 6:
                report.leave_out()
            report.metrics(last, 2, 8, [dict.fromkeys(metrics(), np.ones(2, np.float32))])
    found = [row.get("images_per_second") for row in rows(tmp_path)]
    assert found == [None, 8.0, None, 8.0], "two steps of 8 images in 2 s"


def test_each_seeds_least_leak_is_read_from_its_own_rows(tmp_path):
    """Their mean would hide that one of them has grown."""
    with reporting(tmp_path, num_seeds=2) as report:
        for step, shares in ((10, (0.1, 0.5)), (20, (0.5, 0.3))):
            losses = [[{"val_d_loss": jnp.float32(1)}]] * 2
            report.evaluation(step, losses, [{"leak_colour": share} for share in shares])
    written = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["leak_colour"] for row in written] == [0.3, 0.4]
    assert [leaks.least_of(written, seed) for seed in (0, 1)] == [
        {"leak_colour": 0.1},
        {"leak_colour": 0.3},
    ]
    # An older version wrote means alone.
    old = [{"leak_colour": row["leak_colour"]} for row in written]
    assert leaks.least_of(old, 1) == {"leak_colour": 0.3}


def test_an_evaluation_without_held_out_images_has_figures_alone(tmp_path):
    with reporting(tmp_path) as report:
        report.evaluation(5, [[]], [{}])
        report.evaluation(7, [[]], [{"kid_efflite0": 0.5}])
    assert [(row["step"], row.get("kid_efflite0"), len(row)) for row in rows(tmp_path)] == [
        (7, 0.5, 3)
    ]
