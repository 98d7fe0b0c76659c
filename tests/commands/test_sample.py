"""The command `ganjax.sample`: its pictures and files, and what is refused."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from conftest import ROOT
from PIL import Image
from small import shipped, shrink

import ganjax
from ganjax import sample
from ganjax.analysis import grids, latents
from ganjax.analysis.trained import Trained
from ganjax.data import sources
from ganjax.engine import step as steps
from ganjax.errors import UserError
from ganjax.pictures import images, interpolation
from ganjax.runtime import memory
from ganjax.training import checkpoint, sampling, schema, workdir
from tests import conditional

pytestmark = pytest.mark.usefixtures("native_convolutions")

SIDE, LARGE = 32, 96  # Of a sample, and of one below a caption.


def make_run(folder, algorithm):
    """Makes the folder of a run at step 1, without training it."""
    raw = shrink(shipped("wgan_gp"))
    raw.algorithm = algorithm
    raw.latent_dim = 64  # Of fewer, neighbouring frames may be equal, which a GIF joins.
    raw.data.label, raw.data.num_classes = "label", conditional.CLASSES
    config, module = schema.load(raw)
    workdir.claim(folder, config)
    with checkpoint.open_checkpoints(folder, 1) as checkpoints:
        state = steps.init_state(module.build(config), jax.random.key(0))
        checkpoint.save(checkpoints, 1, state, {}, {})
    return folder


@pytest.fixture(scope="module")
def of_classes(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("of_classes"), "tests.conditional")


@pytest.fixture(scope="module")
def unconditional(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("unconditional"), "gan")


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs the command in an empty folder; returns the arrays of its --raw, if there is one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(conditional, "traced", [])
    before = set(flags.FLAGS)
    sample.define_flags()

    def run(*arguments, options=("--overwrite",)):
        with flagsaver.flagsaver():
            sample.main(flags.FLAGS(["sample", "--trust", *options, *map(str, arguments)]))
            if flags.FLAGS.raw:
                with np.load(flags.FLAGS.raw) as arrays:
                    return dict(arrays)

    yield run
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)


def read(name):
    with Image.open(name) as image:
        return np.asarray(image)[..., None]


def cells(picture, above=0, below=0, side=LARGE, header=0):
    """Returns a picture's images, (rows, columns, SIDE, SIDE, 1), at their own size."""
    picture = picture[header:]
    height, width = above + side + below + 2, side + 2
    rows, columns = (picture.shape[0] + 2) // height, (picture.shape[1] + 2) // width
    padded = np.pad(picture, [(0, 2), (0, 2), (0, 0)])
    parts = padded.reshape(rows, height, columns, width, 1).swapaxes(1, 2)
    step = side // SIDE
    small = parts[:, :, above : above + side : step, :side:step]
    again = small.repeat(step, 2).repeat(step, 3)
    np.testing.assert_array_equal(parts[:, :, above : above + side, :side], again)
    return small


STRIP = images.text_strips(["x"], LARGE, 1).shape[1]


def test_labels_has_one_z_a_row_and_one_class_a_column(of_classes, command, capsys):
    arrays = command("labels", f"--workdir={of_classes}", "--num=3", "--out=a.png", "--raw=a.npz")
    assert capsys.readouterr().out.split() == ["a.npz", "a.png"]
    picture = read("a.png")
    shown = cells(picture, header=STRIP)
    assert shown.shape[:2] == (3, 10)
    np.testing.assert_array_equal(shown.reshape(arrays["image"].shape), arrays["image"])
    z, label = conditional.decode(arrays["image"])
    np.testing.assert_array_equal(label.reshape(3, 10), np.tile(np.arange(10), (3, 1)))
    np.testing.assert_array_equal(arrays["label"], label)
    ends, _ = Trained(of_classes, trust=True).inputs(3)
    np.testing.assert_allclose(z.reshape(3, 10), ends[:, :1].repeat(10, 1), atol=0.02)
    names = [str(i) for i in range(10)]
    np.testing.assert_array_equal(
        picture[:STRIP], images.grid(images.text_strips(names, LARGE, 1), 10)
    )


