"""How each map of a convolution is computed: the one place where that is chosen.

The rule is data, float32 on two cores of an AMD EPYC (Zen 3) beside jax 0.10;
`python -m experiments.benchmarks.conv` measures it anew. XLA's own forms make strided
gradients at half the speed of a matrix product or less, so on CPUs:

- Of stride 1 and few channels, the forward map and input gradient of many small images go side by
  side in one strip (`strips`), 1.05 to 1.6 times as fast as XLA's own.
- `winograd` wherever else it fits and there are channels enough to pay for its sums, and pixels at
  stride 1: 1.2 to 4 times the next best, often above the rate of a matrix product.
- Of the rest, strided gradients go over blocks, where the blocks at the border are few (large
  images) and the input has channels enough that it pays to shift the cotangent instead of it.
  Else they go over patches, which nothing beats for images of few pixels and for RGB.
- The strided forward map goes over patches as long as all of them nearly fit the cache; above
  that XLA's own is as fast or faster.
- Of stride 1, XLA's own forward map (`native`) and input gradient (`canonical`) are left. The
  kernel gradient is the products of rows and columns in `strips`, but for RGB, windows of one pixel
  and paddings that `strips` has not, which go over patches.
"""

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from ganjax.ops import blocks, canonical, fold, native, strips, winograd

# Products that blocks may take, over those that are needed: 1.13 at 16x16 outputs of a 4x4
# window of stride 2, where blocks win, 1.27 at 8x8, where they lose.
MOST_WORK = 1.2
# Of input and output, for winograd's sums to cost less than the products that they save: at stride
# 1 and at others. What strided forward maps and kernel gradients have instead is slower. Kernel
# gradients of stride 1 and 32 to 63 channels are up to 1.4 times as fast by winograd at 16x16, half
# as fast at 64x64: without it ProGAN's step takes 2 % longer and compiles in 8 s instead of 11.
LEAST_CHANNELS = {"conv": (32, 16), "input_grad": (32, 32), "kernel_grad": (64, 16)}
# Outputs of an image from which on winograd and strips pay at stride 1. At 4x4 ProGAN's step takes
# as long with XLA's own, in a smaller program.
LEAST_PIXELS = 64
# Strips: below the first XLA's own are as fast, from the second on winograd is faster; fewer images
# make no long row, and larger ones have long rows themselves.
STRIP_CHANNELS = range(16, 64)
LEAST_IMAGES = 32
MOST_WIDTH = 64
# At most so many channels make an image of colours, whose patches are narrow.
COLOURS = 4
# Bytes of all patches up to which strided forward maps go over them. The step of WGAN-GP at 32x32
# takes 5 % longer with XLA's own, although some of these alone are faster.
MOST_BYTES = 24 << 20


def choose(name: str, geometry, batch: int, channels: tuple[int, int]):
    """The module that computes a map on CPUs: a sibling of this one.

    Args:
      name: "conv", "input_grad" or "kernel_grad".
      geometry: of the convolution.
      batch: images in it.
      channels: (of the input, of the output).
    """
    inputs, outputs = channels
    (h, w), (a, b) = geometry.window, geometry.shifts
    strided = min(geometry.strides) > 1
    pays = strided or math.prod(geometry.out) >= LEAST_PIXELS
    stripped = strips.fits(geometry) and geometry.window != (1, 1)
    long = batch >= LEAST_IMAGES and geometry.size[1] <= MOST_WIDTH
    if stripped and long and pays and min(channels) in STRIP_CHANNELS and name != "kernel_grad":
        return strips
    if winograd.fits(geometry) and min(channels) >= LEAST_CHANNELS[name][strided] and pays:
        return winograd
    if not strided:
        if name == "kernel_grad":
            return strips if stripped and inputs > COLOURS else fold
        return native if name == "conv" else canonical
    if name == "conv":
        return fold if fold.patch_bytes(geometry, batch, inputs) <= MOST_BYTES else native
    shifts_cotangent = a * b * outputs <= h * w * inputs
    return blocks if shifts_cotangent and blocks.work(geometry) <= MOST_WORK else fold


