"""Views of a growing run: every resolution, and attributes by arithmetic of latents."""

import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from initial import initial
from PIL import Image
from small import shipped, shrink

import ganjax
from ganjax import sample
from ganjax.analysis import attributes
from ganjax.analysis.attributes import arithmetic
from ganjax.analysis.trained import Trained
from ganjax.engine import step as steps
from ganjax.errors import UserError
from ganjax.metrics import neighbours
from ganjax.training import checkpoint, schema, workdir

pytestmark = pytest.mark.usefixtures("native_convolutions")


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
            state = initial(partial(steps.init_state, algorithm), jax.random.key(step))
            checkpoint.save(checkpoints, step, state.replace(step=jnp.asarray(step)), {}, {})
    return folder


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(flags.FLAGS)
    sample.define_flags()

    def make(*arguments):
        with flagsaver.flagsaver():
            sample.main(flags.FLAGS(["sample", *map(str, arguments), "--raw=a.npz", "--overwrite"]))
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
        shown = np.asarray(picture)[-178 * 3 + 2 :]
    second = shown[178 : 178 + 176]
    np.testing.assert_array_equal(second[::44, :176:44], arrays["image_4"][1, ..., 0])
    np.testing.assert_array_equal(second[::22, 178::22], arrays["image_8"][1, ..., 0])


def test_python_takes_a_resolution(run):
    small = ganjax.load(run, resolution=4)
    assert (small.step, small.image_shape) == (2, (4, 4, 1))
    one = Trained(run, "2")
    np.testing.assert_array_equal(small.sample(3), one.generate(*one.inputs(3)))
    assert ganjax.load(run, resolution=8).step == ganjax.load(run).step == 5
    with pytest.raises(UserError, match=r"^resolution=16: .* at step 5 has 4, 8; take one"):
        ganjax.load(run, resolution=16)


