"""The maps of convolutions in every mode of differentiation, under `vmap`, `remat` and sharding.

The peer convolves each group by itself with lax and joins the results.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolutions import PEERS, assert_near, normal
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ganjax.ops.convolutions import conv, conv_downsample, conv_transpose, upsample_conv

FAST = {"xla_backend_optimization_level": 0}
# (function, images, kernel, strides, padding, groups)
CASES = {
    "one group": (conv, (2, 5, 4, 2), (3, 3, 2, 3), (2, 2), "SAME", 1),
    "groups": (conv, (2, 5, 4, 4), (3, 3, 2, 6), (1, 1), "SAME", 2),
    "strided depthwise": (conv, (2, 5, 4, 3), (3, 2, 1, 3), (2, 2), "SAME", 3),
    "two outputs a channel": (conv, (2, 4, 4, 3), (2, 2, 1, 6), (2, 2), 0, 3),
    "transposed groups": (conv_transpose, (2, 3, 2, 4), (3, 3, 3, 4), (2, 2), "SAME", 2),
    "dense groups": (conv, (2, 4, 4, 4), (4, 4, 2, 6), (1, 1), "VALID", 2),
    "dense depthwise": (conv, (2, 4, 4, 3), (4, 4, 1, 3), (1, 1), "VALID", 3),
    "transposed depthwise": (conv_transpose, (2, 1, 1, 3), (4, 4, 1, 3), (1, 1), "VALID", 3),
}
# The first of each kind; the others cost as much.
QUICK = ["one group", "groups"]
cases = pytest.mark.parametrize(
    "case",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES],
)


def pair(case):
    """Returns ganjax's function and the peer, of (x, k), and their arguments."""
    function, image, kernel, strides, padding, groups = CASES[case]

    def peer(x, k):
        # The last axis of a kernel has all outputs, or all inputs of a transposed one.
        xs, ks = jnp.split(x, groups, 3), jnp.split(k, groups, 3)
        parts = [PEERS[function](a, b, strides, padding) for a, b in zip(xs, ks, strict=True)]
        return jnp.concatenate(parts, 3)

    ours = partial(function, strides=strides, padding=padding, feature_group_count=groups)
    return ours, peer, (normal(*image), normal(*kernel, scale=0.3, seed=1))


def every_mode(function, args):
    """Computes derivatives of second order by all mixtures of forward and reverse mode."""

    def scalar(args):
        return jnp.sum(jnp.sin(function(*args)))

    def slope(args):
        return jax.jvp(scalar, (args,), (tangents,))[1]

    tangents = tuple(normal(*a.shape, seed=3).astype(a.dtype) for a in args)
    gradient = jax.grad(scalar)
    forward = {"value": (function(*args),), "jvp": (slope(args),)}
    second = {
        "jvp of grad": jax.jvp(gradient, (args,), (tangents,))[1],
        "grad of jvp": jax.grad(slope)(args),
        "linearised grad": jax.linearize(gradient, args)[1](tangents),
        "grad of grad": jax.grad(
            lambda a: jax.tree.reduce(
                jnp.add, jax.tree.map(lambda g, t: jnp.sum(g * t), gradient(a), tangents)
            )
        )(args),
        "jvp of jvp": (jax.jvp(slope, (args,), (tangents,))[1],),
        "rematerialised": jax.grad(jax.checkpoint(scalar))(args),
    }
    return {f"{name}, {i}": a for name, v in (forward | second).items() for i, a in enumerate(v)}


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        *((name, "float32") for name in QUICK),
        *(pytest.param(name, "float64", marks=pytest.mark.slow) for name in CASES),
    ],
)
def test_all_modes_of_differentiation_match_lax(case, dtype):
    ours, peer, args = pair(case)
    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("highest"):
        args = tuple(jnp.asarray(a, dtype) for a in args)
        got, want = (
            jax.jit(partial(every_mode, function), compiler_options=FAST)(args)
            for function in (ours, peer)
        )
        assert {a.dtype for a in got.values()} == {jnp.dtype(dtype)}
        assert got.keys() == want.keys()
        tolerance = 1e-5 if dtype == "float32" else 1e-12
        for name, value in want.items():
            error = np.max(np.abs(np.asarray(got[name] - value)))
            assert error <= tolerance * np.max(np.abs(value)), name


