"""Tagging by a GAN over word vectors: gradients, whole runs, and what is made of them."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import processes
import pytest
from conftest import ROOT
from initial import initial
from small import shipped, shrink, write_arrays

import ganjax
from ganjax import shared_flags
from ganjax.algorithms import tagging
from ganjax.analysis.tagging import TrainedTagger, read
from ganjax.analysis.trained import Trained
from ganjax.config import ConfigError
from ganjax.data import word_vectors
from ganjax.engine import step as steps
from ganjax.errors import DataError, UserError
from ganjax.metrics import tags as figures
from ganjax.training import domain, schema, tags
from ganjax.training.loop import train
from ganjax.training.writer import METRICS, read_metrics


def small(folder, **fields):
    """The shipped config on few made-up images, with networks of few units."""
    config = shrink(shipped("tagging"))
    config.data.source = f"arrays:{folder}"
    config.update(fields)
    return config


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    return write_arrays(tmp_path_factory.mktemp("tagging") / "arrays")


@pytest.fixture(scope="module")
def trained(arrays, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tagging") / "run"
    state = train(small(arrays), folder)
    return folder, state


def test_each_players_update_is_its_own_gradient(arrays):
    """Against the losses of the paper and R1 and R2 by hand, by steps of gradient descent."""
    config = small(arrays, order="simultaneous")
    config.penalty.update(r1=10.0, r2=30.0)
    loaded, module = schema.load(config)
    algorithm = module.build(loaded)._replace(g_tx=optax.sgd(1.0), d_tx=optax.sgd(1.0))
    state = initial(partial(steps.init_state, algorithm), jax.random.key(0))
    random, phase = np.random.RandomState(0), algorithm.phases[0]
    batch = {
        "feature": jnp.asarray(random.randn(1, 8, 6), jnp.float32),
        "vector": jnp.asarray(random.randn(1, 8, 5), jnp.float32),
    }
    drawn = {}

    def latent(key, n):
        drawn["z"] = jax.random.uniform(key, (n, loaded.latent_dim))
        return drawn["z"]

    after, _ = steps.make_train_step(algorithm._replace(latent=latent))(
        state, batch, jax.random.key(1), phase=phase
    )
    feature, vector, z = batch["feature"][0], batch["vector"][0], drawn["z"]
    generator = loaded.generator.build(5, None)
    discriminator = loaded.discriminator.build(None)

    def scores(g, d):
        fake = generator.apply({"params": g}, z, feature, train=False)
        return [discriminator.apply({"params": d}, v, feature, train=False) for v in (vector, fake)]

    def squared_slope(d, vectors):
        def score(vector, feature):
            return discriminator.apply({"params": d}, vector[None], feature[None], train=False)[0]

        return (jax.vmap(jax.grad(score))(vectors, feature) ** 2).sum(1).mean()

    def d_loss(d):
        real, fake = scores(state.g.params, d)
        total = -jax.nn.log_sigmoid(real).mean() - jax.nn.log_sigmoid(-fake).mean()
        total = total if loaded.d_halves == "sum" else total / 2
        made = generator.apply({"params": state.g.params}, z, feature, train=False)
        return total + 5 * squared_slope(d, vector) + 15 * squared_slope(d, made)

    def g_loss(g):
        return -jax.nn.log_sigmoid(scores(g, state.d.params)[1]).mean()

    for player, loss in (("g", g_loss), ("d", d_loss)):
        before = getattr(state, player).params
        gradient = jax.grad(loss)(before)
        moved = jax.tree.map(jnp.subtract, before, getattr(after, player).params)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6), moved, gradient
        )
        assert optax.tree.norm(gradient) > 1e-3


def test_a_run_measures_its_tags_keeps_its_words_and_goes_on_bit_for_bit(trained, arrays, tmp_path):
    folder, whole = trained
    rows = read_metrics(folder / METRICS)
    measured = [row for row in rows if "precision_at_10" in row]
    assert [row["step"] for row in measured] == [2, 4]
    for name, meaning in figures.MEANINGS.items():
        assert all(meaning.least <= row[name] <= meaning.most for row in measured)
    assert any("val_d_loss" in row for row in rows)
    assert (folder / "samples" / "step_00000004.png").is_file()
    train(small(arrays, total_steps=2), tmp_path / "run")
    (arrays / "vectors.txt").rename(arrays / "moved")  # What the run keeps is enough.
    try:
        # There are fewer images than such a sheet would have, and it has no empty columns.
        resumed = train(small(arrays, sample_grid=(10**6, 10**6)), tmp_path / "run")
    finally:
        (arrays / "moved").rename(arrays / "vectors.txt")
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(whole), jax.device_get(resumed))


@pytest.mark.slow
def test_several_seeds_are_each_the_run_of_its_seed(trained, arrays, tmp_path):
    members = train(small(arrays, num_seeds=2), tmp_path / "run")
    expected, found = trained[1].g.params, members[0].g.params
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), expected, found
    )
    assert (tmp_path / "run" / "samples" / "seed_1" / "step_00000004.png").is_file()
    row = [row for row in read_metrics(tmp_path / "run" / METRICS) if "recall_at_10" in row][-1]
    assert "recall_at_10_seed_std" in row


def test_a_run_tags_features_by_votes_and_names_its_commands(trained, arrays):
    run = ganjax.load(trained[0])
    assert repr(run).endswith(": 7 words>")
    features = np.load(arrays / "features.npy")
    found = run.tag_features(features[:3])
    assert [len(each) for each in found] == [7, 7, 7]  # All words, where there are fewer than 20.
    assert all(votes == figures.SAMPLES for each in found for _, votes in each)
    assert run.tag([arrays / "features.npy"])[:3] == found
    assert set(run.metrics()) >= {"d_loss", "recall_at_10"}
    # Where the command writes its picture by default.
    path = shared_flags.sample_path(trained[0], "tags", TrainedTagger(trained[0], "last"))
    assert path == trained[0] / "samples" / "tags_step_00000004.png"
    with pytest.raises(UserError, match=r"generates tags of images; look at it by ganjax tag"):
        Trained(trained[0])
    with pytest.raises(UserError, match=r"resolution=8: .* tags images"):
        ganjax.load(trained[0], resolution=8)


def test_what_cannot_be_tagged_is_told_in_one_line(trained, arrays, tmp_path):
    run = ganjax.load(trained[0])
    np.save(tmp_path / "few.npy", np.ones((2, 3)))
    os.mkfifo(tmp_path / "pipe.png")
    for paths, match in (
        ([], "which images"),
        ([arrays / "000.png"], r"the features of this run were given .* \(N, 6\)"),
        ([tmp_path / "few.npy"], r"holds float64 \(2, 3\): features are numbers \(N, 6\)"),
        ([arrays / "000.png", tmp_path / "few.npy"], "and not both"),
        ([tmp_path / "nothing.png"], "there is no such file or folder"),
        ([tmp_path / "pipe.png"], "neither a file nor a folder"),
        ([arrays / "tags.csv"], "is no image that can be read"),
    ):
        with pytest.raises(UserError, match=match) as caught:
            run.tag(paths)
        assert "\n" not in str(caught.value)


def test_a_broken_image_is_named_and_others_are_tagged(trained, arrays, tmp_path, monkeypatch):
    run = TrainedTagger(trained[0], "last")
    monkeypatch.setattr(run.domain, "features_of", lambda pictures: np.ones((len(pictures), 6)))
    (tmp_path / "bad.png").write_bytes(b"no PNG")
    good = shutil.copy(arrays / "000.png", tmp_path / "good.png")
    given = read(run, [str(tmp_path)])
    assert given.names == (str(good),)
    (line,) = given.unreadable
    assert line.startswith(f"{tmp_path / 'bad.png'} is no image that can be read")


def test_vectors_of_another_length_than_the_run_was_trained_on_are_refused(trained, tmp_path):
    run = shutil.copytree(trained[0], tmp_path / "run")
    words = word_vectors.load(run / tags.VECTORS)
    word_vectors.save(run / tags.VECTORS, words._replace(vectors=words.vectors[:, :3].copy()))
    with pytest.raises(UserError, match=r"vectors of 3 numbers, .*vector_dim=5: restore it"):
        ganjax.load(run).tag_features(np.ones((1, 6)))


@pytest.mark.parametrize("features", [np.ones((2, 5)), np.ones(6), [[np.nan] * 6], "x"])
def test_what_are_no_features_are_refused(trained, features):
    with pytest.raises(UserError, match=r"floats \(N, 6\)"):
        ganjax.load(trained[0]).tag_features(features)


def test_features_are_kept_and_computed_anew_where_what_is_kept_is_damaged(monkeypatch, tmp_path):
    monkeypatch.setattr(tags.platformdirs, "user_cache_dir", lambda name: str(tmp_path))
    extracted = []

    def extract(network, pictures):
        extracted.append(network)
        return np.full((len(pictures), 2), 7, np.float32)

    monkeypatch.setattr(tags, "_extract", extract)
    pictures = np.zeros((3, 4, 4, 3), np.uint8)
    for _ in range(2):
        found = tags.cached_features("network", pictures)
        assert found.shape == (3, 2)
    assert len(extracted) == 1
    (file,) = (tmp_path / "features").iterdir()
    content = file.read_bytes()
    seven = np.float32(7).tobytes()
    file.write_bytes(content.replace(seven, np.float32(-7).tobytes(), 1))
    np.testing.assert_array_equal(tags.cached_features("network", pictures), found)
    assert len(extracted) == 2


def test_images_of_any_size_and_mode_are_brought_to_what_the_network_sees(monkeypatch):
    seen = []
    monkeypatch.setattr(
        tags,
        "_extract",
        lambda network, pictures: seen.extend(pictures) or np.zeros((len(pictures), 6)),
    )
    config = schema.load(shipped("tagging"))
    about = domain.of(config)
    random = np.random.RandomState(0)
    pictures = [
        random.randint(0, 256, (9, 12, 1), np.uint8),
        random.randint(0, 256, (300, 400, 4), np.uint8),
        random.randint(0, 65_536, (5, 5, 2)).astype(np.uint16),
    ]
    about.features_of(pictures)
    assert [each.shape for each in seen] == [(9, 9, 3), (224, 224, 3), (5, 5, 3)]
    assert all(each.dtype == np.uint8 for each in seen)


def test_differences_in_half_precision_are_refused(arrays):
    config = small(arrays, precision="bfloat16")
    config.penalty.difference = 0.01
    with pytest.raises(ConfigError, match=r"config\.precision='bfloat16': differences of scores"):
        tagging.build(schema.load(config)[0])


def test_best_and_patience_of_tags_are_checked():
    for field, value, match in (
        ("best", "kid_efflite0", "config.evaluation.best='kid_efflite0': there are none, prec"),
        ("patience", 3, "config.evaluation.patience=3: config.evaluation.best is 'none'"),
    ):
        config = shipped("tagging")
        config.evaluation.best = "none"
        config.evaluation[field] = value
        with pytest.raises(ConfigError, match=match):
            domain.of(schema.load(config)).check()


@pytest.mark.parametrize(
    ("change", "match"),
    [(Path.unlink, "No such file"), (lambda path: path.write_bytes(b"x"), "no PNG, JPEG, WebP")],
)
def test_an_image_that_cannot_be_shown_is_named(arrays, tmp_path, change, match):
    folder = shutil.copytree(arrays, tmp_path / "arrays")
    change(folder / "000.png")
    with pytest.raises(DataError, match=rf"000\.png cannot be read: {match}"):
        tags.Tags(schema.load(small(folder)).config).pixels(np.arange(2))


def test_a_set_is_shown_before_anything_is_trained(arrays):
    lines, picture = domain.of(schema.load(small(arrays))).shown(5)
    assert "20 train, 2 validation, 2 test" in lines[0]
    assert lines[-1] == "tags of test: 6, of them without a vector 2"
    assert picture.ndim == 3
    assert tagging.Config.model_fields.keys() >= {"data", "generator"}


@pytest.mark.parametrize("precision", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_half_precision_trains(arrays, tmp_path, precision):
    state = train(small(arrays, precision=precision, total_steps=2), tmp_path / "run")
    assert state.g.params["joint"]["kernel"].dtype == jnp.float32


QUARTER = ("vector_width=125", "feature_width=300", "joint_maxout=(250,3)")


@pytest.mark.slow
def test_the_shipped_config_beats_the_most_frequent_tags(tmp_path):
    """By two bootstrap standard errors of theirs in all three figures, with a quarter of the units.

    Measured: 4.2 and more after this half of the steps.
    """
    pytest.importorskip("gensim")
    # As a user starts it, on one device.
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = [sys.executable, "-m", "ganjax.main", "--config=configs/tagging.py"]
    command += [f"--config.{each}_every=150" for each in ("eval", "sample", "checkpoint")]
    command += ["--config.generator.latent_width=125", "--config.generator.feature_width=500"]
    command += [f"--config.discriminator.{field}" for field in QUARTER]
    command += ["--config.total_steps=150", f"--workdir={tmp_path / 'run'}"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=3_600)
    run = TrainedTagger(tmp_path / "run")
    about = run.domain
    rows, tagged = about.with_tags("test"), about.tagged
    own = [tagged.tags[i] for i in rows]
    found = [[word for word, _ in about.named(votes)] for votes in run.votes(about.features[rows])]
    training = [tagged.tags[i] for i in tagged.splits["train"]]
    frequent = figures.most_frequent(training, set(about.vectors.words))
    baseline = figures.score([frequent] * len(rows), own)
    errors = baseline.errors()
    for name, value in figures.score(found, own).figures().items():
        assert value > baseline.figures()[name] + 2 * errors[name], name


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_the_papers_preset_trains_on_arrays_of_its_shape(tmp_path):
    config = shipped("tagging", "paper")
    arrays = write_arrays(tmp_path / "arrays", count=150, images=False, dims=(4_096, 200))
    config.data.source = f"arrays:{arrays}"
    config.total_steps, config.batch_size = 3, 96
    train(config, tmp_path / "run")
    (found,) = ganjax.load(tmp_path / "run").tag_features(np.load(arrays / "features.npy")[:1])
    assert len(found) == 7
    assert not list((tmp_path / "run" / "samples").iterdir())  # There are no images to show.


@pytest.mark.slow
def test_the_command_prints_tags_and_speaks_json(trained, arrays, tmp_path):
    workdir, features = f"--workdir={trained[0]}", arrays / "features.npy"
    code, said = processes.run("ganjax.tag", [workdir, features, "--json"], tmp_path)
    assert code == 0, said
    assert len(json.loads(said)[f"{features}[23]"]) == 7
    code, said = processes.run("ganjax.tag", [workdir, arrays / "000.png"], tmp_path)
    assert code == 2
    assert said.count("\n") == 1
