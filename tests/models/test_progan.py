"""ProGAN's networks against the paper and closed forms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.models import layers, progan
from ganjax.parallel.sharding import make_layout

pytestmark = pytest.mark.usefixtures("native_convolutions")

LABEL = jnp.zeros(4, jnp.int32)
PAPER = (512, 512, 512, 512, 256, 128, 64, 32, 16)
# Table 2 of the paper: parameters of the layers that each resolution adds (its 4.2M, 2.4M, ...).
ADDED = {
    4: (4_194_816 + 2_359_808, 2_364_416 + 4_194_816),
    8: (2 * 2_359_808,) * 2,
    16: (2 * 2_359_808,) * 2,
    32: (2 * 2_359_808,) * 2,
    64: (1_179_904 + 590_080, 590_080 + 1_180_160),
    128: (295_040 + 147_584, 147_584 + 295_168),
    256: (73_792 + 36_928, 36_928 + 73_856),
    512: (18_464 + 9_248, 9_248 + 18_496),
    1024: (4_624 + 2_320, 2_320 + 4_640),
}


def shapes(module, x):
    return jax.eval_shape(
        lambda x: module.init(jax.random.key(0), x, jnp.zeros(len(x), jnp.int32), train=False), x
    )["params"]


def output(module, x):
    return jax.eval_shape(
        lambda x: module.init_with_output(jax.random.key(0), x, LABEL, train=False)[0], x
    )


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_parameters_of_every_resolution_are_the_papers():
    g_total, d_total = 0, 513  # D's last layer.
    for i, (size, (g_added, d_added)) in enumerate(ADDED.items()):
        widths = PAPER[: i + 1]
        g_total, d_total = g_total + g_added, d_total + d_added
        g = shapes(progan.Generator(widths), jnp.zeros((4, 512)))
        d = shapes(progan.Discriminator(widths), jnp.zeros((4, size, size, 3)))
        assert count(g) == g_total + 3 * (widths[-1] + 1), size
        assert count(d) == d_total + 4 * widths[-1], size
    assert round(count(g) / 1e6, 1) == 23.1
    assert round(count(d) / 1e6, 1) == 23.1
    assert count(g["to_rgb_1024"]) == 51


@pytest.mark.parametrize("size", [4, 8, 32])
def test_a_pair_makes_and_takes_images_of_one_size(size):
    widths = (8, 6, 4, 2)[: size.bit_length() - 2]
    g, d = progan.Generator(widths, channels=1), progan.Discriminator(widths)
    x = output(g, jnp.zeros((4, 5)))
    assert x.shape == (4, size, size, 1)
    assert output(d, x).shape == (4,)


def grown(kind, widths, x, fades=True, **fields):
    """Returns a network with parameters of N(0, 1), biases included."""
    module, random = kind(widths, fades=fades, **fields), np.random.RandomState(0)
    return module, jax.tree.map(
        lambda leaf: jnp.asarray(random.randn(*leaf.shape), jnp.float32), shapes(module, x)
    )


def apply(module, params, x, alpha=None):
    fade = {} if alpha is None else {"fade": {"alpha_16": jnp.asarray(alpha, jnp.float32)}}
    return jax.jit(partial(module.apply, train=True))({"params": params, **fade}, x, LABEL)


@pytest.fixture
def z():
    return jax.random.normal(jax.random.key(1), (4, 6))


@pytest.fixture
def image():
    return jax.random.normal(jax.random.key(2), (4, 16, 16, 3))


def test_generator_at_alpha_0_is_the_smaller_one_upsampled(z):
    g, params = grown(progan.Generator, (8, 8, 4), z)
    smaller = progan.Generator((8, 8))
    np.testing.assert_array_equal(
        apply(g, params, z, 0.0), layers.repeat(apply(smaller, params, z))
    )


def test_discriminator_at_alpha_0_is_the_smaller_one_on_means(image):
    d, params = grown(progan.Discriminator, (8, 8, 4), image)
    smaller = progan.Discriminator((8, 8))
    np.testing.assert_array_equal(
        apply(d, params, image, 0.0), apply(smaller, params, layers.mean_pool(image))
    )


@pytest.mark.parametrize("kind", [progan.Generator, progan.Discriminator])
def test_at_alpha_1_the_old_layer_has_neither_influence_nor_gradient(kind, z, image):
    x = {progan.Generator: z, progan.Discriminator: image}[kind]
    old = {progan.Generator: "to_rgb_8", progan.Discriminator: "from_rgb_8"}[kind]
    module, params = grown(kind, (8, 8, 4), x)
    plain = kind((8, 8, 4))
    without = {name: value for name, value in params.items() if name != old}
    np.testing.assert_array_equal(apply(module, params, x, 1.0), apply(plain, without, x))
    weight = jax.random.normal(jax.random.key(3), apply(plain, without, x).shape)
    gradient = jax.jit(jax.grad(lambda p, alpha: jnp.sum(weight * apply(module, p, x, alpha))))
    gradients = {alpha: gradient(params, alpha) for alpha in (0.0, 0.5, 1.0)}
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradients[1.0][old]))
    new = ["to_rgb_16", "conv0_16"] if kind is progan.Generator else ["from_rgb_16", "conv1_16"]
    for name in new:
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradients[0.0][name]))
        assert all(
            np.any(leaf) for leaf in jax.tree.leaves((gradients[0.5][name], gradients[0.5][old]))
        )


def test_reals_are_faded_as_fakes_are(image):
    small = image.reshape(4, 8, 2, 8, 2, 3).mean((2, 4))
    blurred = np.kron(small.transpose(0, 3, 1, 2), np.ones((2, 2))).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(progan.fade_reals(image, 0.0), blurred, rtol=1e-6)
    np.testing.assert_array_equal(progan.fade_reals(image, 1.0), image)
    np.testing.assert_allclose(
        progan.fade_reals(image, 0.25), 0.75 * blurred + 0.25 * image, rtol=1e-5, atol=1e-6
    )


def test_pixel_norm_is_its_formula():
    x = np.array([[3.0, 4.0], [0.0, 0.0], [1e-5, 0.0]], np.float32)
    expected = np.array([[3, 4], [0, 0], [1e-5, 0]]) / np.sqrt(
        [[12.5 + 1e-8], [1e-8], [6e-11 - 1e-11 + 1e-8]]
    )
    np.testing.assert_allclose(progan.pixel_norm(jnp.asarray(x)), expected, rtol=1e-6)


def test_a_layer_uses_its_kernel_times_gain_over_the_root_of_fan_in(z):
    x = jax.random.normal(jax.random.key(4), (4, 5, 5, 6))
    conv = layers.Conv(7, (3, 3), gain=np.sqrt(2))
    params = {"kernel": jax.random.normal(jax.random.key(5), (3, 3, 6, 7)), "bias": jnp.ones(7)}
    y = jax.lax.conv_general_dilated(
        x, params["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(
        conv.apply({"params": params}, x), y * np.sqrt(2 / 54) + 1, rtol=1e-4, atol=1e-4
    )
    dense = {"kernel": jax.random.normal(jax.random.key(6), (6, 1)), "bias": jnp.ones(1)}
    np.testing.assert_allclose(
        layers.Dense(1, gain=1.0).apply({"params": dense}, z),
        z @ dense["kernel"] / np.sqrt(6) + 1,
        rtol=1e-5,
    )


def test_gains_are_the_papers():
    """They are sqrt(2), but 1 to RGB and sqrt(2) / 4 from z; each kernel is N(0, 1)."""
    g = progan.Generator((128, 8), channels=3)
    z = jax.random.normal(jax.random.key(1), (4, 512))
    params = jax.jit(partial(g.init, train=False))(jax.random.key(0), z, LABEL)["params"]
    for layer in params.values():
        assert not np.any(layer["bias"])
    assert abs(float(params["conv_4"]["kernel"].std()) - 1) < 0.01
    run = jax.jit(partial(g.apply, train=False, capture_intermediates=True))
    _, state = run({"params": params}, z, LABEL)
    outputs = {
        name: value["__call__"][0]
        for name, value in state["intermediates"].items()
        if name != "__call__"
    }
    unit = z / np.sqrt(np.mean(np.square(z), axis=1, keepdims=True))
    # In a transposed convolution from 1x1 each pixel is z times its own slice of the kernel.
    kernel = np.asarray(params["dense_4"]["kernel"])
    expected = np.einsum("nz,hwcz->nhwc", unit, kernel) * np.sqrt(2) / 4 / np.sqrt(512)
    np.testing.assert_allclose(outputs["dense_4"], expected, rtol=1e-3, atol=1e-4)
    x = progan.pixel_norm(jax.nn.leaky_relu(outputs["conv1_8"], 0.2))
    rgb = np.einsum("nhwi,io->nhwo", x, params["to_rgb_8"]["kernel"][0, 0]) / np.sqrt(8)
    np.testing.assert_allclose(outputs["to_rgb_8"], rgb, rtol=1e-4, atol=1e-5)


def reference_stddev(x, size):
    """Computes what section 3 of the paper says, group by group."""
    channel = np.empty((*x.shape[:3], 1))
    for first in range(0, len(x), size):
        group = x[first : first + size].astype(np.float64)
        channel[first : first + size] = np.sqrt(group.var(axis=0) + 1e-8).mean()
    return np.concatenate([x, channel], axis=-1)


@pytest.mark.parametrize(("batch", "size"), [(8, 4), (4, 4), (6, 3), (7, 1), (10, 2), (2, 2)])
def test_minibatch_stddev_is_the_papers_group_by_group(batch, size):
    x = np.random.RandomState(0).randn(batch, 4, 4, 5).astype(np.float32)
    np.testing.assert_allclose(
        progan.minibatch_stddev(jnp.asarray(x)), reference_stddev(x, size), rtol=1e-5, atol=1e-7
    )


def test_minibatch_stddev_is_float32_within_half_precision():
    x = (300 + jax.random.normal(jax.random.key(0), (4, 4, 4, 5))).astype(jnp.float16)
    y = progan.minibatch_stddev(x)
    assert y.dtype == jnp.float16
    np.testing.assert_allclose(y, reference_stddev(np.asarray(x), 4), rtol=1e-3)


@pytest.mark.parametrize("batch", [32, 8])
def test_minibatch_stddev_is_the_same_on_eight_devices(batch):
    x = jax.random.normal(jax.random.key(0), (batch, 4, 4, 3))
    layout = make_layout()
    assert layout.mesh.size == 8
    eight = jax.jit(progan.minibatch_stddev)(jax.device_put(x, layout.batch))
    np.testing.assert_allclose(eight, progan.minibatch_stddev(x), rtol=1e-6)
    compiled = jax.jit(progan.minibatch_stddev, out_shardings=layout.batch)
    text = compiled.lower(jax.device_put(x, layout.batch)).compile().as_text()
    communicates = any(
        name in text for name in ("all-gather", "all-reduce", "collective-permute", "all-to-all")
    )
    assert communicates == (batch == 8), "whole groups on a device need nothing of the others"
