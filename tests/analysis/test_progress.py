"""One run: its metrics against steps and epochs, and its grids from the first to the last."""

import json

import numpy as np
import pytest
from PIL import Image
from small import shipped, shrink

from ganjax.analysis import comparison, progress
from ganjax.errors import UserError
from ganjax.pictures import images
from ganjax.training import schema, workdir
from ganjax.training.start import Start

ROWS = [
    {"step": 2, "epoch": 0.5, "d_loss": 3.0, "g_loss": 1.0, "d_real_acc": 0.5, "aug_p": 0.0},
    {"step": 2, "epoch": 0.5, "val_d_loss": 4.0, "kid_efflite0": 9.0, "kid_efflite0_std": 1.0},
    {"step": 2, "epoch": 0.5, "kid_efflite0_floor": 0.5, "r_t": 0.5},
    {"step": 4, "epoch": 1.0, "d_loss": 2.0, "g_loss": 2.0, "d_real_acc": 0.75, "aug_p": 0.1},
    {"step": 8, "epoch": 2.0, "d_loss": 1.0, "g_loss": 3.0, "d_real_acc": 1.0, "aug_p": 0.2},
    {"step": 8, "epoch": 2.0, "val_d_loss": 5.0, "kid_efflite0": 7.0, "kid_efflite0_std": 2.0},
    {"step": 9, "epoch": 2.25, "kid_efflite0": 8.0, "images_per_second": 7.0},
]


@pytest.fixture
def folder(tmp_path):
    """A run with metrics and no checkpoint."""
    raw = shrink(shipped("ada"))
    workdir.claim(tmp_path / "run", schema.load(raw).config)
    write(tmp_path / "run", ROWS)
    return tmp_path / "run"


def write(folder, rows):
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def lines(axes):
    return {line.get_label(): (*line.get_xdata(), *line.get_ydata()) for line in axes.lines}


def test_the_metrics_of_one_run_are_drawn_against_steps_and_epochs(folder):
    plot, said = progress.draw(folder)
    panels = {axes.get_title(): axes for axes in plot.axes if axes.get_visible()}
    assert list(panels) == ["losses", "accuracies", "aug_p", "kid_efflite0", "r_t"]
    assert lines(panels["losses"]) == {
        "d_loss": (2, 4, 8, 3, 2, 1),
        "val_d_loss": (2, 8, 4, 5),
        "g_loss": (2, 4, 8, 1, 2, 3),
    }
    d_loss, held_out, _ = panels["losses"].lines
    assert (d_loss.get_color(), d_loss.get_linestyle()) == (held_out.get_color(), "-")
    assert held_out.get_linestyle() == "--"
    assert lines(panels["kid_efflite0"]) == {
        "kid_efflite0": (2, 8, 9, 9, 7, 8),
        "kid_efflite0_floor": (2, 0.5),
    }
    assert panels["kid_efflite0"].lines[1].get_linestyle() == ":"
    (band,) = panels["kid_efflite0"].collections
    assert {(2, 8), (2, 10), (8, 5), (8, 9)} <= set(map(tuple, band.get_paths()[0].vertices))
    plot.draw_without_rendering()
    for axes in panels.values():
        assert axes.get_xlim() == (0, 9)
        (epochs,) = axes.child_axes
        assert epochs.get_xlabel() == "epochs"
        np.testing.assert_allclose(epochs.get_xlim(), (0, 2.25))
    assert said == ["kid_efflite0: 8 at step 9, best 7 at step 8"]


def test_fields_that_changed_are_marked_and_told(folder):
    for step in (4, 8):
        (folder / "checkpoints" / str(step)).mkdir(parents=True)
    raw = shrink(shipped("ada"))
    raw.batch_size, raw.d_optimiser.learning_rate, raw.total_steps = 4, 0.5, 8
    names = ("batch_size", "d_optimiser.learning_rate")
    start = Start(allow_change=names, from_step=4)
    workdir.claim(folder, schema.load(raw).config, start=start)
    plot, said = progress.draw(folder, ["g_loss", "aug_p"], num=0)
    for axes in plot.axes:
        (change,) = (line for line in axes.lines if line.get_linestyle() == "--")
        assert tuple(change.get_xdata()) == (4, 4)
    told = [
        "from step 4: batch_size 8 -> 4",
        "from step 4: d_optimiser.learning_rate 0.002 -> 0.5",
    ]
    assert said == told
    assert plot.subfigs[0].get_suptitle() == "\n".join(told)
    plot, said = comparison.compare([folder, folder / "aside" / "1"], ["d_loss"], num=0)
    curve, change, other = plot.axes[0].lines
    assert tuple(curve.get_xdata()) == (2 * 8, 4 * 8, 4 * 8 + 4 * 4)
    assert tuple(change.get_xdata()) == (4 * 8, 4 * 8)
    assert tuple(other.get_xdata()) == (2 * 8, 4 * 8, 4 * 8), "it was to end at step 4"
    assert change.get_color() == curve.get_color() != other.get_color()
    assert [line for line in said if "from step" in line] == [f"run {line}" for line in told]