def test_a_resolution_whose_checkpoint_is_gone_is_named(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(folder / "checkpoints" / "2")
    with pytest.raises(UserError, match="step 2, the end of 4x4, is not there, only 5; ") as caught:
        Trained(folder).resolutions()
    assert "\n" not in str(caught.value)


def test_the_score_of_an_image_does_not_depend_on_the_other_images(run):
    """Though its minibatch standard deviation compares the four of a group."""
    trained = Trained(run)
    image = np.random.RandomState(0).randint(0, 256, (3, 8, 8, 1), np.uint8)
    zeros = np.zeros(3, np.int32)
    found = trained.scores(image, zeros)
    assert len(set(found.tolist())) == 3
    np.testing.assert_allclose(trained.scores(image[[1, 1, 0]], zeros), found[[1, 1, 0]], rtol=1e-5)


@pytest.fixture
def black_and_white(run, monkeypatch):
    """A run whose samples are white if z[0] > 0; white training images are of class 1."""
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
    return trained


def test_arithmetic_follows_the_labels_of_neighbours(black_and_white):
    view = arithmetic(black_and_white, 3, classes=["1"], steps=4, samples=100, by="pixels")
    z, _ = black_and_white.inputs(100)
    have = z[:, 0] > 0
    np.testing.assert_array_equal(view.arrays["have"], have)
    np.testing.assert_array_equal(view.arrays["have_not"], ~have)
    direction = z[have].mean(axis=0) - z[~have].mean(axis=0)
    np.testing.assert_allclose(view.arrays["direction"], direction, rtol=1e-6)
    rows = view.arrays["image"].reshape(3, 5, 8)[..., 0]
    amounts = np.linspace(0, 2, 5)
    expected = np.where(z[~have][:3, :1] + amounts * direction[0] > 0, 255, 0)
    np.testing.assert_array_equal(rows, expected)
    assert view.report == [f"{have.sum()} of 100 samples have '1', {(~have).sum()} do not"]


def test_neighbours_are_near_by_the_features_of_a_network_unless_pixels_are_asked_for(
    black_and_white, monkeypatch
):
    """Here the network calls near what pixels call far, so that the sides change places."""
    asked = []

    def by_features(images, source, k, network, mirror):
        asked.append((k, network))
        return neighbours.nearest(255 - images, source, k, mirror=mirror)

    monkeypatch.setattr(attributes, "nearest_by_features", by_features)
    options = {"classes": ["1"], "samples": 100}
    by_pixels = arithmetic(black_and_white, 3, **options, by="pixels").arrays
    by_network = arithmetic(black_and_white, 3, **options).arrays
    arithmetic(black_and_white, 3, **options, by="inception")
    assert asked == [(5, "efflite0"), (5, "inception")]
    np.testing.assert_array_equal(by_network["have"], by_pixels["have_not"])
    np.testing.assert_allclose(by_network["direction"], -by_pixels["direction"], rtol=1e-6)


def test_neighbours_of_a_mirrored_run_may_be_flipped(black_and_white, monkeypatch):
    """White samples here are white on the left alone, and white training images on the right."""
    run, half = black_and_white, np.repeat([[1, 0]], 4, axis=1).reshape(1, 1, 8, 1).astype(np.uint8)
    generate, source = run.generate, run.training_images()

    def fetch(indices):
        batch = source.fetch(indices)
        return batch | {"image": np.broadcast_to(batch["image"], (len(indices), 8, 8, 1)) * half}

    flipped = half[:, :, ::-1]
    monkeypatch.setattr(
        run,
        "generate",
        lambda z, label: np.broadcast_to(generate(z, label), (len(z), 8, 8, 1)) * flipped,
    )
    monkeypatch.setattr(run, "training_images", lambda: source._replace(fetch=fetch))
    options = {"classes": ["1"], "samples": 100, "by": "pixels"}
    with pytest.raises(UserError, match="--label=1: 0 of 100 samples have it"):
        arithmetic(run, 3, **options)
    data = run.config.data.model_copy(update={"mirror": True})
    monkeypatch.setattr(run, "config", run.config.model_copy(update={"data": data}))
    z, _ = run.inputs(100)
    np.testing.assert_array_equal(arithmetic(run, 3, **options).arrays["have"], z[:, 0] > 0)


def test_arithmetic_with_samples_that_were_picked_by_eye(run, command):
    arguments = ["arithmetic", f"--workdir={run}", "--have=5,2", "--have_not=9", "--frames=2"]
    arrays = command(*arguments, "--num=4")
    trained = Trained(run)
    z, _ = trained.inputs(10)
    direction = z[[2, 5]].mean(axis=0) - z[9]
    np.testing.assert_allclose(arrays["direction"], direction, rtol=1e-6)
    assert np.flatnonzero(arrays["have"]).tolist() == [2, 5]
    assert np.flatnonzero(arrays["have_not"]).tolist() == [9]
    # Rows begin with the sample that does not have it, then with those of which nothing was said.
    path = z[[9, 0, 1, 3], None] + np.arange(3)[:, None] * direction
    expected = trained.generate(path.reshape(12, -1).astype(np.float32), np.zeros(12, np.int32))
    np.testing.assert_allclose(arrays["image"].astype(int), expected, atol=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "arithmetic: which attribute"),
        (["--label=12"], "--label=12: there is no such class"),
        (["--have=1", "--have_not=2", "--label=3"], "--label=3: the run's model has no classes"),
    ],
)
def test_impossible_arithmetic_is_refused(run, command, arguments, message):
    with pytest.raises(UserError, match=message):
        command("arithmetic", f"--workdir={run}", *arguments)


def test_an_attribute_of_fewer_than_20_samples_is_refused_with_the_mend(black_and_white):
    z, _ = black_and_white.inputs(30)
    have = int((z[:, 0] > 0).sum())
    fewer = min(have, 30 - have)
    assert 0 < fewer < 20
    samples = int(np.ceil(1.25 * 20 / fewer * 30 / 100) * 100)
    message = (
        f"--label=1: {have} of 30 samples have it, by pixels, and the mean of fewer than 20 on a "
        f"side says little; set --samples={samples}, or choose samples by eye: .*--have_not"
    )
    options = {"classes": ["1"], "by": "pixels"}
    with pytest.raises(UserError, match=message):
        arithmetic(black_and_white, 3, **options, samples=30)
    arithmetic(black_and_white, 3, **options, samples=samples)
    with pytest.raises(UserError, match=r"--num=80: rows begin with samples that do not have"):
        arithmetic(black_and_white, 80, **options, samples=samples)