def test_the_hessian_matches_lax():
    ours, peer, (x, k) = pair("groups")

    def hessian(function):
        return jax.hessian(lambda k: jnp.sum(jnp.sin(function(x[:1], k))))(k)

    got, want = (jax.jit(partial(hessian, f), compiler_options=FAST)() for f in (ours, peer))
    assert_near({"hessian": got}, {"hessian": want}, 1e-4)


def primitives(jaxpr):
    """Yields the names of all convolutions, those of inner jaxprs too."""
    for equation in jaxpr.eqns:
        if "conv" in equation.primitive.name or "_grad" in equation.primitive.name:
            yield equation.primitive.name
        for leaf in jax.tree.leaves(equation.params):
            inner = getattr(leaf, "jaxpr", leaf)
            if hasattr(inner, "eqns"):
                yield from primitives(inner)


@cases
def test_every_mode_and_vmap_stay_in_the_three_maps(case):
    ours, _, args = pair(case)
    names = {"ganjax_conv", "ganjax_input_grad", "ganjax_kernel_grad"}
    assert set(primitives(jax.make_jaxpr(partial(every_mode, ours))(args).jaxpr)) == names
    stacked = tuple(jnp.stack([a, a]) for a in args)
    for axes in ((0, None), (None, 0), (0, 0)):
        each = tuple(s if at == 0 else a for s, a, at in zip(stacked, args, axes, strict=True))
        mapped = jax.vmap(lambda *args: every_mode(ours, args), axes)
        assert set(primitives(jax.make_jaxpr(mapped)(*each).jaxpr)) == names


@cases
def test_vmap_over_either_or_both_matches_lax(case):
    ours, peer, (x, k) = pair(case)
    xs, ks = (jnp.stack([a, 2 * a, -a], axis=1) for a in (x, k))

    def mapped(function):
        def f(x, k):
            y, vjp = jax.vjp(function, x, k)
            return y, *vjp(jnp.sin(y))

        def over(axes, *args):
            return jax.vmap(f, axes, 1)(*args)

        results = over((1, None), xs, k), over((None, 1), x, ks), over((1, 1), xs, ks)
        return {f"{i} {j}": a for i, r in enumerate(results) for j, a in enumerate(r)}

    with jax.default_matmul_precision("highest"):
        got, want = (jax.jit(partial(mapped, f), compiler_options=FAST)() for f in (ours, peer))
    assert_near(got, want)


@pytest.mark.parametrize("function", [upsample_conv, conv_downsample], ids=lambda f: f.__name__)
def test_resampling_in_a_convolution_of_groups_is_that_of_each_group(function):
    x, k = normal(2, 4, 6, 4), normal(3, 3, 2, 6, seed=1)
    got = function(x, k, feature_group_count=2)
    parts = zip(jnp.split(x, 2, 3), jnp.split(k, 2, 3), strict=True)
    want = jnp.concatenate([function(a, b) for a, b in parts], 3)
    assert_near({"y": got}, {"y": want})


def test_groups_of_a_batch_that_devices_share():
    ours, peer, (x, k) = pair("groups")
    x = jnp.concatenate([x] * 4) * jnp.arange(1.0, 9.0)[:, None, None, None]
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    batch, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))

    def gradients(function, x, k):
        return jax.grad(lambda x, k: jnp.sum(jnp.sin(function(x, k))), (0, 1))(x, k)

    with jax.default_matmul_precision("highest"):
        shared = jax.jit(
            partial(gradients, ours), in_shardings=(batch, whole), out_shardings=(batch, whole)
        )
        got, want = shared(x, k), jax.jit(partial(gradients, peer))(x, k)
    assert_near(dict(enumerate(got)), dict(enumerate(want)))


@pytest.mark.parametrize("groups", [0, 3])
@pytest.mark.parametrize("function", [conv, conv_transpose], ids=lambda f: f.__name__)
def test_groups_that_do_not_divide_the_channels_are_refused(function, groups):
    with pytest.raises(ValueError, match=f"of feature_group_count={groups} are needed"):
        function(normal(2, 4, 4, 4), normal(3, 3, 4, 4), feature_group_count=groups)
