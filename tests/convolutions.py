"""Convolutions for tests: arguments, peers, and derivatives of up to second order."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ganjax.ops.convolutions import conv, conv_downsample, conv_transpose, upsample_conv

BATCH, INPUTS, OUTPUTS = 2, 3, 4


def peer(function):
    """Returns a function of lax with the signature of ganjax's."""

    def call(x, k, strides, padding):
        pads = [(padding, padding)] * 2 if isinstance(padding, int) else padding
        return function(x, k, strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    return call


PEERS = {
    conv: peer(lax.conv_general_dilated),
    conv_transpose: peer(partial(lax.conv_transpose, transpose_kernel=True)),
}
both = pytest.mark.parametrize("function", PEERS, ids=lambda f: f.__name__)


def label(case):
    """Returns the id of a case (function, image size, window, strides, padding)."""
    return "-".join([case[0].__name__, *map(str, case[1:])]).replace(" ", "")


def normal(*shape, scale=1.0, seed=0):
    """Returns normal numbers in float32, always the same for a shape and a seed."""
    return jnp.asarray(scale * np.random.RandomState(seed).randn(*shape), jnp.float32)


def inputs(function, size, window):
    """Returns images and a kernel for a function of ganjax or its peer."""
    channels = (INPUTS, OUTPUTS) if function in (conv, PEERS[conv]) else (OUTPUTS, INPUTS)
    return normal(BATCH, *size, INPUTS), normal(*window, *channels, scale=0.3, seed=1)


def arguments(case):
    """Returns (x, k, c) and (strides, padding) of a case; c weights the output in `scalar`."""
    function, size, window, *geometry = case
    x, k = inputs(function, size, window)
    shape = jax.eval_shape(lambda: PEERS[function](x, k, *geometry)).shape
    return (x, k, normal(*shape, seed=2)), geometry


def scalar(function, strides, padding, c=1.0):
    """Returns a scalar function of (x, k), whose sine gives it derivatives of every order."""
    return lambda x, k: jnp.sum(jnp.sin(function(x, k, strides, padding)) * c)


def squared_gradient(s, argument):
    """Returns the squared norm of a gradient of `s`, as in a gradient penalty."""
    return lambda x, k: jnp.sum(jax.grad(s, argument)(x, k) ** 2)


def derivatives(function, x, k, c, strides, padding):
    """Computes values, first and second derivatives by the names of tests/golden/conv_torch.py."""
    s = scalar(function, strides, padding, c)

    # To optimise code that runs once would take half of the time of these tests.
    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def run(x, k):
        sx, sk = jax.grad(s, (0, 1))(x, k)
        pxx, pxk = jax.grad(squared_gradient(s, 0), (0, 1))(x, k)
        pkx, pkk = jax.grad(squared_gradient(s, 1), (0, 1))(x, k)
        y = function(x, k, strides, padding)
        return {"y": y, "sx": sx, "sk": sk, "pxx": pxx, "pxk": pxk, "pkx": pkx, "pkk": pkk}

    with jax.default_matmul_precision("highest"):
        return run(x, k)


def assert_near(got, want, tolerance=1e-5):
    """Compares dicts of arrays, with a tolerance relative to the largest entry of each array.

    Small entries may be differences of large terms, and have the rounding of these.
    """
    assert got.keys() == want.keys()
    for name in got:
        g, w = (np.asarray(a[name], np.float32) for a in (got, want))
        assert np.any(w), f"{name} is zero: nothing is tested"
        np.testing.assert_allclose(g, w, rtol=0, atol=tolerance * np.abs(w).max(), err_msg=name)


# Convolutions as large as those of networks: (function of (x, k), x's shape without the batch, k's
# shape) by name. On CPUs every map of one group is computed by `winograd` or by `patches`.
LARGE_BATCH, LARGE_INPUTS, LARGE_OUTPUTS = 32, 64, 128
LARGE = {
    "conv": (
        partial(conv, strides=2, padding=1),
        (32, 32, LARGE_INPUTS),
        (4, 4, LARGE_INPUTS, LARGE_OUTPUTS),
    ),
    "conv of odd images": (
        partial(conv, strides=2),
        (31, 29, LARGE_INPUTS),
        (4, 4, LARGE_INPUTS, LARGE_OUTPUTS),
    ),
    "conv of RGB": (partial(conv, strides=2, padding=1), (64, 64, 3), (4, 4, 3, LARGE_OUTPUTS)),
    "conv, stride 1": (conv, (16, 16, LARGE_INPUTS), (3, 3, LARGE_INPUTS, LARGE_OUTPUTS)),
    "conv of groups": (
        partial(conv, feature_group_count=4),
        (16, 16, LARGE_INPUTS),
        (3, 3, LARGE_INPUTS // 4, LARGE_OUTPUTS),
    ),
    "conv_transpose": (
        partial(conv_transpose, strides=2, padding="SAME"),
        (16, 16, LARGE_OUTPUTS),
        (4, 4, LARGE_INPUTS, LARGE_OUTPUTS),
    ),
    "upsample_conv": (
        upsample_conv,
        (16, 16, LARGE_INPUTS),
        (3, 3, LARGE_INPUTS, LARGE_OUTPUTS),
    ),
    "conv_downsample": (
        conv_downsample,
        (32, 32, LARGE_INPUTS),
        (3, 3, LARGE_INPUTS, LARGE_OUTPUTS),
    ),
}
large = pytest.mark.parametrize("name", LARGE)


def output(function):
    """Returns a scalar function of (x, k) with derivatives of every order."""
    return lambda x, k: jnp.sum(jnp.sin(function(x, k)))


# The programs that are lowered: a forward map with its gradients, and those of a penalty.
ORDERS = {
    "gradients": lambda function: jax.grad(output(function), (0, 1)),
    "second order": lambda function: jax.grad(squared_gradient(output(function), 0), (0, 1)),
}


def large_case(name, order):
    """Returns a function of `LARGE`, differentiated by `ORDERS`, and its arguments' shapes."""
    function, image, kernel = LARGE[name]
    return ORDERS[order](function), ((LARGE_BATCH, *image), kernel)
