"""ganjax.ops.convolutions against lax, Flax and (as stored arrays) PyTorch."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from convolutions import (
    PEERS,
    arguments,
    assert_near,
    both,
    derivatives,
    inputs,
    label,
    normal,
    scalar,
    squared_gradient,
)

from ganjax.models import layers
from ganjax.ops.convolutions import conv, conv_downsample, conv_transpose, upsample_conv

with np.load(ROOT / "tests" / "golden" / "conv_torch.npz") as arrays:
    GOLDEN = {name: arrays[name] for name in arrays}

# (function, (H, W), (h, w), strides, padding). Windows are kept within the input and padding
# below the window: beyond, XLA's CPU compiler can abort the process.
GEOMETRIES = [
    (conv, (7, 5), (3, 3), (1, 1), "SAME"),
    (conv, (7, 5), (4, 4), (2, 2), "SAME"),
    (conv, (7, 5), (1, 1), (2, 2), "SAME"),
    (conv, (7, 5), (5, 3), (2, 2), "VALID"),
    (conv, (8, 6), (3, 3), (2, 2), "VALID"),  # the last row and column are never reached
    (conv, (8, 6), (4, 4), (2, 2), 1),
    (conv, (8, 6), (5, 3), (2, 1), ((2, 1), (0, 2))),
    (conv, (4, 4), (4, 4), (1, 1), "VALID"),  # dense
    (conv, (4, 4), (4, 4), (2, 2), 0),  # dense
    (conv_transpose, (7, 5), (3, 3), (1, 1), "SAME"),
    (conv_transpose, (4, 3), (4, 4), (2, 2), "SAME"),
    (conv_transpose, (7, 5), (5, 3), (2, 2), "SAME"),
    (conv_transpose, (4, 6), (1, 1), (1, 1), "VALID"),
    (conv_transpose, (3, 5), (3, 3), (2, 2), "VALID"),
    (conv_transpose, (4, 6), (4, 4), (2, 2), 1),
    (conv_transpose, (4, 5), (5, 3), (2, 1), ((2, 1), (0, 2))),
    (conv_transpose, (1, 1), (4, 4), (1, 1), "VALID"),  # dense
]


@pytest.mark.parametrize("case", GEOMETRIES, ids=label)
def test_float32_matches_lax(case):
    args, geometry = arguments(case)
    got = derivatives(case[0], *args, *geometry)
    assert_near(got, derivatives(PEERS[case[0]], *args, *geometry))


@pytest.mark.parametrize("case", [g for g in GEOMETRIES if g[2] == (4, 4)][::2], ids=label)
def test_bfloat16_matches_lax_in_float32(case):
    args, geometry = arguments(case)
    args = [a.astype(jnp.bfloat16) for a in args]
    got = derivatives(case[0], *args, *geometry)
    assert {a.dtype for a in got.values()} == {jnp.dtype(jnp.bfloat16)}
    exact = [a.astype(np.float32) for a in args]
    assert_near(got, derivatives(PEERS[case[0]], *exact, *geometry), 3e-2)


@pytest.mark.parametrize("case", sorted({name.split("/")[0] for name in GOLDEN}))
def test_matches_pytorch(case):
    name, stride, padding = case.split("-")
    strides, padding = (int(stride[1:]),) * 2, int(padding[1:])
    want = {key.split("/")[1]: a for key, a in GOLDEN.items() if key.startswith(case + "/")}
    if name == "conv":
        function, pads = conv, padding
    else:
        # PyTorch's padding crops the full output; ours pads the dilated input.
        function, pads = conv_transpose, [(h - 1 - padding,) * 2 for h in want["k"].shape[2:]]
    for key, value in want.items():
        if key not in ("k", "sk", "pxk", "pkk"):
            want[key] = value.transpose(0, 2, 3, 1)
        elif name == "conv":
            want[key] = value.transpose(2, 3, 1, 0)
        else:  # (I, O, h, w).
            want[key] = value.transpose(2, 3, 1, 0)
    args = [want.pop(key) for key in ("x", "k", "c")]
    assert_near(derivatives(function, *args, strides, pads), want)


@both
def test_third_order_matches_lax(function):
    def third(f):
        q = squared_gradient(squared_gradient(scalar(f, (2, 2), "SAME"), 0), 1)
        with jax.default_matmul_precision("highest"):
            qx, qk = jax.jit(jax.grad(q, (0, 1)))(*inputs(function, (4, 3), (3, 3)))
        return {"qx": qx, "qk": qk}

    assert_near(third(function), third(PEERS[function]))


@pytest.mark.parametrize("window", [(3, 3), (4, 2), (1, 5)], ids=str)
@pytest.mark.parametrize("function", [upsample_conv, conv_downsample], ids=lambda f: f.__name__)
def test_resampling_in_the_convolution_matches_resampling_by_itself(function, window):
    """lax convolves repeated pixels, or its outputs are averaged."""
    lax_conv = PEERS[conv]

    def apart(x, k, strides, padding):
        if function is upsample_conv:
            return lax_conv(layers.repeat(x), k, strides, padding)
        return layers.mean_pool(lax_conv(x, k, strides, padding))

    x, k = inputs(conv, (6, 8), window)
    c = normal(*jax.eval_shape(lambda: apart(x, k, (1, 1), "SAME")).shape, seed=2)
    ours = derivatives(lambda x, k, strides, padding: function(x, k), x, k, c, (1, 1), "SAME")
    assert_near(ours, derivatives(apart, x, k, c, (1, 1), "SAME"))


def test_odd_images_cannot_be_downsampled():
    x, k = inputs(conv, (7, 5), (3, 3))
    with pytest.raises(ValueError, match=r"an image of \(7, 5\) has no 2x2 pixels"):
        conv_downsample(x, k)


@both
@pytest.mark.parametrize("axes", [(0, None), (0, 0)], ids=["x", "x_and_k"])
def test_vmap_computes_what_a_loop_does(function, axes):
    x, k = (jnp.stack([a, 2 * a, -a]) for a in inputs(function, (6, 5), (3, 3)))

    def f(x, k):
        y, vjp = jax.vjp(lambda x, k: function(x, k, (2, 2), "SAME"), x, k)
        return y, *vjp(jnp.sin(y))

    with jax.default_matmul_precision("highest"):
        got = jax.jit(jax.vmap(f, axes))(x, k if axes[1] == 0 else k[0])
        one = jax.jit(f)
        want = [one(x[i], k[i if axes[1] == 0 else 0]) for i in range(3)]
    want = map(np.stack, zip(*want, strict=True))
    assert_near(dict(enumerate(got)), dict(enumerate(want)))


@both
@pytest.mark.parametrize(
    ("x", "k", "dtype", "padding", "message"),
    [
        ((2, 4, 4, 3), (3, 3, 2, 4), "float32", "SAME", r"needed, not \(2, 4, 4, 3\)"),
        ((2, 4, 4, 3), (3, 3, 3, 3), "bfloat16", "SAME", "float32 but the kernel is bfloat16"),
        ((2, 2, 2, 3), (3, 3, 3, 3), "float32", -1, "padding -1"),
        ((2, 4, 4, 3), (3, 3, 3, 3), "float32", "FULL", "FULL"),
    ],
    ids=["channels", "dtype", "empty", "padding"],
)
def test_arguments_that_do_not_fit_are_refused(function, x, k, dtype, padding, message):
    # The tests' type checker would refuse some of them first.
    function = inspect.unwrap(function)
    with pytest.raises(ValueError, match=message):
        function(jnp.ones(x), jnp.ones(k, dtype), padding=padding)


@both
@pytest.mark.parametrize("strides", [0, -1, (1, 0)])
def test_strides_below_1_are_refused(function, strides):
    with pytest.raises(ValueError, match=rf"strides={re.escape(str(strides))}: the window moves"):
        function(jnp.ones((2, 4, 4, 3)), jnp.ones((3, 3, 3, 3)), strides)
