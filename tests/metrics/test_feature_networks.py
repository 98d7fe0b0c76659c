"""Feature networks against others' implementations, and resizing against Pillow's."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from ganjax.metrics import efflite0, features, inception, keras_inception, perceptual, resize
from ganjax.metrics.layers import Activations
from ganjax.parallel.sharding import make_layout
from tests.golden import feature_inputs as inputs

GOLDEN = ROOT / "tests" / "golden"


def close(made, golden):
    """To 1e-4 of the largest."""
    np.testing.assert_allclose(made, golden, rtol=0, atol=1e-4 * np.abs(golden).max())


def check(activations, golden):
    close(activations.features, golden["features"])
    if "logits" in golden:
        close(activations.logits, golden["logits"])
    else:
        assert activations.logits is None
    assert len(activations.stages) == 5
    for i, stage in enumerate(activations.stages):
        close(inputs.thinned(stage), golden[f"stage_{i}"])


@pytest.mark.parametrize(
    ("name", "network", "random_tensors"),
    [
        ("efflite0", efflite0, None),
        ("inception", inception, inputs.random_tensors),
        ("keras_inception", keras_inception, inputs.random_keras_tensors),
    ],
)
def test_network(name, network, random_tensors):
    """The published efflite0; Inceptions of random weights, which show a wrong layer as well."""
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        golden = dict(arrays)
    if name == "efflite0":
        params = features.load(name)
    else:
        params = network.make_params(random_tensors(json.loads(str(golden["shapes"]))))
    run = jax.jit(lambda params, images: network.apply(params, network.prepare(images)))
    found = run(params, inputs.images())
    check(found, golden)
    assert found.features.shape == (2, network.NETWORK.dimension)


def pillow(image, size):
    channels = [
        Image.fromarray(image[..., c].astype(np.float32)).resize((size, size), Image.BICUBIC)
        for c in range(image.shape[-1])
    ]
    return np.clip(np.stack([np.asarray(channel) for channel in channels], -1), 0, 255)


@pytest.mark.parametrize("shape", [(32, 32), (64, 64), (200, 31), (112, 112), (300, 500)])
@pytest.mark.parametrize("size", [112, 299])
def test_clean_is_pillows(shape, size):
    image = np.random.RandomState(0).randint(0, 256, (*shape, 3)).astype(np.uint8)
    made = resize.clean(jnp.asarray(image[None], jnp.float32), size)[0]
    np.testing.assert_allclose(made, pillow(image, size), rtol=0, atol=2e-3)


@pytest.mark.parametrize("source", [32, 64, 299, 400])
def test_tf1_bilinear_pixel_by_pixel(source):
    """The definition, written out: no half pixel, the last pixel repeated."""
    image = np.random.RandomState(1).uniform(0, 255, (source, source)).astype(np.float32)
    made = np.asarray(resize.tf1_bilinear(jnp.asarray(image[None, :, :, None]), 299))[0, :, :, 0]
    for row, column in [(0, 0), (298, 298), (17, 230), (298, 3), (150, 149)]:
        y, x = row * source / 299, column * source / 299
        (a, b), (c, d) = [(int(v), min(int(v) + 1, source - 1)) for v in (y, x)]
        top = image[a, c] + (image[a, d] - image[a, c]) * (x - c)
        bottom = image[b, c] + (image[b, d] - image[b, c]) * (x - c)
        np.testing.assert_allclose(made[row, column], top + (bottom - top) * (y - a), atol=5e-2)


@pytest.mark.parametrize("source", [32, 64, 75, 200])
def test_tf2_bilinear_pixel_by_pixel(source):
    """The definition, written out: half pixels, the edges repeated."""
    image = np.random.RandomState(1).uniform(0, 255, (source, source)).astype(np.float32)
    made = np.asarray(resize.tf2_bilinear(jnp.asarray(image[None, :, :, None]), 75))[0, :, :, 0]
    edged = np.pad(image, 1, mode="edge")
    for row, column in [(0, 0), (74, 74), (17, 60), (74, 3), (37, 36)]:
        y, x = ((v + 0.5) * source / 75 + 0.5 for v in (row, column))  # Within the edged image.
        a, c = int(y), int(x)
        top = edged[a, c] + (edged[a, c + 1] - edged[a, c]) * (x - c)
        bottom = edged[a + 1, c] + (edged[a + 1, c + 1] - edged[a + 1, c]) * (x - c)
        np.testing.assert_allclose(made[row, column], top + (bottom - top) * (y - a), atol=5e-2)


def test_perceptual_distance_written_out():
    random = np.random.RandomState(0)
    stages = [random.randn(6, 4, 5, 7), random.randn(6, 2, 2, 3)]
    expected = np.zeros(3)
    for stage in stages:
        for pair in range(3):
            pixels = []
            flat = stage.reshape(6, -1, stage.shape[-1])
            for a, b in zip(flat[2 * pair], flat[2 * pair + 1], strict=True):
                a, b = a / np.sqrt((a * a).sum()), b / np.sqrt((b * b).sum())
                pixels.append(((a - b) ** 2).sum())
            expected[pair] += np.mean(pixels)
    made = jax.jit(perceptual.distances)([jnp.asarray(stage, jnp.float32) for stage in stages])
    np.testing.assert_allclose(made, expected, rtol=1e-5)


def mean_of_halves(params, x):
    """A network whose outputs can be told by looking."""
    features = jnp.mean(x, axis=2).reshape(len(x), -1) * params["scale"]
    return Activations(features, features, (x,))


def test_extraction_is_the_same_in_any_batches_over_eight_devices(monkeypatch):
    """Grey images, an odd number of them, in batches that are not full."""
    monkeypatch.setitem(
        features.NETWORKS,
        "means",
        features.NETWORKS["efflite0"]._replace(
            prepare=lambda images: images.astype(jnp.float32), apply=mean_of_halves
        ),
    )
    images = np.random.RandomState(0).randint(0, 256, (131, 2, 8, 1)).astype(np.uint8)
    outputs, params = ("distances", "features"), {"scale": np.float32(2)}
    extract = features.Extractor("means", params, outputs, make_layout().batch)
    batches = [images[:1], images[1:7], images[7:7], images[7:]]
    found = extract(iter(batches), len(images), "test")
    assert found.logits is None
    expected = 2 * images.mean(2).repeat(3, -1).reshape(131, -1)
    np.testing.assert_allclose(found.features, expected, rtol=1e-6)
    apart = jax.jit(perceptual.distances)([jnp.asarray(images[:130].repeat(3, -1), jnp.float32)])
    np.testing.assert_allclose(found.distances, apart, rtol=1e-5)
    with pytest.raises(ValueError, match="test: 7 images came of 9"):
        extract(iter(batches[:2]), 9, "test")
