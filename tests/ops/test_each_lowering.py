"""Each module that computes maps of a convolution on CPUs, against XLA's own convolutions."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from convolutions import (
    INPUTS,
    OUTPUTS,
    PEERS,
    arguments,
    assert_near,
    derivatives,
    label,
    normal,
)
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ganjax.ops import (
    blocks,
    canonical,
    depthwise,
    each_group,
    grouped,
    lowering,
    native,
    patches,
    pixelwise,
    strips,
    winograd,
)
from ganjax.ops.convolutions import conv, conv_transpose
from ganjax.ops.geometry import Geometry

# Strided geometries of one padding a side: (strides, padding, (H, W), (h, w)).
STRIDED = [
    ((2, 2), ((1, 1), (1, 1)), (8, 6), (4, 4)),
    ((2, 2), ((1, 2), (1, 2)), (7, 5), (4, 4)),  # odd sizes
    ((2, 2), ((0, 0), (0, 0)), (8, 6), (3, 3)),  # the last row and column are never reached
    ((2, 3), ((2, 1), (0, 2)), (9, 8), (5, 4)),
    ((3, 2), ((0, 0), (0, 0)), (7, 5), (1, 1)),  # a stride longer than the window
]
# Of even outputs, 2 or 3 strides a window.
TILED = [
    ((2, 2), ((1, 1), (1, 1)), (8, 12), (4, 4)),
    ((1, 1), ((1, 1), (1, 1)), (6, 4), (3, 3)),
    ((1, 1), ((0, 1), (1, 1)), (6, 4), (2, 3)),
    ((2, 2), ((1, 2), (2, 2)), (8, 11), (5, 5)),
    ((2, 3), ((0, 0), (0, 2)), (9, 12), (3, 4)),  # the last row is never reached
]
# Of stride 1, every window on the image.
UNSTRIDED = [
    ((1, 1), ((1, 1), (1, 1)), (8, 6), (3, 3)),
    ((1, 1), ((0, 0), (0, 0)), (8, 6), (3, 3)),
    ((1, 1), ((2, 1), (0, 2)), (7, 5), (4, 3)),
    ((1, 1), ((1, 0), (0, 1)), (5, 5), (2, 2)),
    ((1, 1), ((0, 0), (0, 0)), (4, 5), (1, 1)),
    ((1, 1), ((0, 0), (2, 1)), (4, 5), (1, 4)),
    ((1, 1), ((2, 2), (2, 2)), (3, 2), (3, 3)),  # outputs larger than the image
    ((1, 1), ((2, 2), (2, 2)), (1, 1), (5, 5)),
]
CASES = {
    winograd: TILED,
    strips: UNSTRIDED,
    pixelwise: [((1, 1), ((0, 0), (0, 0)), (4, 5), (1, 1))],
}
modules = pytest.mark.parametrize(
    "module",
    [patches, blocks, strips, winograd, canonical, pixelwise],
    ids=lambda m: m.__name__.split(".")[-1],
)


@modules
@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_each_lowering_matches_native(module, dtype, monkeypatch):
    # The three images are three chunks.
    if hasattr(module, "CHUNK_BYTES"):
        monkeypatch.setattr(module, "CHUNK_BYTES", 5000)
    cases = CASES.get(module, STRIDED)
    assert not hasattr(module, "fits") or all(module.fits(Geometry(*case)) for case in cases)

    def arrays(case):
        geometry = Geometry(*case)
        x, k = normal(3, *geometry.size, INPUTS), normal(*geometry.window, INPUTS, OUTPUTS, seed=1)
        g = normal(3, *geometry.out, OUTPUTS, seed=2)
        args = {"conv": (x, k), "input_grad": (g, k), "kernel_grad": (x, g)}
        cast = {name: tuple(a.astype(dtype) for a in pair) for name, pair in args.items()}
        return {name: pair for name, pair in cast.items() if hasattr(module, name)}

    def run(lowering, dtype):
        def maps(args):
            return {
                f"{name} {case}": getattr(lowering, name)(
                    *(a.astype(dtype) for a in pair), Geometry(*case)
                )
                for case, pairs in zip(cases, args, strict=True)
                for name, pair in pairs.items()
            }

        options = {"xla_backend_optimization_level": 0}
        with jax.default_matmul_precision("highest"):
            return jax.jit(maps, compiler_options=options)([arrays(case) for case in cases])

    got = run(module, dtype)
    assert {a.dtype for a in got.values()} == {jnp.dtype(dtype)}
    assert_near(got, run(native, "float32"), 1e-5 if dtype == "float32" else 3e-2)


# (module, strides, padding, (H, W), (h, w), groups, channels of a group's input and output)
GROUPED = [
    (grouped, (1, 1), ((1, 1), (1, 1)), (6, 5), (3, 3), 2, (3, 4)),
    (grouped, (1, 1), ((2, 1), (0, 2)), (6, 5), (4, 3), 3, (1, 2)),
    (grouped, (1, 1), ((0, 0), (0, 0)), (4, 5), (1, 1), 3, (2, 1)),
    (depthwise, (2, 1), ((1, 2), (0, 1)), (7, 5), (4, 2), 3, (1, 1)),
    (depthwise, (1, 1), ((1, 1), (-1, 1)), (4, 5), (3, 3), 3, (1, 1)),
    (each_group, (2, 2), ((1, 1), (1, 1)), (6, 5), (3, 3), 3, (2, 3)),
    (each_group, (1, 1), ((1, 1), (-1, 1)), (6, 5), (3, 3), 2, (2, 3)),
]


def test_each_lowering_of_groups_is_chosen_and_matches_native(monkeypatch):
    monkeypatch.setattr(grouped, "CHUNK_BYTES", 3000)  # The three images are three chunks.

    def run(choose):
        results = {}
        for module, strides, padding, size, window, groups, (inputs, outputs) in GROUPED:
            geometry = Geometry(strides, padding, size, window, groups)
            channels = groups * inputs, groups * outputs
            x, k = normal(3, *size, channels[0]), normal(*window, inputs, channels[1], seed=1)
            g = normal(3, *geometry.out, channels[1], seed=2)
            args = {"conv": (x, k), "input_grad": (g, k), "kernel_grad": (x, g)}
            for name, pair in args.items():
                function = choose(module, name, geometry, channels)
                results[f"{name} {geometry}"] = function(*pair, geometry=geometry)
        return results

    def chosen(module, name, geometry, channels):
        function = lowering.choose(name, geometry, 3, channels)
        if module is each_group:
            assert function.func is each_group.compute
        else:
            assert function is getattr(module, name)
        return function

    options = {"xla_backend_optimization_level": 0}
    with jax.default_matmul_precision("highest"):
        got, want = (
            jax.jit(lambda choose=choose: run(choose), compiler_options=options)()
            for choose in (chosen, lambda _, name, *__: getattr(native, name))
        )
    assert_near(got, want, 1e-5)


def test_wide_groups_are_computed_one_after_another():
    geometry = Geometry((1, 1), ((1, 1), (1, 1)), (32, 32), (3, 3), 2)
    function = lowering.choose("conv", geometry, 32, (128, 128))
    assert function.func is each_group.compute
    assert function.keywords == {"function": winograd.conv}
    assert lowering.choose("conv", geometry, 32, (32, 32)) is grouped.conv


# Channels of which winograd's kernel gradient takes the input's factor first, the output's, and
# the output's transposed.
@pytest.mark.parametrize("channels", [(2, 8), (2, 3), (3, 1)], ids=str)
def test_winograd_kernel_gradient_of_any_widths(channels):
    geometry = Geometry((2, 2), ((1, 1), (1, 1)), (16, 16), (4, 4))
    x, g = normal(2, 16, 16, channels[0]), normal(2, 8, 8, channels[1], seed=1)
    with jax.default_matmul_precision("highest"):
        got, wanted = (module.kernel_grad(x, g, geometry) for module in (winograd, native))
    assert_near({"kernel_grad": got}, {"kernel_grad": wanted}, 1e-5)


@pytest.mark.parametrize("channels", [(16, 16), (16, 17), (17, 16)], ids=str)
def test_strips_fill_up_channels_that_xla_does_not_give_its_library(channels):
    geometry = Geometry((1, 1), ((1, 1), (1, 1)), (8, 6), (3, 3))
    x, k = normal(2, 8, 6, channels[0]), normal(3, 3, *channels, seed=1)
    text = jax.jit(strips.conv, static_argnums=2).lower(x, k, geometry).as_text()
    taken = [int(n) for n in re.findall(r"stablehlo.convolution.*tensor<3x3x(\d+)x\d+xf32>", text)]
    assert taken == [20 if channels == (16, 16) else channels[0]]
    with jax.default_matmul_precision("highest"):
        got, wanted = (module.conv(x, k, geometry) for module in (strips, native))
    assert_near({"conv": got}, {"conv": wanted}, 1e-5)


def test_strips_of_a_batch_that_devices_share():
    """Only columns at the cuts go from one to the other."""
    geometry = Geometry((1, 1), ((1, 1), (1, 1)), (8, 8), (3, 3))
    x, k = normal(32, 8, 8, 16), normal(3, 3, 16, 16, seed=1)
    g = normal(32, 8, 8, 16, seed=2)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    batch, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))
    places = {"conv": (batch, whole), "input_grad": (batch, whole), "kernel_grad": (batch, batch)}
    arrays = {"conv": (x, k), "input_grad": (g, k), "kernel_grad": (x, g)}
    for name, args in arrays.items():
        outs = whole if name == "kernel_grad" else batch
        function = partial(getattr(strips, name), geometry=geometry)
        shared = jax.jit(function, in_shardings=places[name], out_shardings=outs)
        with jax.default_matmul_precision("highest"):
            got, wanted = shared(*args), getattr(native, name)(*args, geometry)
            text = shared.lower(*args).compile().as_text()
        assert_near({name: got}, {name: wanted}, 1e-5)
        if name != "kernel_grad":
            assert "all-gather" not in text
            assert "collective-permute" in text


def test_second_order_of_what_goes_into_strips():
    case = (conv, (8, 8), (3, 3), (1, 1), "SAME")
    x, k = normal(32, 8, 8, 16), normal(3, 3, 16, 17, scale=0.1, seed=1)
    c = normal(32, 8, 8, 17, seed=2)
    geometry = Geometry((1, 1), ((1, 1), (1, 1)), (8, 8), (3, 3))
    for name in ("conv", "input_grad", "kernel_grad"):
        assert lowering.choose(name, geometry, 32, (16, 17)) is getattr(strips, name)
    got = derivatives(conv, x, k, c, *case[3:])
    assert_near(got, derivatives(PEERS[conv], x, k, c, *case[3:]))


@pytest.mark.parametrize(
    ("strides", "padding", "window"),
    [
        ((2, 2), ((1, 1), (1, 1)), (3, 3)),
        ((1, 1), ((1, 1), (-1, 1)), (3, 3)),  # crops
        ((1, 1), ((1, 1), (1, 3)), (3, 3)),  # a window that misses the image
    ],
)
def test_strips_have_only_stride_1_and_windows_on_the_image(strides, padding, window):
    assert not strips.fits(Geometry(strides, padding, (8, 8), window))


# (function, (H, W), (h, w), strides, padding); blocks leave the forward map to XLA.
FORCED = [
    (conv, (8, 4), (4, 4), (2, 2), 1),
    (conv, (7, 3), (3, 3), (2, 2), "SAME"),
    (conv_transpose, (4, 2), (4, 4), (2, 2), "SAME"),
]


FORCED_UNSTRIDED = [
    (conv, (8, 4), (3, 3), (1, 1), 1),
    (conv, (7, 3), (2, 3), (1, 1), "SAME"),
    (conv_transpose, (4, 2), (3, 3), (1, 1), "SAME"),
]
FORCED_CASES = [
    *((module, case) for module in (patches, blocks, winograd, canonical) for case in FORCED),
    *((strips, case) for case in FORCED_UNSTRIDED),
]


def label_forced(value):
    return label(value) if isinstance(value, tuple) else value.__name__.split(".")[-1]


@pytest.mark.parametrize(("module", "case"), FORCED_CASES, ids=label_forced)
def test_second_order_through_each_lowering(module, case, monkeypatch):
    calls = []

    def choose(name, *_):
        calls.append(name)
        return getattr(module, name, None) or getattr(native, name)

    monkeypatch.setattr(lowering, "choose", choose)
    args, geometry = arguments(case)
    got = derivatives(case[0], *args, *geometry)
    assert set(calls) == {"conv", "input_grad", "kernel_grad"}
    assert_near(got, derivatives(PEERS[case[0]], *args, *geometry))
