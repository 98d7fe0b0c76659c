"""ganjax.ops.conv and its layers, against lax, Flax and (as stored arrays) PyTorch."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from flax import linen as nn
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ganjax.models import layers
from ganjax.ops import blocks, canonical, chunks, fold, lowering, native, strips, winograd
from ganjax.ops.conv import conv, conv_downsample, conv_transpose, upsample_conv
from ganjax.ops.geometry import Geometry

with np.load(ROOT / "tests" / "golden" / "conv_torch.npz") as arrays:
    GOLDEN = {name: arrays[name] for name in arrays}

BATCH, INPUTS, OUTPUTS = 2, 3, 4


def peer(function):
    """lax's function under our signature."""

    def call(x, k, strides, padding):
        pads = [(padding, padding)] * 2 if isinstance(padding, int) else padding
        return function(x, k, strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    return call


PEERS = {
    conv: peer(lax.conv_general_dilated),
    conv_transpose: peer(partial(lax.conv_transpose, transpose_kernel=True)),
}
both = pytest.mark.parametrize("function", PEERS, ids=lambda f: f.__name__)

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


def label(case):
    return "-".join([case[0].__name__, *map(str, case[1:])]).replace(" ", "")


def normal(*shape, scale=1.0, seed=0):
    return (scale * np.random.RandomState(seed).randn(*shape)).astype(np.float32)


def inputs(function, size, window):
    channels = (INPUTS, OUTPUTS) if function in (conv, PEERS[conv]) else (OUTPUTS, INPUTS)
    return normal(BATCH, *size, INPUTS), normal(*window, *channels, scale=0.3, seed=1)


def arguments(case):
    """((x, k, c), (strides, padding)); c weights the output."""
    function, size, window, *geometry = case
    x, k = inputs(function, size, window)
    shape = jax.eval_shape(lambda: PEERS[function](x, k, *geometry)).shape
    return (x, k, normal(*shape, seed=2)), geometry


def scalar(function, strides, padding, c=1.0):
    """A scalar of (x, k); the sine gives it derivatives of every order in either."""
    return lambda x, k: jnp.sum(jnp.sin(function(x, k, strides, padding)) * c)


def penalty(s, argument):
    """The squared norm of a gradient of `s`, as in a gradient penalty."""
    return lambda x, k: jnp.sum(jax.grad(s, argument)(x, k) ** 2)


def derivatives(function, x, k, c, strides, padding):
    """Values, first and second derivatives; tests/golden/conv_torch.py lists the names."""
    s = scalar(function, strides, padding, c)

    # LLVM's optimisation of code that runs once would be half of the time of these tests.
    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def run(x, k):
        sx, sk = jax.grad(s, (0, 1))(x, k)
        pxx, pxk = jax.grad(penalty(s, 0), (0, 1))(x, k)
        pkx, pkk = jax.grad(penalty(s, 1), (0, 1))(x, k)
        y = function(x, k, strides, padding)
        return {"y": y, "sx": sx, "sk": sk, "pxx": pxx, "pxk": pxk, "pkx": pkx, "pkk": pkk}

    with jax.default_matmul_precision("highest"):
        return run(x, k)


def assert_near(got, want, tolerance=1e-5):
    """Relative to the largest entry: small ones are differences of large ones."""
    assert got.keys() == want.keys()
    for name in got:
        g, w = (np.asarray(a[name], np.float32) for a in (got, want))
        assert np.any(w), f"{name} is zero: nothing is tested"
        np.testing.assert_allclose(g, w, rtol=0, atol=tolerance * np.abs(w).max(), err_msg=name)


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
CASES = {winograd: TILED, strips: UNSTRIDED}
modules = pytest.mark.parametrize(
    "module", [fold, blocks, strips, winograd, canonical], ids=lambda m: m.__name__.split(".")[-1]
)


@modules
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_each_lowering_matches_native(module, dtype, monkeypatch):
    # Pieces: three images, one at a time.
    if hasattr(module, "PIECE_BYTES"):
        monkeypatch.setattr(module, "PIECE_BYTES", 5000)
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


def test_the_largest_cache_is_what_linux_says(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "CACHES", tmp_path)
    assert chunks.cache_bytes.__wrapped__() == chunks.USUAL_CACHE
    for i, size in enumerate(("48K", "2048K", "491520K")):
        (tmp_path / f"index{i}").mkdir()
        (tmp_path / f"index{i}" / "size").write_text(f"{size}\n")
    assert chunks.cache_bytes.__wrapped__() == 480 << 20


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


def test_strips_of_several_kernels_are_convolutions_without_groups():
    geometry = Geometry((1, 1), ((1, 1), (1, 1)), (8, 6), (3, 3))
    x, k = normal(3, 2, 8, 6, 16), normal(3, 3, 3, 16, 17, seed=1)

    def every(function):
        function = partial(function, geometry=geometry)
        return {
            "both": jax.vmap(function)(x, k),
            "x": jax.vmap(lambda x: function(x, k[0]))(x),
            "k": jax.vmap(lambda k: function(x[0], k))(k),
        }

    together = jax.vmap(partial(strips.conv, geometry=geometry))
    text = jax.jit(together).lower(x, k).as_text()
    assert re.findall(r"feature_group_count = (\d+)", text) == ["1"]
    with jax.default_matmul_precision("highest"):
        got, wanted = (every(module.conv) for module in (strips, native))
    assert_near(got, wanted, 1e-5)


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
        assert lowering.choose(name, geometry, 32, (16, 17)) is strips
    got = derivatives(conv, x, k, c, *case[3:])
    assert_near(got, derivatives(PEERS[conv], x, k, c, *case[3:]))


@pytest.mark.parametrize(
    ("strides", "padding", "window"),
    [
        ((2, 2), ((1, 1), (1, 1)), (3, 3)),
        ((1, 1), ((1, 1), (-1, 1)), (3, 3)),  # crops
        ((1, 1), ((1, 1), (1, 3)), (3, 3)),  # a window beside the image
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
    *((module, case) for module in (fold, blocks, winograd, canonical) for case in FORCED),
    *((strips, case) for case in FORCED_UNSTRIDED),
]


def label_forced(value):
    return label(value) if isinstance(value, tuple) else value.__name__.split(".")[-1]


@pytest.mark.parametrize(("module", "case"), FORCED_CASES, ids=label_forced)
def test_second_order_through_each_lowering(module, case, monkeypatch):
    calls = []

    def choose(name, *_):
        calls.append(name)
        return module if hasattr(module, name) else native

    monkeypatch.setattr(lowering, "choose", choose)
    args, geometry = arguments(case)
    got = derivatives(case[0], *args, *geometry)
    assert set(calls) == {"conv", "input_grad", "kernel_grad"}
    assert_near(got, derivatives(PEERS[case[0]], *args, *geometry))


@pytest.mark.parametrize(
    ("layer", "batch", "chosen"),
    [
        # (size, inputs, outputs) of 4x4 windows of stride 2 -> conv, input_grad, kernel_grad.
        ((64, 3, 64), 32, (fold, fold, fold)),
        ((32, 64, 128), 32, (winograd,) * 3),
        ((32, 16, 32), 32, (winograd, blocks, winograd)),
        ((16, 16, 32), 64, (winograd, fold, winograd)),
        ((16, 8, 32), 64, (fold, fold, fold)),
        ((8, 256, 512), 32, (winograd,) * 3),
        ((32, 64, 128), 128, (winograd,) * 3),
        ((256, 3, 64), 64, (native, fold, fold)),
    ],
)
def test_choice(layer, batch, chosen):
    size, *channels = layer
    geometry = Geometry((2, 2), ((1, 1), (1, 1)), (size, size), (4, 4))
    names = ("conv", "input_grad", "kernel_grad")
    assert tuple(lowering.choose(n, geometry, batch, channels) for n in names) == chosen


@pytest.mark.parametrize(
    ("size", "channels", "window", "chosen"),
    [
        (32, (64, 64), 3, (winograd,) * 3),
        (32, (3, 64), 3, (native, canonical, fold)),
        (16, (32, 64), 3, (strips,) * 3),
        (8, (64, 64), 3, (winograd,) * 3),
        (4, (64, 64), 3, (native, canonical, strips)),
        (32, (16, 16), 3, (strips,) * 3),
        (7, (64, 64), 3, (native, canonical, strips)),
        (15, (16, 64), 3, (strips,) * 3),
        (128, (16, 16), 3, (native, canonical, strips)),
        (32, (64, 64), 1, (native, canonical, fold)),
        (64, (64, 128), 3, (winograd,) * 3),
    ],
)
def test_choice_at_stride_1(size, channels, window, chosen):
    pad = (window - 1) // 2
    geometry = Geometry((1, 1), ((pad, pad), (pad, pad)), (size, size), (window, window))
    names = ("conv", "input_grad", "kernel_grad")
    assert tuple(lowering.choose(name, geometry, 64, channels) for name in names) == chosen


def test_few_images_make_no_strip():
    geometry = Geometry((1, 1), ((1, 1), (1, 1)), (16, 16), (3, 3))
    for channels, others in (((16, 32), native), ((32, 32), winograd)):
        assert lowering.choose("conv", geometry, 32, channels) is strips
        assert lowering.choose("conv", geometry, 16, channels) is others


@pytest.mark.parametrize(
    ("batch", "total", "most", "count"),
    [(32, 100, 100, 1), (32, 101, 100, 2), (32, 300, 100, 4), (6, 600, 140, 6), (7, 2, 1, 7)],
)
def test_pieces_are_equal_and_within_the_bytes_they_may_take(batch, total, most, count):
    assert chunks.count(batch, total, most) == count


def test_an_image_beyond_the_bytes_is_a_piece():
    assert chunks.count(3, 900, 100) == 3


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
        q = penalty(penalty(scalar(f, (2, 2), "SAME"), 0), 1)
        with jax.default_matmul_precision("highest"):
            qx, qk = jax.jit(jax.grad(q, (0, 1)))(*inputs(function, (4, 3), (3, 3)))
        return {"qx": qx, "qk": qk}

    assert_near(third(function), third(PEERS[function]))


DILATIONS = ("window_strides", "lhs_dilation", "rhs_dilation")
LAYOUTS = [("NHWC", "HWIO", "NHWC"), ("NHWC", "HWOI", "NHWC"), ("CHWN", "IHWO", "HWNC")]
# What may differ from 1 with which layout: forward, input gradient, kernel gradient.
FORMS = {
    ((name,), lax.conv_dimension_numbers((1,) * 4, (1,) * 4, layout))
    for name, layout in zip(DILATIONS, LAYOUTS, strict=True)
}


def equations(jaxpr):
    """All equations, those of inner jaxprs too."""
    for equation in jaxpr.eqns:
        yield equation
        for leaf in jax.tree.leaves(equation.params):
            inner = getattr(leaf, "jaxpr", leaf)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def penalty_forms(function):
    """(what differs from 1, layout) of each convolution in the gradient of a penalty."""
    gradient = jax.grad(penalty(scalar(function, (2, 2), "SAME"), 0), 1)
    found = equations(jax.make_jaxpr(gradient)(*inputs(function, (8, 6), (4, 4))).jaxpr)
    return {
        (tuple(d for d in DILATIONS if set(e.params[d]) != {1}), e.params["dimension_numbers"])
        for e in found
        if e.primitive.name == "conv_general_dilated"
    }


@both
def test_penalty_gradient_stays_in_the_three_forms(function):
    assert penalty_forms(function) == FORMS


@both
def test_lax_leaves_the_three_forms(function):
    """The test above can fail: lax dilates the left side of a kernel gradient ("CHWN")."""
    bad = penalty_forms(PEERS[function]) - FORMS
    assert any("lhs_dilation" in names and layout.lhs_spec == (3, 0, 1, 2) for names, layout in bad)


@pytest.mark.parametrize("window", [(3, 3), (4, 2), (1, 5)], ids=str)
@pytest.mark.parametrize("function", [upsample_conv, conv_downsample], ids=lambda f: f.__name__)
def test_resampling_is_part_of_the_convolution(function, window):
    """The values and derivatives of lax on repeated pixels, or of the means of its outputs."""
    lax_conv = PEERS[conv]

    def apart(x, k, strides, padding):
        if function is upsample_conv:
            return lax_conv(layers.repeat(x), k, strides, padding)
        return layers.mean_pool(lax_conv(x, k, strides, padding))

    x, k = inputs(conv, (6, 8), window)
    c = normal(*jax.eval_shape(lambda: apart(x, k, (1, 1), "SAME")).shape, seed=2)
    ours = derivatives(lambda x, k, strides, padding: function(x, k), x, k, c, (1, 1), "SAME")
    assert_near(ours, derivatives(apart, x, k, c, (1, 1), "SAME"))


def test_odd_images_have_no_2x2_pixels_throughout():
    x, k = inputs(conv, (7, 5), (3, 3))
    with pytest.raises(ValueError, match=r"an image of \(7, 5\) has no 2x2 pixels"):
        conv_downsample(x, k)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resample": "upwards"}, "resample='upwards', .* there are up, down"),
        ({"resample": "up", "strides": 2}, "resample='up', strides=2"),
        ({"resample": "down", "padding": "VALID"}, "padding='VALID': .* of stride 1 and 'SAME'"),
    ],
)
def test_a_layer_resamples_at_stride_1_alone(settings, message):
    with pytest.raises(ValueError, match=message):
        layers.Conv(2, (3, 3), **settings).init(jax.random.key(0), normal(2, 4, 4, 3))


