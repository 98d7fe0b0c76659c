"""R3GAN's networks against the paper's counts and against NumPy and SciPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from pydantic import ValidationError

from ganjax.config import ConfigError
from ganjax.engine.sizes import Size
from ganjax.models import fields, r3gan
from ganjax.models.layers import Conditioning

pytestmark = pytest.mark.usefixtures("native_convolutions")
LABEL = jnp.zeros(2, jnp.int32)
RANDOM = np.random.RandomState(0)
SMALL = {"widths": (16, 8), "group_width": 8}
LABELS = {
    "generator": Conditioning("embedding", 3, 5),
    "discriminator": Conditioning("projection", 3),
}


def shapes(module, x):
    return jax.eval_shape(partial(module.init, train=False), jax.random.key(0), x, LABEL[: len(x)])


def params_of(module, x, label=LABEL):
    return module.lazy_init(jax.random.key(0), x, label, train=False)["params"]


def filled(params):
    """Returns parameters all of which are drawn, since the last layer of a block begins at 0."""
    return jax.tree.map(lambda leaf: RANDOM.randn(*leaf.shape).astype(np.float32) / 4, params)


def test_the_networks_for_256_pixels_have_the_papers_parameters():
    """The paper says 23.058M and 23.010M."""
    g = shapes(r3gan.Generator(r3gan.WIDTHS), jnp.zeros((1, 64)))
    d = shapes(r3gan.Discriminator(r3gan.WIDTHS), jnp.zeros((1, 256, 256, 3)))
    counts = [sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (g, d)]
    assert counts == [23_057_952, 23_009_568]


def convolved(x, kernel, groups=1):
    """Convolves images (N, H, W, C) by SciPy, sample by sample and channel by channel, with zeros
    beyond the border."""
    _, _, inputs, outputs = kernel.shape
    y = np.zeros((*x.shape[:3], outputs))
    for sample in range(len(x)):
        for out in range(outputs):
            first = out // (outputs // groups) * inputs
            for i in range(inputs):
                image, window = x[sample, :, :, first + i], kernel[:, :, i, out]
                y[sample, :, :, out] += scipy.signal.correlate2d(image, window, "same")
    return y


def activated(x):
    return np.where(x > 0, x, 0.2 * x)


def block(x, params, at):
    """Computes a residual block in float64 from its three convolutions."""
    first, grouped, last = (params[f"{kind}{at}"] for kind in ("expand", "grouped", "project"))
    h = activated(convolved(x, first["kernel"]) + first["bias"])
    groups = h.shape[-1] // grouped["kernel"].shape[2]
    h = activated(convolved(h, grouped["kernel"], groups) + grouped["bias"])
    return x + convolved(h, last["kernel"])


def resampled(x, up):
    """Zero-inserts and filters, or filters and drops, by SciPy's full convolution."""
    kernel = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    n, height, width, channels = x.shape
    y = np.zeros((n, 2 * height, 2 * width, channels) if up else x[:, ::2, ::2].shape)
    for sample in range(n):
        for c in range(channels):
            image = x[sample, :, :, c]
            if up:
                sparse = np.zeros((2 * height, 2 * width))
                sparse[::2, ::2] = image
                y[sample, :, :, c] = 4 * scipy.signal.convolve2d(sparse, kernel)[1:-2, 1:-2]
            else:
                y[sample, :, :, c] = scipy.signal.convolve2d(image, kernel)[2:-1:2, 2:-1:2]
    return y


def test_each_block_begins_as_the_identity():
    """So the whole generator is linear in its first layer's output."""
    params = params_of(r3gan.Generator(**SMALL), jnp.zeros((2, 5)))
    still = {name for name in params if name != "basis" and not params[name]["kernel"].any()}
    assert still == {"project0_4", "project1_4", "project0_8", "project1_8"}