def test_a_run_without_epochs_and_metrics_that_are_asked_for(folder):
    write(folder, [{name: row[name] for name in row if name != "epoch"} for row in ROWS])
    plot, _ = progress.draw(folder, ["g_loss", "aug_p"])
    assert [axes.get_title() for axes in plot.axes] == ["g_loss", "aug_p"]
    assert not plot.axes[0].child_axes
    with pytest.raises(UserError, match=r"--metrics=r1: .* has none such; it has aug_p, d_loss"):
        progress.draw(folder, ["r1"])


def test_epochs_of_unequal_length_are_followed_from_step_to_step():
    """As of a growing run, whose batches shrink."""
    rows = [{"step": step, "epoch": epoch} for step, epoch in [(4, 2.0), (8, 3.0), (8, 3.0)]]
    to_epochs, to_steps = progress._epochs(rows)
    steps, epochs = np.array([0.0, 2, 4, 6, 8, 12]), np.array([0.0, 1, 2, 2.5, 3, 4])
    np.testing.assert_allclose(to_epochs(steps), epochs)
    np.testing.assert_allclose(to_steps(epochs), steps)


def test_the_evolution_of_a_run_is_its_grids_from_the_first_to_the_last(folder):
    random = np.random.RandomState(0)
    grids = {step: random.randint(0, 256, (120, 240, 3), np.uint8) for step in (0, 5, 10, 20)}
    for step, grid in grids.items():
        Image.fromarray(grid).save(folder / "samples" / f"step_{step:08}.png")
    # A smaller one, as of a lower resolution, and what is no grid of this run.
    grids[15] = random.randint(0, 256, (60, 120, 3), np.uint8)
    Image.fromarray(grids[15]).save(folder / "samples" / "step_00000015.png")
    (folder / "samples" / "step_of_mine.png").write_bytes(b"")
    grids[15] = grids[15].repeat(2, 0).repeat(2, 1)
    view = progress.evolution(folder)
    assert view.report == ["5 of 5 grids, from step 0 to step 20"]
    assert view.arrays["step"].tolist() == [0, 5, 10, 15, 20]
    for step, grid in zip(view.arrays["step"], view.arrays["image"], strict=True):
        np.testing.assert_array_equal(grid, grids[step])
    strips = images.text_strips([f"step {step}" for step in view.arrays["step"]], 240, 3)
    frames = view.frames()
    np.testing.assert_array_equal(frames[1, : len(strips[1])], strips[1])
    np.testing.assert_array_equal(frames[1, len(strips[1]) :], grids[5])
    assert (frames[4:] == frames[4]).all(), "the last grid is shown for longer"
    assert len(frames) > 5
    # Two rows, of three grids and of two.
    cell = len(strips[0]) + 120
    picture = view.picture()
    assert picture.shape == (2 * cell + 12, 3 * 240 + 2 * 12, 3)
    np.testing.assert_array_equal(picture[-120:, :240], grids[15])
    assert not picture[-120:, -240:].any()
    fewer = progress.evolution(folder, 3, columns=2)
    assert fewer.arrays["step"].tolist() == [0, 10, 20]
    assert fewer.picture().shape == (2 * cell + 12, 2 * 240 + 12, 3)
    assert progress.evolution(folder, 1).arrays["step"].tolist() == [20]


@pytest.mark.parametrize(
    ("n", "height", "width", "across"),
    [(8, 1004, 1004, 4), (8, 512, 512, 4), (4, 512, 512, 2), (3, 512, 512, 3), (8, 200, 2000, 2)],
)
def test_grids_are_shown_in_full_rows_that_fit_a_screen(n, height, width, across):
    assert progress._across((n, height, width, 3)) == across
