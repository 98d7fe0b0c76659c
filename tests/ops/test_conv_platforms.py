"""The convolutions in the programs for GPUs and TPUs, lowered here without one.

XLA's GPU compiler makes of a convolution one of cuDNN's three forms if it matches a pattern
(xla/service/gpu/transforms/conv_rewriter.cc); `form_of` has these patterns. What matches none is
made a forward convolution of an input that is spread out in memory, tens of times slower.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolutions import LARGE, LARGE_BATCH, LARGE_INPUTS, LARGE_OUTPUTS, ORDERS, large, large_case
from jax import lax
from jaxlib.mlir.dialects import stablehlo
from small import shipped

from ganjax.engine.step import init_state, make_train_step
from ganjax.ops import lowering, native, winograd
from ganjax.ops.convolutions import conv
from ganjax.ops.geometry import Geometry
from ganjax.planning.dry_run import batch_shapes
from ganjax.training import schema
from ganjax.training.images import Images

FORWARD, INPUT, KERNEL = "forward", "backward-data", "backward-filter"
DILATED, SPREAD = "forward with a dilated kernel", "none of cuDNN's"
PLATFORMS = ("cuda", "tpu")


def lowered(function, shapes, *platforms):
    """(names of all operations, form of each convolution) of the StableHLO for each platform."""
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    traced = jax.jit(function).trace(*args)
    for platform in platforms:
        # Held while its operations are read, which do not keep it.
        module = traced.lower(lowering_platforms=(platform,)).compiler_ir("stablehlo")
        found = list(inside(module.operation))
        forms = [form_of(each) for each in found if each.name == "stablehlo.convolution"]
        yield {each.name for each in found}, forms


def inside(operation):
    for region in operation.regions:
        for block in region.blocks:
            for each in block.operations:
                yield each.operation
                yield from inside(each.operation)


def numbers(operation, name, default):
    """An array among the attributes; the default where it is not written."""
    if name not in operation.attributes:
        return default
    return np.array(operation.attributes[name]).tolist()


def sizes(value, dimensions):
    return np.array([value.type.shape[i] for i in dimensions])


def is_reversed(kernel, dimensions):
    """Whether a value is the reversal of another in just these dimensions."""
    maker = getattr(kernel.owner, "operation", None)  # None of an argument.
    if maker is None or maker.name != "stablehlo.reverse":
        return False
    return sorted(np.array(maker.attributes["dimensions"])) == sorted(dimensions)


def form_of(operation):
    """Which of the forms above a stablehlo.convolution has.

    Backward-data has a reversed kernel, and its input may be dilated by the strides of the
    convolution whose gradient it is. Backward-filter has the input's batch and features in each
    other's place, and a "kernel" (the cotangent) that is larger than the output (the kernel's
    gradient) and may be dilated by those strides. Both need the padding of that convolution to be
    nowhere negative. Forward has an input that is not dilated.
    """
    dims = stablehlo.ConvDimensionNumbers(operation.attributes["dimension_numbers"])
    assert not any(numbers(operation, "window_reversal", [False]))
    strides = numbers(operation, "window_strides", [1, 1])
    input_dilation = np.array(numbers(operation, "lhs_dilation", [1, 1]))
    kernel_dilation = np.array(numbers(operation, "rhs_dilation", [1, 1]))
    low = np.array(numbers(operation, "padding", [[0, 0], [0, 0]]))[:, 0]
    x, kernel = operation.operands
    size = sizes(x, dims.input_spatial_dimensions)
    window = sizes(kernel, dims.kernel_spatial_dimensions)
    out = sizes(operation.results[0], dims.output_spatial_dimensions)
    is_dilated = (input_dilation > 1).any(), (kernel_dilation > 1).any()
    if is_reversed(kernel, dims.kernel_spatial_dimensions):
        low = window - 1 - low
        # The largest high padding that leaves the outputs, here the input's pixels, as many.
        high = window + input_dilation * size - 1 - out - low
        fits = strides == [1, 1] and not is_dilated[1] and min(*low, *high) >= 0
        return INPUT if fits else SPREAD
    if is_dilated[0]:
        return SPREAD
    if (dims.input_batch_dimension, dims.input_feature_dimension) == (3, 0):
        high = out + kernel_dilation * window - 1 - size - low
        if strides == [1, 1] and min(*low, *high) >= 0 and (window > out).all():
            return KERNEL
    return DILATED if is_dilated[1] else FORWARD


# The forms of a function's own map and of its gradients by x and by k.
DIRECT, TRANSPOSED = (FORWARD, INPUT, KERNEL), (INPUT, FORWARD, KERNEL)
MAPS = dict.fromkeys(LARGE, DIRECT)
MAPS |= dict.fromkeys(("conv_transpose", "upsample_conv"), TRANSPOSED)


@large
@pytest.mark.parametrize("order", ORDERS)
def test_every_order_is_of_the_three_forms(name, order):
    """Nothing else multiplies: no products of patches, of blocks or of Winograd's factors."""
    forward, by_x, by_k = MAPS[name]
    expected = {
        "gradients": [forward, by_x, by_k],
        # The inner gradient is by_x of the cosine of the forward map. Its square has gradients by
        # that cosine (the forward map) and by k, and the cosine's forward map has its own two.
        "second order": [forward, by_x, forward, by_k, by_x, by_k],
    }[order]
    for names, forms in lowered(*large_case(name, order), *PLATFORMS):
        assert sorted(forms) == sorted(expected)
        assert not {"stablehlo.dot_general", "stablehlo.dot"} & names