def test_the_generator_is_its_layers_in_the_papers_order():
    module = r3gan.Generator(**SMALL, blocks=1, channels=2)
    z = RANDOM.randn(2, 5).astype(np.float32)
    p = filled(params_of(module, z))
    x = (z @ p["latent"]["kernel"])[:, None, None, :] * p["basis"]
    x = block(x, p, "0_4")
    x = resampled(convolved(x, p["width_8"]["kernel"]), up=True)
    x = block(x, p, "0_8")
    expected = convolved(x, p["image_8"]["kernel"])
    got = jax.jit(partial(module.apply, train=True))({"params": p}, z, LABEL)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_the_discriminator_is_its_mirror_image():
    module = r3gan.Discriminator(**SMALL, blocks=1)
    x = RANDOM.randn(2, 8, 8, 2).astype(np.float32)
    p = filled(params_of(module, x))
    h = block(convolved(x, p["image_8"]["kernel"]), p, "0_8")
    h = block(convolved(resampled(h, up=False), p["width_8"]["kernel"]), p, "0_4")
    expected = (h * p["pixels"]).sum((1, 2)) @ p["score"]["kernel"][:, 0]
    got = jax.jit(partial(module.apply, train=True))({"params": p}, x, LABEL)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_labels_enter_both_networks_by_linear_maps():
    z, x = RANDOM.randn(2, 5).astype(np.float32), RANDOM.randn(2, 8, 8, 2).astype(np.float32)
    label = jnp.array([2, 0])
    g = r3gan.Generator(**SMALL, conditioning=LABELS["generator"])
    p = filled(params_of(g, z))
    without = g.clone(conditioning=Conditioning())
    embedded = p["label"]["embedding"][label]
    np.testing.assert_allclose(
        g.apply({"params": p}, z, label, train=True),
        without.apply({"params": p}, np.concatenate([z, embedded], 1), label, train=True),
        rtol=1e-4,
        atol=1e-4,
    )
    d = r3gan.Discriminator(**SMALL, conditioning=LABELS["discriminator"])
    p = filled(params_of(d, x))
    vector = p["score"]["kernel"] @ p["label"]["embedding"].T  # For each class a last layer.
    for sample, of_class in enumerate(label):
        alone = {**p, "score": {"kernel": vector[:, of_class][:, None]}}
        score = d.clone(conditioning=Conditioning()).apply({"params": alone}, x, label, train=True)
        got = d.apply({"params": p}, x, label, train=True)
        np.testing.assert_allclose(got[sample], score[sample], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_kernels_are_drawn_with_the_papers_deviations():
    """N(0, gain^2 / fan-in) with gain sqrt(2 / 1.04) L^(-1/4) inside a network of L blocks."""
    d = r3gan.Discriminator((64, 32), conditioning=Conditioning("projection", 50))
    params = params_of(d, jnp.zeros((2, 8, 8, 3)))
    gain = np.sqrt(2 / 1.04) * 4**-0.25
    for at in ("0_4", "1_4", "0_8", "1_8"):
        first, grouped, last = (params[f"{name}{at}"] for name in ("expand", "grouped", "project"))
        assert not first["bias"].any()
        assert not grouped["bias"].any()
        first, grouped, last = (layer["kernel"] for layer in (first, grouped, last))
        assert abs(first.std() / (gain / np.sqrt(first.shape[2])) - 1) < 0.05
        assert abs(grouped.std() / (gain / np.sqrt(9 * 16)) - 1) < 0.05
        assert not last.any()
        assert abs(first.mean()) < 0.05 * first.std()
    assert abs(params["score"]["kernel"].std() * np.sqrt(64) - 1) < 0.05
    assert abs(params["pixels"].std() * 4 - 1) < 0.1  # 4x4 pixels.
    assert abs(params["label"]["embedding"].std() * np.sqrt(64 * 50) - 1) < 0.05
    g = r3gan.Generator((64, 32), conditioning=Conditioning("embedding", 50, 64))
    params = params_of(g, jnp.zeros((2, 64)))
    assert abs(params["basis"].std() - 1) < 0.1
    assert abs(params["latent"]["kernel"].std() * np.sqrt(128) - 1) < 0.05
    assert abs(params["label"]["embedding"].std() * np.sqrt(50) - 1) < 0.05


def test_the_highest_stages_may_compute_in_bfloat16():
    g = r3gan.Generator(**SMALL, bfloat16_stages=1)
    text = str(
        jax.make_jaxpr(lambda v, z: g.apply(v, z, LABEL, train=True))(
            shapes(g, jnp.zeros((2, 5))), jnp.zeros((2, 5))
        )
    )
    assert "bf16[2,8,8,16]" in text  # Inside a block at 8x8.
    assert "bf16[2,4,4,32]" not in text
    image = jax.eval_shape(
        lambda v, z: g.apply(v, z, LABEL, train=True),
        shapes(g, jnp.zeros((2, 5))),
        np.zeros((2, 5)),
    )
    assert image.dtype == jnp.float32


@pytest.mark.parametrize(
    ("widths", "size", "expected"),
    [
        ((), 64, (768, 768, 768, 768, 384)),
        ((), 512, (768, 768, 768, 768, 384, 192, 96, 48)),
        ((96, 64, 32, 16), 16, (96, 64, 32)),
        ((96, 64, 32, 16), 64, (96, 64, 32, 16, 8)),
        ((96, 64, 32, 16, 8), 128, (96, 64, 32, 16, 8, 8)),
    ],
)
def test_widths_follow_the_size_of_the_images(widths, size, expected):
    group_width = {"group_width": 16}
    found = r3gan.GeneratorFields.following_widths(
        {"widths": widths, **group_width}, Size(size, size)
    )
    assert found == expected
    made = r3gan.GeneratorFields(widths=expected)
    images = fields.ImageSpec(Size(size, size), 3)
    made.check("config.generator", images, fields.Options())
    assert made.build(images, fields.Options()).base == (4, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group_width": 12}, r"config.generator.group_width=12: .*16 inner channels, which it"),
        ({"widths": (8,) * 5}, r"config.image_size=8: 5 widths .* halve it 4 times, to no whole"),
    ],
)
def test_networks_that_cannot_be_built_are_refused(changes, message):
    made = r3gan.GeneratorFields(**{"widths": (8, 8), **changes})
    with pytest.raises(ConfigError, match=message):
        made.check("config.generator", fields.ImageSpec(Size(8, 8), 3), fields.Options())


@pytest.mark.parametrize("changes", [{"blocks": 10**9}, {"widths": (8,) * 1_000}])
def test_networks_of_more_layers_than_can_be_traced_are_refused(changes):
    with pytest.raises(ValidationError, match="256"):
        r3gan.GeneratorFields(**changes)