_WHOLE = ContextVar("whole", default=False)
_LATE = ContextVar("late", default=False)


def whole_convolutions():
    """A context. What is traced in it is as on GPUs and TPUs, also for CPUs: to plan for those."""
    return _set(_WHOLE)


def late_kernels():
    """A context. What is traced in it prepares Winograd's kernels when their images are there.

    For networks that pass once, on CPUs. Else XLA makes the sums of a kernel, up to 2.25 times as
    large as it, when the pass begins, and keeps them until they are needed. Networks that pass
    several times are better without: all passes then share one set of sums.

    As with `whole_convolutions`, what JAX has traced once, such as a function under
    `jax.checkpoint` that is called again, stays as it was traced.
    """
    return _set(_LATE)


@contextlib.contextmanager
def _set(variable: ContextVar) -> Iterator[None]:
    before = variable.set(True)
    try:
        yield
    finally:
        variable.reset(before)


def lower(name: str, x, y, geometry, channels: tuple[int, int]):
    """A map of its two arguments, in the form that suits its shape and the platform."""
    if _WHOLE.get():
        return getattr(native, name)(x, y, geometry=geometry)
    cpu, default = (
        partial(getattr(module, name), geometry=geometry)
        for module in (choose(name, geometry, x.shape[0], channels), native)
    )
    if x.dtype.itemsize < 4:
        cpu = _in_float32(cpu)
    # GPUs and TPUs have convolution units: there the native forms stay.
    return lax.platform_dependent(x, y, cpu=_apart(name, cpu), default=default)


def after_all(arrays):
    """The arrays of a tree, on CPUs none of them before all are there.

    In a program that keeps barriers (`ganjax.runtime.compiling.options`). GPUs and TPUs, also where they
    are planned for (`whole_convolutions`), order operations as they see fit.
    """
    if _WHOLE.get():
        return arrays
    return lax.platform_dependent(
        arrays, cpu=lax.optimization_barrier, default=lambda arrays: arrays
    )


def after(x, kernel, name: str, geometry):
    """The kernel of a map of x, under `late_kernels` not before x is there."""
    late = _LATE.get() and choose(name, geometry, x.shape[0], kernel.shape[2:]) is winograd
    return _after(kernel, x) if late else kernel


@jax.custom_vjp
def _after(kernel, x):
    return after_all((kernel, x))[0]


# Nothing waits backward: cotangents of a kernel and of images have no need of each other.
_after.defvjp(lambda kernel, x: (_after(kernel, x), None), lambda _, g: (g, None))


def _apart(name: str, function):
    """A map on CPUs that reads images which are there, and whose result is there before it is read.

    In a program that keeps barriers (`ganjax.runtime.compiling.options`). Else XLA computes what is cheap
    anew for each of its readers: BatchNorm's backward pass up to four times in each of Winograd's
    nine factors. So DCGAN's program has an eighth fewer lines, and its step of 32 images takes 4 to
    5 % less time.
    """

    def computed(x, y):
        # Each by itself: maps that read the same array then have one barrier, and the padding and
        # blocks behind it are made once for both.
        x = lax.optimization_barrier(x)
        if name == "kernel_grad":  # The others' is a kernel: little to compute, and read by few.
            y = lax.optimization_barrier(y)
        return lax.optimization_barrier(function(x, y))

    return computed


def _in_float32(function):
    """Half precision on CPUs, which have no units for it: rounded once, at the end.

    Products and sums of half-precision numbers in float32 are also what the units of GPUs and
    TPUs compute.
    """

    def computed(x, y):
        return function(x.astype(jnp.float32), y.astype(jnp.float32)).astype(x.dtype)

    return computed
