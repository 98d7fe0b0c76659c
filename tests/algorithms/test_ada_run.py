"""Adaptive augmentation in a run: networks, penalty, devices, resuming, leaks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from initial import initial
from small import shipped, shrink
from tiny_dcgan import ACCURACY, ADA, FIXED, KERAS, build, tiny_dcgan

from ganjax.algorithms.networks import build_networks
from ganjax.augment import affine, colour
from ganjax.data import sources
from ganjax.engine.algorithm import Context
from ganjax.engine.schedules import Reals
from ganjax.engine.step import init_state, make_train_step
from ganjax.ops.lowering import native_convolutions
from ganjax.parallel.sharding import make_layout
from ganjax.training import leaks, schema
from ganjax.training.loop import train
from ganjax.training.writer import read_metrics

pytestmark = pytest.mark.usefixtures("native_convolutions")


def networks_of(config):
    return build_networks(config, config.generator, config.discriminator, config.batch_norm)


def test_the_networks_have_as_many_parameters_as_those_of_keras_example():
    """At 64x64 and width 128, by its own count."""
    config, _ = schema.load(shipped("ada", "emoji64"))
    players = jax.eval_shape(networks_of(config).init, jax.random.key(0))
    sizes = [[[x.size for x in jax.tree.leaves(tree)] for tree in trees] for trees in players]
    counts = [[sum(of_params), sum(of_vars)] for of_params, of_vars in sizes]
    weights = 4  # One of each BatchNorm's averages, which Keras does not correct.
    expected = [[926_083, 930_947 - 926_083], [795_137, 796_161 - 795_137]]
    assert counts == [[params, averages + weights] for params, averages in expected]


def test_the_first_and_the_last_layer_are_initialised_as_dense_layers():
    """Glorot's limit counts their units, as in Keras."""
    config, _ = schema.load(shipped("ada", "emoji64"))
    (g, _), (d, _) = initial(networks_of(config).init, jax.random.key(0))
    for kernel, fans in (
        (g["ConvTranspose_0"]["kernel"], 64 + 2048),
        (d["Conv_4"]["kernel"], 2048 + 1),
        (d["Conv_1"]["kernel"], 16 * (128 + 128)),
    ):
        np.testing.assert_allclose(np.abs(kernel).max(), (6 / fans) ** 0.5, rtol=5e-3)


def test_r1_is_by_the_image_before_augmentation():
    raw = tiny_dcgan()
    raw.discriminator.batch_norm = "none"
    raw.penalty.r1 = 2.0
    raw.update({"augment": {**KERAS, "controller": {**FIXED, "p": 1.0}}})
    config, module = schema.load(raw)
    algorithm, networks = module.build(config), networks_of(config)
    augmentation = config.augment.build(
        networks.value_range, config.batch_size, Reals(config.batch_size)
    )
    _, (params, vars) = initial(algorithm.init, jax.random.key(0))
    image = jnp.asarray(np.random.RandomState(0).randn(8, 8, 8, 1), jnp.float32)
    batch = {"image": image, "label": jnp.zeros(8, jnp.int32)}
    step, phase = jnp.zeros((), jnp.int32), algorithm.phases[0]
    context = Context(batch, jax.random.key(1), step, phase, algorithm.aug_init())
    with native_convolutions():  # They compile sooner.
        value, _ = jax.jit(lambda params: algorithm.penalty(params, vars, batch, context))(params)

    def score(x):
        seen = augmentation.apply(x, context)
        scores, _ = networks.discriminate(params, vars, seen, batch["label"], context.key)
        return jnp.sum(scores)

    gradient = jax.jit(jax.grad(score))(image)
    np.testing.assert_allclose(value, jnp.sum(gradient**2) / 8, rtol=1e-4)
    assert np.abs(augmentation.apply(image, context) - image).max() > 0.1


@pytest.mark.slow
def test_one_device_and_eight_agree():
    raw, controller = tiny_dcgan(), {**ACCURACY, "p": 0.5, "speed": 0.1}
    raw.order = "simultaneous"
    raw.update({"augment": {**KERAS, "controller": controller}})
    algorithm, layout = build(raw), make_layout()
    image = np.random.RandomState(0).randint(0, 256, (1, 8, 8, 8, 1)).astype(np.uint8)
    batch = {"image": image, "label": np.zeros((1, 8), np.int32)}
    key, results = jax.random.key(0), []
    spread = jax.device_put(batch, layout.batches)
    for sharding, reals in ((None, batch), (layout.batch, spread)):
        step_key = key if sharding is None else jax.device_put(key, layout.replicated)
        step = make_train_step(algorithm, sharding=sharding)
        step = jax.jit(partial(step, phase=algorithm.phases[0]))
        state, metrics = step(initial(partial(init_state, algorithm), step_key), reals, step_key)
        results.append((state.aug, metrics, state.d.params))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), *results)
    aug, metrics, _ = results[1]
    expected = 0.5 + 0.1 * ((1 + metrics["r_t"]) / 2 - 0.85)
    np.testing.assert_allclose(aug["p"], expected, rtol=1e-5)
    assert metrics["aug_p"] == 0.5


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_a_resumed_run_goes_on_with_its_p(tmp_path, monkeypatch):
    """aug_p is the p of a step, before its update; leaks are measured at each evaluation."""
    monkeypatch.setattr(leaks, "REALS", 200)
    monkeypatch.setattr(leaks, "SAMPLES", 100)
    config = shrink(shipped("ada"))
    config.image_size = 8
    config.generator.widths = config.discriminator.widths = (4,)
    config.augment.controller.speed = 0.5
    config.augment.measure_leaks = True
    config.augment.controller.p = 0.5
    config.total_steps = 2
    half = train(config, tmp_path)
    config.total_steps = 4
    whole = train(config, tmp_path)
    rows = {row["step"]: row for row in read_metrics(tmp_path / "metrics.jsonl") if "r_t" in row}
    np.testing.assert_allclose(rows[3]["aug_p"], half.aug["p"], rtol=1e-6)
    evaluated = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "val_d_loss" in row]
    assert evaluated
    assert all(0 <= row["leak_rotation"] <= 1 for row in evaluated)
    p = 0.5
    for step in range(1, 5):
        np.testing.assert_allclose(rows[step]["aug_p"], p, rtol=1e-5)
        p = np.clip(p + 0.5 * ((1 + rows[step]["r_t"]) / 2 - 0.85), 0, 1)
    np.testing.assert_allclose(whole.aug["p"], p, rtol=1e-5)