def test_a_grid_of_classes_has_the_name_over_each_image(of_classes, command):
    arrays = command(f"--workdir={of_classes}", "--num=25", "--out=a.png", "--raw=a.npz")
    picture = read("a.png")
    shown = cells(picture, above=STRIP)
    assert shown.shape[:2] == (3, 10), "a class keeps to its column"
    np.testing.assert_array_equal(shown.reshape(30, SIDE, SIDE, 1)[:25], arrays["image"])
    np.testing.assert_array_equal(arrays["label"], np.arange(25) % 10)
    np.testing.assert_array_equal(conditional.decode(arrays["image"])[1], arrays["label"])
    third = images.text_strips(["3"], LARGE, 1)[0]
    np.testing.assert_array_equal(picture[:STRIP, 3 * 98 : 3 * 98 + LARGE], third)


def test_label_picks_classes_by_name_or_index(of_classes, command, monkeypatch):
    names = (*"abcdefghi", "0")
    source = sources.Source(1, lambda i: {}, names)
    monkeypatch.setattr(sources, "open_source", lambda *_, **__: source)
    arrays = command(f"--workdir={of_classes}", "--label=c,7,0", "--num=4", "--raw=a.npz")
    assert arrays["label"].tolist() == [2, 7, 9, 2], "a name goes before an index"
    assert arrays["label_names"].tolist() == list(names)
    arrays = command("labels", f"--workdir={of_classes}", "--label=b,a", "--num=2", "--raw=a.npz")
    assert conditional.decode(arrays["image"])[1].tolist() == [1, 0, 1, 0]


def test_without_the_data_classes_are_indices(of_classes, command, monkeypatch):
    def gone(*_, **__):
        raise sources.DataError("moved away")

    monkeypatch.setattr(sources, "open_source", gone)
    arrays = command("labels", f"--workdir={of_classes}", "--label=4", "--num=2", "--raw=a.npz")
    assert arrays["label"].tolist() == [4, 4]
    with pytest.raises(sources.DataError, match="moved away"):
        command("neighbours", f"--workdir={of_classes}")


def test_a_grid_without_classes_has_the_columns_and_the_seed_that_flags_set(unconditional, command):
    arrays = command(f"--workdir={unconditional}", "--num=5", "--out=a.png", "--raw=a.npz")
    assert list(arrays) == ["image"]
    large = images.grid(arrays["image"]).repeat(6, 0).repeat(6, 1)
    np.testing.assert_array_equal(read("a.png"), large, "of at least 512 pixels")
    arrays = command(
        f"--workdir={unconditional}", "--num=6", "--columns=3", "--out=b.png", "--raw=a.npz"
    )
    large = images.grid(arrays["image"], 3).repeat(6, 0).repeat(6, 1)
    np.testing.assert_array_equal(read("b.png"), large)
    # More columns than images would be black.
    command(f"--workdir={unconditional}", "--num=6", "--columns=900000000", "--out=b.png")
    large = images.grid(arrays["image"], 6).repeat(3, 0).repeat(3, 1)
    np.testing.assert_array_equal(read("b.png"), large)
    other = command(f"--workdir={unconditional}", "--num=5", "--seed=7", "--raw=a.npz")
    np.testing.assert_array_equal(ganjax.load(unconditional).sample(5, seed=7), other["image"])
    assert not np.array_equal(arrays["image"], other["image"])


def test_out_and_raw_decide_which_files_are_written(of_classes, command):
    command("interpolate", f"--workdir={of_classes}", "--num=2", "--raw=only.npz")
    assert [p.name for p in Path().iterdir()] == ["only.npz"], "--raw stands for the picture"


def test_a_picture_goes_to_the_runs_folder_and_replaces_none(of_classes, command, capsys):
    folder, before = of_classes / "samples", set((of_classes / "samples").iterdir())
    names = ["grid_step_00000000.png", "grid_step_00000000_2.png", "grid_raw_step_00000000.png"]
    paths = [folder / name for name in names]
    assert not before & set(paths)
    command(f"--workdir={of_classes}", "--num=1", options=())
    first = paths[0].read_bytes()
    command("grid", f"--workdir={of_classes}", "--num=2", options=())
    command(f"--workdir={of_classes}", "--num=1", "--ema=false", options=())
    assert capsys.readouterr().out.split() == list(map(str, paths))
    assert paths[0].read_bytes() == first != paths[1].read_bytes()
    command(f"--workdir={of_classes}", "--num=2")  # With --overwrite.
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert set(folder.iterdir()) - before == set(paths)
    assert not list(Path().iterdir()), "nothing is left in the current folder"