@pytest.mark.parametrize("resample", ["up", "down"])
def test_a_layer_that_resamples_takes_a_vector_beside_its_input(resample):
    x, beside = normal(2, 4, 4, 3), normal(2, 5, seed=1)
    layer = layers.Conv(2, (3, 3), resample=resample)
    params = layer.init(jax.random.key(0), x, beside)
    wide = jnp.concatenate([x, jnp.broadcast_to(beside[:, None, None], (2, 4, 4, 5))], -1)
    np.testing.assert_allclose(layer.apply(params, x, beside), layer.apply(params, wide), 0, 1e-5)


@both
@pytest.mark.parametrize("axes", [(0, None), (0, 0)], ids=["x", "x_and_k"])
def test_vmap_is_a_loop(function, axes):
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
def test_errors(function, x, k, dtype, padding, message):
    with pytest.raises(ValueError, match=message):
        function(jnp.ones(x), jnp.ones(k, dtype), padding=padding)


@pytest.mark.parametrize("name", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize(("padding", "use_bias"), [("SAME", True), (1, False)])
def test_layers_match_flax(name, padding, use_bias):
    x = normal(BATCH, 7, 5, INPUTS)
    settings = {"strides": (2, 2), "padding": padding, "use_bias": use_bias}
    more = {"transpose_kernel": True} if name == "ConvTranspose" else {}
    ours = getattr(layers, name)(OUTPUTS, (4, 4), **settings)
    flax = getattr(nn, name)(OUTPUTS, (4, 4), **settings, **more)
    variables = flax.init(jax.random.key(0), x)
    if use_bias:
        variables["params"]["bias"] = jnp.asarray(normal(OUTPUTS))
    assert jax.eval_shape(ours.init, jax.random.key(0), x) == jax.eval_shape(lambda: variables)
    with jax.default_matmul_precision("highest"):
        assert_near({"y": ours.apply(variables, x)}, {"y": flax.apply(variables, x)})


def test_pieces_keep_nothing_of_what_their_arrays_began_with():
    """Which is of the input, NaN here."""
    x, g = jnp.ones((4, 2)).at[0, 0].set(jnp.nan), jnp.full((4, 2), 2.0)
    placed = chunks.placed(jnp.nan_to_num, x, 2, g)
    np.testing.assert_array_equal(placed, [[0, 1], [1, 1], [1, 1], [1, 1]])
    summed = chunks.summed(lambda x, g: jnp.sum(jnp.nan_to_num(x) * g, 0), x, g, 2)
    np.testing.assert_array_equal(summed, [6, 8])