@pytest.mark.parametrize("size", [4, 8, 64])
def test_the_probe_looks_at_images_of_any_size(size):
    features = jax.jit(leaks.features)(np.ones((2, size, size, 3), np.float32))
    assert np.isfinite(features).all()


def rotated_by_45_degrees(x):
    angles = jax.random.uniform(jax.random.key(0), (len(x),), minval=-1.0, maxval=1.0) * np.pi / 4
    return affine.resample(x, affine.rotate(angles))


def recoloured(x):
    always = dict.fromkeys(colour.TRANSFORMS, 1.0)
    return colour.apply(x, colour.matrix(jax.random.key(0), len(x), always), (-1.0, 1.0))


@pytest.mark.parametrize(
    "transform", [rotated_by_45_degrees, pytest.param(recoloured, marks=pytest.mark.slow)]
)
def test_the_probe_finds_the_share_of_altered_images(transform):
    """Among emoji that it has not seen; and it finds none where none is altered."""
    source = sources.open_source(
        schema.load(shipped("ada", "emoji64")).config.data, "train", image_size=32
    )
    order = np.random.RandomState(1).permutation(source.size)[:1_000]
    x = source.fetch(order)["image"].astype(np.float32) / 127.5 - 1
    describe = jax.jit(leaks.features)
    plain, altered = (
        np.concatenate([describe(images[i : i + 100]) for i in range(0, len(x), 100)])
        for images in (x, np.asarray(jax.jit(transform)(x)))
    )
    probe = leaks.fit(plain[:800], altered[:800])
    for share in (0.0, 0.5, 1.0):
        count = int(200 * share)
        mixed = np.concatenate([altered[800 : 800 + count], plain[800 + count :]])
        assert abs(probe.share(mixed) - share) < 0.15
    assert leaks.fit(plain[:400], plain[400:800]) is None


COLOURS = [name for name in colour.TRANSFORMS if name != "luma_flip"]


@pytest.mark.parametrize(
    ("families", "multipliers", "names"),
    [
        (("blit",), (), {"rotation"}),
        (("blit",), (("rotate_90", 0.0),), set()),
        (("geometric",), (), {"rotation"}),
        (("geometric",), (("rotation", 0.0),), set()),
        (("blit", "geometric", "colour"), (), {"rotation", "colour"}),
        (("blit", "geometric"), (("rotation", 0.0),), {"rotation"}),
        (("colour",), (("brightness", 0.0), ("contrast", 0.5)), {"colour"}),
        # A luma flip alone leaves half of the images as they are.
        (("colour",), tuple((name, 0.0) for name in COLOURS), set()),
        (("filter", "corrupt"), (), set()),
    ],
)
def test_leaks_are_measured_of_transforms_that_change_every_image(families, multipliers, names):
    raw = tiny_dcgan()
    own = {"families": families, "multipliers": multipliers, "controller": FIXED}
    raw.update({"augment": {**ADA, **own, "measure_leaks": True}})
    transforms = build(raw).leaks
    assert set(transforms) == names
    x = jnp.asarray(np.random.RandomState(0).rand(16, 8, 8, 1), jnp.float32)
    for transform in transforms.values():
        assert np.any(transform(x, jax.random.key(0)) != x, (1, 2, 3)).all()


def test_a_leak_that_grew_is_warned_of():
    least = {}
    assert leaks.warnings({"leak_colour": 0.3, "val_d_loss": 9.0}, least) == []
    assert leaks.warnings({"leak_colour": 0.1}, least) == []
    (line,) = leaks.warnings({"leak_colour": 0.35}, least)
    assert line.startswith("leak_colour=0.35, up from 0.10: ")
    # A run that goes on reads the least shares from its rows.
    rows = [{"leak_colour": 0.3}, {"d_loss": 1.0}, {"leak_colour": 0.1}, {"leak_colour": 0.35}]
    assert leaks.least_of(rows) == {"leak_colour": 0.1}