def test_a_file_that_is_there_is_replaced_only_if_that_is_asked_for(of_classes, command):
    Path("a.png").write_text("mine")
    Path("a.npz").write_text("mine")
    for name in ("--out=a.png", "--raw=a.npz"):
        with pytest.raises(UserError, match=f"{name} is there already: add --overwrite"):
            command(f"--workdir={of_classes}", "--num=1", name, options=())
    assert Path("a.png").read_text() == "mine"
    command(f"--workdir={of_classes}", "--num=1", "--out=a.png")
    assert read("a.png").shape[2] == 1


def test_a_runs_folder_that_cannot_be_written_is_told_at_once(of_classes, command, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match="samples cannot be written; say by --out where"):
        command(f"--workdir={of_classes}", options=())


def test_more_samples_than_the_memory_holds_are_streamed_to_raw(of_classes, command, monkeypatch):
    run = Trained(of_classes, trust=True)
    whole = run.generate(*run.inputs(600))
    monkeypatch.setattr(memory, "total", lambda: whole.nbytes // 2)
    arrays = command(f"--workdir={of_classes}", "--num=600", "--raw=a.npz")
    np.testing.assert_array_equal(arrays["image"], whole)
    assert arrays["label"].tolist() == [i % 10 for i in range(600)]
    for arguments in (["--num=600", "--out=a.png"], ["labels", "--num=60", "--raw=b.npz"]):
        with pytest.raises(UserError, match=r"600 samples take .* MiB, and the memory holds"):
            command(*arguments, f"--workdir={of_classes}")
    assert command(f"--workdir={of_classes}", "--label=7,2", "--num=3", "--raw=a.npz")[
        "label"
    ].tolist() == [7, 2, 7]
    with pytest.raises(UserError, match=r"the latents of 100000000 samples take .*: ask for fewer"):
        run.inputs(100_000_000)
    with pytest.raises(UserError, match=r"b.npz: the arrays take .* GiB, and the disk has .* free"):
        command(f"--workdir={of_classes}", "--num=2000000000", "--raw=b.npz")
    with pytest.raises(UserError, match=r"samples take [\d,.]+ GiB"):
        command("interpolate", f"--workdir={of_classes}", "--frames=2000000000", "--raw=b.npz")
    assert sorted(path.name for path in Path().iterdir()) == ["a.npz"]


@pytest.mark.parametrize("method", ["spherical", "linear"])
def test_interpolation_follows_a_closed_path_in_one_class(of_classes, command, method):
    arguments = ["interpolate", f"--workdir={of_classes}", "--num=3", "--frames=4", "--label=6"]
    arguments += [f"--interpolation={method}"]
    arrays = command(*arguments, "--out=a.png", "--raw=a.npz")
    z, label = conditional.decode(arrays["image"])
    assert z.shape == (15,)
    assert (label == 6).all()
    ends, _ = Trained(of_classes, trust=True).inputs(3)
    path = interpolation.loop(ends, 4, method)
    np.testing.assert_allclose(z, path[:, 0], atol=0.02)
    shown = cells(read("a.png"), header=STRIP)
    assert shown.shape[:2] == (3, 6)
    np.testing.assert_array_equal(shown[:, :5].reshape(15, SIDE, SIDE, 1), arrays["image"])
    np.testing.assert_array_equal(shown[:, 5], arrays["image"][[5, 10, 0]])

    command(*arguments, "--out=a.gif")
    with Image.open("a.gif") as film:
        assert film.info["loop"] == 0, "for ever"
        assert film.n_frames == 15
        for i in (0, 7, 14):
            film.seek(i)
            frame = np.asarray(film.convert("L"))[-4 * SIDE :: 4, ::4]
            np.testing.assert_array_equal(frame, arrays["image"][i, ..., 0])


def test_a_path_leads_through_the_samples_that_are_picked(of_classes, command):
    run = Trained(of_classes, trust=True)
    arguments = ["interpolate", f"--workdir={of_classes}", "--frames=4", "--raw=a.npz"]
    arrays = command(*arguments, "--pick=36,6,16")
    shown = grids.grid(run, 40).arrays["image"]
    np.testing.assert_array_equal(arrays["image"][::5], shown[[36, 6, 16]])
    assert (arrays["label"] == 6).all()
    # Samples of several classes can be picked if they are to be shown as one.
    view = latents.interpolate(run, 8, classes=["8"], between=4, pick=[3, 12])
    z, label = conditional.decode(view.arrays["image"])
    ends, _ = run.inputs(13)
    np.testing.assert_allclose(z[::5], ends[[3, 12], 0], atol=0.02)
    assert (label == 8).all()


def test_whole_grids_become_one_another(of_classes):
    run = Trained(of_classes, trust=True)
    view = latents.interpolate(run, 3, between=1, cells=20)
    z, label = conditional.decode(view.arrays["image"])
    np.testing.assert_array_equal(label, np.tile(np.arange(10), 6 * 2))
    ends, _ = run.inputs(60)
    np.testing.assert_allclose(z.reshape(6, 20)[::2], ends[:, 0].reshape(3, 20), atol=0.02)
    between = interpolation.slerp(ends[41], ends[1], np.array([0.5]))[0, 0]
    np.testing.assert_allclose(z.reshape(6, 20)[5, 1], between, atol=0.02)
    first, picture, frames = grids.grid(run, 20).picture(), view.picture(), view.frames()
    height, width = first.shape[:2]
    np.testing.assert_array_equal(picture[:height, :width], first)
    np.testing.assert_array_equal(picture[-height:, -width:], first, "the end is the beginning")
    assert len(frames) == 6
    np.testing.assert_array_equal(frames[0], first)


def test_paths_through_latents_that_are_not_normal_are_straight(of_classes):
    run = Trained(of_classes, trust=True)
    run.config = run.config.model_copy(update={"latent": "uniform"})
    z, _ = conditional.decode(latents.interpolate(run, 2, between=3).arrays["image"])
    ends, _ = run.inputs(2)
    np.testing.assert_allclose(z, interpolation.loop(ends, 3, "linear")[:, 0], atol=0.02)
    with pytest.raises(UserError, match="--interpolation=spherical: the run's latents are unif"):
        latents.interpolate(run, 2, method="spherical")


def test_samples_are_numbered_from_0(of_classes, command):
    command(f"--workdir={of_classes}", "--num=13", "--columns=13", "--numbered", "--out=a.png")
    numbers = images.text_strips([f"{i}: {i % 10}" for i in range(13)], LARGE, 1)
    np.testing.assert_array_equal(read("a.png")[:STRIP], images.grid(numbers, 13))


def test_many_samples_are_made_in_batches_of_one_shape(of_classes, monkeypatch):
    monkeypatch.setattr(conditional, "traced", [])
    run = Trained(of_classes, trust=True)
    z, label = run.inputs(600)
    made = run.generate(z, label)
    assert conditional.traced == [(256, z.shape[1])], "compiled once"
    levels, labels = conditional.decode(made)
    np.testing.assert_array_equal(labels, np.arange(600) % 10)
    np.testing.assert_allclose(levels, z[:, 0], atol=0.02)
    monkeypatch.setattr(sampling, "BATCH_PIXELS", 7 * SIDE * SIDE + 5)
    np.testing.assert_array_equal(run.generate(z[:10], label[:10]), made[:10])
    assert conditional.traced[1:] == [(7, z.shape[1])], "large images come in smaller batches"


def test_neighbours_are_those_of_brute_force(of_classes, command, capsys):
    arrays = command(
        "neighbours", f"--workdir={of_classes}", "--num=3", "--neighbours=2", "--out=a.png",
        "--raw=a.npz",
    )  # fmt: skip
    side = 192  # Six times as large, so that three of them have 512 pixels.
    strip = images.text_strips(["x"], side, 1).shape[1]
    source = Trained(of_classes, trust=True).training_images()
    reals = source.fetch(np.arange(source.size))["image"].astype(np.float64)
    lines = capsys.readouterr().out.splitlines()
    for i, one in enumerate(arrays["image"]):
        distance = np.abs(reals - one).mean((1, 2, 3)) / 255
        nearest = np.argsort(distance, kind="stable")[:2]
        np.testing.assert_array_equal(arrays["neighbour_index"][i], nearest)
        np.testing.assert_allclose(arrays["neighbour_distance"][i], distance[nearest], rtol=1e-12)
        np.testing.assert_array_equal(arrays["neighbour_image"][i], reals[nearest])
        said = [text for j in nearest for text in (f"{distance[j]:.4f}", f"{j}")]
        assert re.findall(r"0\.\d+|(?<=#)\d+", lines[1 + i]) == said
        below = images.text_strips([str(i), said[0], said[2]], side, 1)
        at = (i + 1) * (side + strip) + i * 2
        np.testing.assert_array_equal(
            read("a.png")[at - strip : at], images.grid(below, 3), err_msg="captions"
        )
    shown = cells(read("a.png"), below=strip, side=side)
    np.testing.assert_array_equal(shown[:, 0], arrays["image"])
    np.testing.assert_array_equal(shown[:, 1:], arrays["neighbour_image"])


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("unconditional", ["labels"], "labels: the run's model has no classes"),
        ("unconditional", ["evolution", "--ema=false"], "--ema=false: .* no grids of the generat"),
        ("unconditional", ["--label=3"], "--label=3: the run's model has no classes"),
        ("of_classes", ["--label=cat"], r"--label=cat: .* \(0, 1, .*9\) or an index from 0 to 9"),
        ("of_classes", ["--label=10"], "--label=10: there is no such class"),
        ("of_classes", ["interpolate", "--label=1,2"], "--label=1,2: the class stays the same"),
        ("of_classes", ["interpolate", "--num=1"], "--num=1: a path needs two ends"),
        ("of_classes", ["neighbours", "--neighbours=4501", "--num=1"], "4501: there are 4500 tr"),
        (
            "of_classes",
            ["labels", "--num=2000"],
            "--num=2000: 2000 x 10 images of 96x96 are",
        ),
        (
            "of_classes",
            ["--frames=3"],
            "--frames is a flag of interpolate and arithmetic, not of grid",
        ),
        ("of_classes", ["interpolate", "--pick=3,12"], "sample 3 is of class 3 and sample 12 of"),
        ("of_classes", ["interpolate", "--pick=3"], "--pick=3: a path needs two ends"),
        ("of_classes", ["interpolate", "--pick=1,x"], "--pick=1,x: 'x' is no sample; they are num"),
        ("of_classes", ["interpolate", "--pick=1,2", "--num=2"], "--pick takes the place of --num"),
        ("of_classes", ["interpolate", "--pick=1,2", "--cells=4"], "--cells=4: --pick chooses"),
        ("of_classes", ["interpolate", "--cells=99999", "--out=a.gif"], "that a film may have"),
        ("of_classes", ["arithmetic", "--have=1"], "--have needs --have_not too"),
        ("of_classes", ["arithmetic", "--have=1,2", "--have_not=3,2"], "both name sample 2"),
        ("of_classes", ["arithmetic", "--have=1", "--by=pixels"], "--have takes the place of --by"),
        ("of_classes", ["arithmetic", "--label=1"], "takes classes itself; use `labels`, or choo"),
        ("of_classes", ["evolution", "--which=last"], "--which is no flag of evolution"),
        ("of_classes", ["resolutions"], "resolutions: .* at step 0 has one resolution, 32x32; dr"),
        ("of_classes", ["evolution"], "samples: no picture is there yet"),
        ("of_classes", ["evolution", "--seed_index=1"], "--seed_index=1: the run has 1 seed"),
        ("of_classes", ["scores", "--seed=1"], "--seed is no flag of scores"),
        ("of_classes", ["scores"], "scores: of which images"),
        ("of_classes", ["scores", "no.png"], "no.png: there is no such file or folder"),
        ("of_classes", ["--out=a.jpg"], "--out=a.jpg: end its name in .png"),
        ("of_classes", ["--out=a.gif"], "--out=a.gif: end its name in .png"),
        ("of_classes", ["--out=no/a.png"], "--out=no/a.png: no file .* is no a folder"),
        ("of_classes", ["--raw=a.npy"], "--raw=a.npy: end its name in .npz"),
        ("of_classes", ["--raw=no/a.npz"], "--raw=no/a.npz: no file .* is no a folder"),
    ],
)
def test_the_impossible_is_refused_before_anything_is_made(
    request, command, kind, arguments, message
):
    with pytest.raises(UserError, match=message) as caught:
        command(*arguments, f"--workdir={request.getfixturevalue(kind)}")
    assert "\n" not in str(caught.value)
    assert not conditional.traced, "nothing was compiled"
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lables"], "'lables' is no command; there are grid, labels, interpolate, neighbours"),
        (["labels", "grid"], "'grid' is no flag"),
        (["labels", "--num=0"], "--num=0"),
        (["--seed=-1"], "--seed=-1"),
        (["labels"], "--workdir is missing"),
    ],
)
def test_wrong_words_are_answered_in_one_line(arguments, message):
    result = subprocess.run(
        [sys.executable, "-m", "ganjax.sample", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("ganjax: ")
    assert message in line
