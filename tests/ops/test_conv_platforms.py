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
from conftest import shipped
from jax import lax
from jaxlib.mlir.dialects import stablehlo

from ganjax.engine.step import init_state, make_train_step
from ganjax.ops import lowering, native, winograd
from ganjax.ops.conv import conv, conv_downsample, conv_transpose, upsample_conv
from ganjax.ops.geometry import Geometry
from ganjax.planning.dry_run import batch_shapes
from ganjax.training import schema

BATCH, INPUTS, OUTPUTS = 32, 64, 128
FORWARD, INPUT, KERNEL = "forward", "backward-data", "backward-filter"
DILATED, SPREAD = "forward with a dilated kernel", "none of cuDNN's"
# Name -> (the function of (x, k), x's shape, k's shape), of which CPUs take every map over
# Winograd's products or patches.
FUNCTIONS = {
    "conv": (partial(conv, strides=2, padding=1), (32, 32, INPUTS), (4, 4, INPUTS, OUTPUTS)),
    "conv of odd images": (partial(conv, strides=2), (31, 29, INPUTS), (4, 4, INPUTS, OUTPUTS)),
    "conv of RGB": (partial(conv, strides=2, padding=1), (64, 64, 3), (4, 4, 3, OUTPUTS)),
    "conv, stride 1": (conv, (16, 16, INPUTS), (3, 3, INPUTS, OUTPUTS)),
    "conv_transpose": (
        partial(conv_transpose, strides=2, padding="SAME"),
        (16, 16, OUTPUTS),
        (4, 4, INPUTS, OUTPUTS),
    ),
    "upsample_conv": (upsample_conv, (16, 16, INPUTS), (3, 3, INPUTS, OUTPUTS)),
    "conv_downsample": (conv_downsample, (32, 32, INPUTS), (3, 3, INPUTS, OUTPUTS)),
}
functions = pytest.mark.parametrize("name", FUNCTIONS)
PLATFORMS = ("cuda", "tpu")


def output(function):
    return lambda x, k: jnp.sum(jnp.sin(function(x, k)))


def penalty(function):
    """Of second order, as a gradient penalty is."""
    return lambda x, k: jnp.sum(jax.grad(output(function))(x, k) ** 2)


# What is lowered: the forward map with all of its gradients; those of a penalty.
ORDERS = {
    "gradients": lambda function: jax.grad(output(function), (0, 1)),
    "second order": lambda function: jax.grad(penalty(function), (0, 1)),
}


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


def case(name, order):
    function, image, kernel = FUNCTIONS[name]
    return ORDERS[order](function), ((BATCH, *image), kernel)


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

    Backward-data: a reversed kernel over an input that may be dilated, by the strides of the
    convolution whose gradient this is. Backward-filter: batch and features of the input in each
    other's place, a "kernel" (the cotangent) that is larger than the output (the kernel's
    gradient) and may be dilated, by those strides. Both only if that convolution's padding is
    nowhere negative. Forward: the input is not dilated.
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


# (Of the function's own forward map, of its gradients by x and k.)
DIRECT, TRANSPOSED = (FORWARD, INPUT, KERNEL), (INPUT, FORWARD, KERNEL)
MAPS = dict.fromkeys(FUNCTIONS, DIRECT)
MAPS |= dict.fromkeys(("conv_transpose", "upsample_conv"), TRANSPOSED)


@functions
@pytest.mark.parametrize("order", ORDERS)
def test_every_order_is_of_the_three_forms(name, order):
    """And nothing else multiplies: no products of patches, blocks or Winograd's factors."""
    forward, by_x, by_k = MAPS[name]
    expected = {
        "gradients": [forward, by_x, by_k],
        # The gradient by x of the sine is by_x of its cosine; of its square, by that cosine the
        # forward map and by k; then those of the forward map within the cosine.
        "second order": [forward, by_x, forward, by_k, by_x, by_k],
    }[order]
    for names, forms in lowered(*case(name, order), *PLATFORMS):
        assert sorted(forms) == sorted(expected)
        assert not {"stablehlo.dot_general", "stablehlo.dot"} & names