def test_cpus_have_other_forms():
    """The test above can fail: for CPUs the same functions are products and no convolution."""
    ((names, forms),) = lowered(*large_case("conv", "second order"), "cpu")
    assert forms == []
    assert "stablehlo.dot_general" in names
    geometry = Geometry((2, 2), ((1, 1), (1, 1)), (32, 32), (4, 4))
    channels = LARGE_INPUTS, LARGE_OUTPUTS
    assert lowering.choose("conv", geometry, LARGE_BATCH, channels) is winograd.conv


# What is a convolution of XLA's on CPUs too: few channels, in a strip if images are small, and the
# input gradient of blocks.
CPU_CONVOLUTIONS = {
    "of a strip": (conv, (32, 32, 16), (3, 3, 16, 16)),
    "of 16 channels": (conv, (72, 72, 16), (3, 3, 16, 16)),
    "of blocks": (partial(conv, strides=2, padding=1), (64, 64, 16), (4, 4, 16, 16)),
    "of a stride in one direction": (partial(conv, strides=(2, 1)), (32, 32, 16), (5, 3, 16, 16)),
}


CANONICAL = "b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]>"


def axes(lowered):
    """The order of axes of each convolution in a lowered program."""
    module = lowered.compiler_ir("stablehlo")
    return {
        str(each.attributes["dimension_numbers"]).partition("[")[2]
        for each in inside(module.operation)
        if each.name == "stablehlo.convolution"
    }


@pytest.mark.parametrize("name", CPU_CONVOLUTIONS)
@pytest.mark.parametrize("order", ORDERS)
def test_convolutions_on_cpus_have_the_order_of_axes_that_loops_need(name, order):
    function, image, kernel = CPU_CONVOLUTIONS[name]
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((LARGE_BATCH, *image), kernel)]
    traced = jax.jit(ORDERS[order](function)).trace(*args)
    assert axes(traced.lower(lowering_platforms=("cpu",))) == {CANONICAL}


@pytest.mark.parametrize(
    "name",
    [
        *("ada", "wgan_gp"),
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("dcgan_noisy", "progan", "sngan")
        ),
    ],
)
def test_convolutions_of_a_whole_step_have_the_order_of_axes_that_loops_need(name):
    """Those of augmentation, networks and penalty may all be in a loop."""
    config, module = schema.load(shipped(name))
    algorithm = module.build(config)
    phase, key = algorithm.phases[-1], jax.random.key(0)
    step = jax.jit(make_train_step(algorithm), static_argnames="phase")
    state = jax.eval_shape(partial(init_state, algorithm), key)
    assert axes(
        step.lower(state, batch_shapes(Images(config), algorithm, phase), key, phase=phase)
    ) <= {CANONICAL}


@pytest.mark.parametrize("function", ["conv", "conv_transpose"])
def test_lax_leaves_the_three_forms(function):
    """The patterns can fail: JAX's own second order spreads the input of a kernel gradient."""
    peer = {
        "conv": lax.conv_general_dilated,
        "conv_transpose": partial(lax.conv_transpose, transpose_kernel=True),
    }[function]
    layout = ("NHWC", "HWIO", "NHWC")

    def call(x, k):
        return peer(x, k, (2, 2), "SAME", dimension_numbers=layout)

    _, image, kernel = LARGE[function]
    ((_, forms),) = lowered(ORDERS["second order"](call), ((LARGE_BATCH, *image), kernel), "cuda")
    assert SPREAD in forms


def test_kernel_gradients_of_few_pixels_are_convolutions_with_a_dilated_kernel():
    """cuDNN has those too; some versions of XLA make them where outputs have 4x4 pixels."""
    geometry = Geometry((2, 2), ((1, 1), (1, 1)), (8, 8), (4, 4))
    shapes = (LARGE_BATCH, 8, 8, 256), (LARGE_BATCH, 4, 4, 512)
    for _, forms in lowered(partial(native.kernel_grad, geometry=geometry), shapes, *PLATFORMS):
        assert forms == [DILATED]
