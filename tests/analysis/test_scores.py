"""The discriminator's scores of given images."""

import jax
import numpy as np
import pytest
from PIL import Image
from small import shipped, shrink

from ganjax import cli
from ganjax.analysis.scores import show_scores
from ganjax.analysis.trained import Trained
from ganjax.engine import step as steps
from ganjax.errors import UserError
from ganjax.objectives.losses import LOSSES
from ganjax.training import checkpoint, schema, workdir

pytestmark = pytest.mark.usefixtures("native_convolutions")

IMAGES = np.random.RandomState(0).randint(0, 256, (3, 16, 16, 1), np.uint8)


def make_run(folder, raw):
    """Makes the folder of a run at step 1, without training it; returns D's parameters too."""
    config, module = schema.load(raw)
    workdir.claim(folder, config)
    with checkpoint.open_checkpoints(folder, 1) as checkpoints:
        state = steps.init_state(module.build(config), jax.random.key(0))
        # Twenty times as large as a new discriminator's, whose scores hardly differ.
        params = jax.tree.map(lambda leaf: 20 * leaf, state.d.params)
        state = state.replace(d=state.d.replace(params=params))
        checkpoint.save(checkpoints, 1, state, {}, {})
    return Trained(folder), jax.device_get(state.d)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A conditional critic with BatchNorm's averages and dropout, at 16x16, of any digit."""
    raw = shrink(shipped("cwgan_gp"))
    raw.image_size, raw.data.fit, raw.penalty.weight = 16, "resize", 0.0
    raw.generator.widths = raw.discriminator.widths = (4, 4)
    raw.discriminator.update(batch_norm="all", dropout_after="all", dropout=0.5)
    return make_run(tmp_path_factory.mktemp("run"), raw)


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return made[0]


def test_an_image_is_scored_by_itself_and_as_a_class(run, made):
    """Neither by chance nor by the images beside it, though BatchNorm and dropout are there."""
    labels = np.array([3, 5, 3], np.int32)
    found = run.scores(IMAGES, labels)
    others = run.scores(IMAGES[[2, 1, 1]], np.array([3, 5, 3], np.int32))
    np.testing.assert_allclose(others[:2], found[[2, 1]], rtol=1e-5)
    np.testing.assert_array_less(0.01, np.abs(others[2] - found[1]), "as another class")
    d = made[1]
    seen = IMAGES / 255 * 2 - 1
    direct = run.algorithm.score(d.params, d.vars, seen.astype(np.float32), labels, run.phase)
    np.testing.assert_allclose(found, direct, rtol=1e-4)


def test_images_are_read_from_files_folders_and_arrays_and_fitted(run, tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    for i in (0, 1):
        Image.fromarray(IMAGES[i, ..., 0]).save(folder / f"{i}.png")
    (folder / "notes.txt").write_text("no image")
    Image.fromarray(IMAGES[2, ..., 0].repeat(2, 0).repeat(2, 1)).save("double.bmp")
    np.savez("two.npz", image=IMAGES[:2])
    monkeypatch.setattr(run, "scores", lambda images, label: label.astype(np.float32))
    view = show_scores(run, None, ["7", "2"], paths=[str(folder), "double.bmp", "two.npz"])
    np.testing.assert_array_equal(view.arrays["image"], IMAGES[[0, 1, 2, 0, 1]])
    names = [f"{folder}/0.png", f"{folder}/1.png", "double.bmp", "two.npz[0]", "two.npz[1]"]
    assert view.arrays["name"].tolist() == names
    np.testing.assert_array_equal(view.arrays["score"], np.tile([7.0, 2.0], (5, 1)))
    assert view.arrays["class"].tolist() == ["7", "2"]
    assert view.report[0] == f"{folder}: not read: 1 of .txt"
    assert view.report[-1] == "two.npz[1]: 7 7, 2 2"
    # Padded to 16x16, a larger image has no place: it is resized, and that is said.
    data = run.config.data.model_copy(update={"fit": "pad"})
    monkeypatch.setattr(run, "config", run.config.model_copy(update={"data": data}))
    again = show_scores(run, 3, ["7"], paths=[str(folder), "double.bmp", "two.npz"])
    np.testing.assert_array_equal(again.arrays["image"], IMAGES)
    assert "1 of 3 images were cropped and resized: config.data" in again.report[1]
    (tmp_path / "bad.png").write_bytes(b"no PNG")
    with pytest.raises(UserError, match=r"bad.png is no image that can be read \(no PNG"):
        show_scores(run, None, paths=["bad.png"])
    (tmp_path / "bad.npz").write_bytes(b"no zip")
    view = show_scores(run, None, ["7"], paths=["bad.png", "double.bmp", "bad.npz", "two.npz"])
    assert view.arrays["name"].tolist() == names[2:], "files that are broken stop no others"
    assert [line.split()[0].rstrip(":") for line in view.unreadable] == ["bad.png", "bad.npz"]
    with pytest.raises(
        UserError, match=r"^bad.png is no image .*; bad.npz.*\. All others are done$"
    ):
        cli.fail_of(view.unreadable)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_score_is_a_probability_only_where_the_loss_makes_it_one(run, loss, monkeypatch):
    np.savez("two.npz", image=IMAGES[:2])
    found = np.array([2.0, -1.0], np.float32)
    monkeypatch.setattr(run, "scores", lambda images, label: np.resize(found, len(images)))
    monkeypatch.setattr(run, "generate", lambda z, label: IMAGES)
    monkeypatch.setattr(run, "config", run.config.model_copy(update={"loss": loss}))
    view = show_scores(run, None, ["0"], paths=["two.npz"])
    np.testing.assert_array_equal(view.arrays["score"][:, 0], found)
    (said,) = [line for line in view.report if "step 0: " in line]
    if loss in ("non_saturating", "minimax"):
        expected = 1 / (1 + np.exp(-found))
        np.testing.assert_allclose(view.arrays["probability"][:, 0], expected, rtol=1e-6)
        assert "D's probability that the image is real" in said
        assert view.report[-2:] == ["two.npz[0]: 0 0.8808", "two.npz[1]: 0 0.2689"]
    else:
        assert "probability" not in view.arrays
        assert "no probability" in said
        assert view.report[-2:] == ["two.npz[0]: 0 2", "two.npz[1]: 0 -1"]


def test_an_algorithm_may_have_no_score_of_an_image(run, monkeypatch):
    monkeypatch.setattr(run, "algorithm", run.algorithm._replace(score=None))
    with pytest.raises(UserError, match=r"the algorithm gan has no `score` of an image"):
        run.scores(IMAGES, np.zeros(3, np.int32))
