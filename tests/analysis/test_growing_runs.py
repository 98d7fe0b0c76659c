"""Views of a growing run: every resolution, and attributes by arithmetic of latents."""

import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from conftest import shipped, shrink
from PIL import Image

from ganjax import sample
from ganjax.analysis import latents
from ganjax.analysis.trained import Trained
from ganjax.engine import step as steps
from ganjax.errors import UserError
from ganjax.training import checkpoint, schema, workdir


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with checkpoints of the ends of 4x4, step 2, and of 8x8, step 5; it is not trained."""
    folder = tmp_path_factory.mktemp("progan")
    raw = shrink(shipped("progan"))
    raw.total_steps = 5
    config, module = schema.load(raw)
    algorithm = module.build(config)
    workdir.claim(folder, config)
    with checkpoint.open_checkpoints(folder, 2) as checkpoints:
        for step in (2, 5):
            state = jax.jit(partial(steps.init_state, algorithm))(jax.random.key(step))
            checkpoint.save(checkpoints, step, state.replace(step=jnp.asarray(step)), {})
    return folder


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(flags.FLAGS)
    sample.define_flags()

    def make(*arguments):
        with flagsaver.flagsaver():
            sample.main(flags.FLAGS(["sample", *map(str, arguments), "--raw=a.npz"]))
        with np.load("a.npz") as arrays:
            return dict(arrays)

    yield make
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)


def test_each_resolution_is_a_column_of_the_grid(run, command):
    arrays = command("resolutions", f"--workdir={run}", "--num=3", "--out=a.png")
    assert {name: a.shape for name, a in arrays.items()} == {
        "image_4": (3, 4, 4, 1),
        "image_8": (3, 8, 8, 1),
    }
    for size in (4, 8):
        one = Trained(run, {4: "2", 8: "5"}[size])
        np.testing.assert_array_equal(arrays[f"image_{size}"], one.generate(*one.inputs(3)))
    with Image.open("a.png") as picture:
        shown = np.asarray(picture)[-98 * 3 + 2 :]
    np.testing.assert_array_equal(shown[98 : 98 + 96 : 24, :96:24], arrays["image_4"][1, ..., 0])
    np.testing.assert_array_equal(shown[98 : 98 + 96 : 12, 98::12], arrays["image_8"][1, ..., 0])


def test_a_resolution_whose_checkpoint_is_gone_is_named(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(folder / "checkpoints" / "2")
    with pytest.raises(UserError, match="step 2, the end of 4x4, is not there, only 5; ") as caught:
        Trained(folder).resolutions()
    assert "\n" not in str(caught.value)


def test_arithmetic_follows_the_labels_of_neighbours(run, monkeypatch):
    """Samples whose z[0] > 0 are white; white training images are of class 1."""
    trained = Trained(run)

    def generate(z, label):
        return np.where(z[:, 0] > 0, 255, 0).astype(np.uint8)[:, None, None, None].repeat(8, 1)

    def fetch(indices):
        white = indices % 2
        image = (255 * white).astype(np.uint8)[:, None, None, None].repeat(8, 1)
        return {"image": image, "label": white.astype(np.int32)}

    source = trained.training_images()._replace(size=20, fetch=fetch)
    monkeypatch.setattr(trained, "generate", generate)
    monkeypatch.setattr(trained, "training_images", lambda: source)
    view = latents.arithmetic(trained, 3, classes=["1"], steps=4, samples=100)
    z, _ = trained.inputs(100)
    have = z[:, 0] > 0
    np.testing.assert_array_equal(view.arrays["have"], have)
    direction = z[have].mean(axis=0) - z[~have].mean(axis=0)
    np.testing.assert_allclose(view.arrays["direction"], direction, rtol=1e-6)
    rows = view.arrays["image"].reshape(3, 5, 8)[..., 0]
    amounts = np.linspace(0, 2, 5)
    expected = np.where(z[~have][:3, :1] + amounts * direction[0] > 0, 255, 0)
    np.testing.assert_array_equal(rows, expected)
    assert view.report == [f"{have.sum()} of 100 samples have '1'"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "arithmetic: which attribute"),
        (["--label=12"], "--label=12: there is no such class"),
        (["--label=3", "--samples=8", "--num=8"], "--label=3: . of 8 samples have it, and 8 rows"),
    ],
)
def test_impossible_arithmetic_is_refused(run, command, arguments, message):
    with pytest.raises(UserError, match=message):
        command("arithmetic", f"--workdir={run}", *arguments)