def test_cpus_have_other_forms():
    """The test above can fail: the same functions for CPUs are products and no convolution."""
    ((names, forms),) = lowered(*case("conv", "second order"), "cpu")
    assert forms == []
    assert "stablehlo.dot_general" in names
    geometry = Geometry((2, 2), ((1, 1), (1, 1)), (32, 32), (4, 4))
    assert lowering.choose("conv", geometry, BATCH, (INPUTS, OUTPUTS)) is winograd


# What CPUs leave to XLA's convolutions: few channels, of small images in a strip, and the input
# gradient over blocks.
OF_CPUS = {
    "of a strip": (conv, (32, 32, 16), (3, 3, 16, 16)),
    "of 16 channels": (conv, (72, 72, 16), (3, 3, 16, 16)),
    "of one pixel": (conv, (32, 32, 16), (1, 1, 16, 3)),
    "over blocks": (partial(conv, strides=2, padding=1), (64, 64, 16), (4, 4, 16, 16)),
    "of a stride in one direction": (partial(conv, strides=(2, 1)), (32, 32, 16), (5, 3, 16, 16)),
}


CANONICAL = "b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]>"


def axes(lowered):
    """The orders of axes of all convolutions."""
    module = lowered.compiler_ir("stablehlo")
    return {
        str(each.attributes["dimension_numbers"]).partition("[")[2]
        for each in inside(module.operation)
        if each.name == "stablehlo.convolution"
    }


@pytest.mark.parametrize("name", OF_CPUS)
@pytest.mark.parametrize("order", ORDERS)
def test_convolutions_of_cpus_have_the_order_of_axes_that_loops_need(name, order):
    function, image, kernel = OF_CPUS[name]
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((BATCH, *image), kernel)]
    traced = jax.jit(ORDERS[order](function)).trace(*args)
    assert axes(traced.lower(lowering_platforms=("cpu",))) == {CANONICAL}


@pytest.mark.parametrize("name", ["ada", "dcgan_noisy", "progan", "sngan", "wgan_gp"])
def test_so_have_those_of_a_whole_step(name):
    """Augmentation, every part of the networks, and the penalty: all may be in a loop."""
    config, module = schema.load(shipped(name))
    algorithm = module.build(config)
    phase, key = algorithm.phases[-1], jax.random.key(0)
    step = jax.jit(make_train_step(algorithm), static_argnames="phase")
    state = jax.eval_shape(partial(init_state, algorithm), key)
    assert axes(step.lower(state, batch_shapes(config, algorithm, phase), key, phase=phase)) <= {
        CANONICAL
    }


@pytest.mark.parametrize("function", ["conv", "conv_transpose"])
def test_lax_leaves_the_three_forms(function):
    """So can the patterns: JAX's own second order spreads the input of a kernel's gradient."""
    peer = {
        "conv": lax.conv_general_dilated,
        "conv_transpose": partial(lax.conv_transpose, transpose_kernel=True),
    }[function]
    layout = ("NHWC", "HWIO", "NHWC")

    def call(x, k):
        return peer(x, k, (2, 2), "SAME", dimension_numbers=layout)

    _, image, kernel = FUNCTIONS[function]
    ((_, forms),) = lowered(ORDERS["second order"](call), ((BATCH, *image), kernel), "cuda")
    assert SPREAD in forms


def test_kernel_gradients_of_few_pixels():
    """Of 4x4 outputs, of which some versions of XLA make forward convolutions: dilated in the
    kernel, which cuDNN has too.
    """
    function = partial(
        native.kernel_grad, geometry=Geometry((2, 2), ((1, 1), (1, 1)), (8, 8), (4, 4))
    )
    for _, forms in lowered(function, ((BATCH, 8, 8, 256), (BATCH, 4, 4, 512)), *PLATFORMS):
        assert forms == [DILATED]
