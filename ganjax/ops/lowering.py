"""Chooses how each of a convolution's three maps is computed, in one place.

GPUs and TPUs have units for convolutions, so there the maps are XLA's own (`native`). On CPUs XLA's
own gradients of strided convolutions are slow, and `choose` picks a module of this folder by the
map and its shape. Its rules rest on measurements in float32 (docs/speed.md), which
`python -m experiments.benchmarks.conv` repeats:

- At stride 1, the forward map and the input gradient of many small images with few channels lay the
  images side by side (`strips`), which is faster than XLA's own.
- Otherwise `winograd` is the fastest wherever it fits, given enough channels to pay for its sums
  and, at stride 1, enough pixels.
- Otherwise strided gradients use `blocks` if few blocks are at the border (large images) and the
  cotangent is small enough that it pays to shift it rather than the input. If not, they use
  `patches`, the fastest for images of few pixels or of three colours.
- Otherwise the strided forward map uses `patches` as long as all of them nearly fit the cache;
  beyond that XLA's own is as fast or faster.
- Otherwise, at stride 1, the forward map and the input gradient are XLA's own (`native`,
  `canonical`). The kernel gradient uses the products of rows and columns in `strips`, or `patches`
  where the input has at most four channels (colours) or `strips` does not have the padding.
- A window of one pixel is a matrix product (`pixelwise`).
- Depthwise convolutions are sums of shifted images (`depthwise`). Other narrow groups of channels
  are a batch of products at stride 1 (`grouped`). Wide groups, and those of a stride, are computed
  one after another (`each_group`), each by the rules above.
"""

import contextlib
import math
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax

from ganjax.ops import (
    blocks,
    canonical,
    dense,
    depthwise,
    each_group,
    grouped,
    native,
    patches,
    pixelwise,
    strips,
    winograd,
)
from ganjax.ops.contexts import holding
from ganjax.ops.geometry import Geometry

MapName = Literal["conv", "input_grad", "kernel_grad"]


@runtime_checkable
class Lowering(Protocol):
    """A function that computes one of the three maps of a convolution (`ganjax.ops.convolutions`).

    Each module of this folder has functions of these names and arguments, for the maps that it
    computes in a way of its own; g is the cotangent of the output.

        conv(x, k, geometry)           (N, H, W, I), (h, w, I, O)    ->  (N, H', W', O)
        input_grad(g, k, geometry)     (N, H', W', O), (h, w, I, O)  ->  (N, H, W, I)
        kernel_grad(x, g, geometry)    (N, H, W, I), (N, H', W', O)  ->  (h, w, I, O)

    With groups, a kernel's I is the number of input channels of one group.
    """

    def __call__(self, a: jax.Array, b: jax.Array, /, geometry: Geometry) -> jax.Array:
        """Computes the map of the arrays a and b."""
        ...


NATIVE: dict[MapName, Lowering] = {
    "conv": native.conv,
    "input_grad": native.input_grad,
    "kernel_grad": native.kernel_grad,
}

DENSE: dict[MapName, Lowering] = {
    "conv": dense.conv,
    "input_grad": dense.input_grad,
    "kernel_grad": dense.kernel_grad,
}

# The largest `blocks.relative_work` at which `blocks` are still the fastest.
MOST_BLOCK_WORK = 1.2
# Least channels, of input and output, that pay for the sums of `winograd`: (at stride 1, strided).
# From 32 on, kernel gradients of stride 1 would gain in small images but lose in large ones.
LEAST_WINOGRAD_CHANNELS = {"conv": (32, 16), "input_grad": (32, 32), "kernel_grad": (64, 16)}
# Least pixels of an output at which `winograd` and `strips` pay at stride 1.
LEAST_PIXELS = 64
# Channels for which strips pay: with fewer XLA's own is as fast, with more `winograd` is faster.
STRIP_CHANNELS = range(16, 64)
# Strips pay for at least so many images, which make a long row, and for images so narrow.
LEAST_STRIP_IMAGES = 32
MOST_STRIP_WIDTH = 64
# Groups of so many channels are computed each by itself, narrower ones all in one product.
LEAST_WIDE_GROUP = 64
# Images of so few channels are colours, whose patches are narrow.
MOST_COLOURS = 4
# Most bytes of all patches of a batch for which strided forward maps use them.
MOST_PATCH_BYTES = 24 << 20


def choose(name: MapName, geometry: Geometry, batch: int, channels: tuple[int, int]) -> Lowering:
    """Returns the function that computes a map on CPUs, by the rules of this module's docstring.

    Args:
      name: "conv", "input_grad" or "kernel_grad".
      geometry: the geometry of the convolution.
      batch: the number of images.
      channels: the numbers of channels of the input and of the output.
    """
    if geometry.groups > 1:
        return _choose_grouped(name, geometry, batch, channels)
    if pixelwise.fits(geometry):
        return getattr(pixelwise, name)
    if name == "conv":
        return _choose_conv(geometry, batch, channels)
    if name == "input_grad":
        return _choose_input_grad(geometry, batch, channels)
    return _choose_kernel_grad(geometry, channels)


def _choose_grouped(name: MapName, geometry, batch: int, channels: tuple[int, int]) -> Lowering:
    inputs, outputs = (n // geometry.groups for n in channels)
    if inputs == outputs == 1:
        return getattr(depthwise, name)
    if grouped.fits(geometry) and min(inputs, outputs) < LEAST_WIDE_GROUP:
        return getattr(grouped, name)
    chosen = choose(name, geometry._replace(groups=1), batch, (inputs, outputs))
    return partial(each_group.compute, function=chosen)


def _choose_conv(geometry, batch: int, channels: tuple[int, int]) -> Lowering:
    if _strips_pay(geometry, batch, channels):
        return strips.conv
    if _winograd_pays("conv", geometry, channels):
        return winograd.conv
    fits_cache = patches.patch_bytes(geometry, batch, channels[0]) <= MOST_PATCH_BYTES
    return patches.conv if _is_strided(geometry) and fits_cache else native.conv


def _choose_input_grad(geometry, batch: int, channels: tuple[int, int]) -> Lowering:
    if _strips_pay(geometry, batch, channels):
        return strips.input_grad
    if _winograd_pays("input_grad", geometry, channels):
        return winograd.input_grad
    if not _is_strided(geometry):
        return canonical.input_grad
    return blocks.input_grad if _blocks_pay(geometry, channels) else patches.input_grad


def _choose_kernel_grad(geometry, channels: tuple[int, int]) -> Lowering:
    if _winograd_pays("kernel_grad", geometry, channels):
        return winograd.kernel_grad
    if _is_strided(geometry):
        return blocks.kernel_grad if _blocks_pay(geometry, channels) else patches.kernel_grad
    stripped = _strips_fit(geometry) and channels[0] > MOST_COLOURS
    return strips.kernel_grad if stripped else patches.kernel_grad


def _is_strided(geometry) -> bool:
    return min(geometry.strides) > 1


def _has_pixels(geometry) -> bool:
    return math.prod(geometry.out) >= LEAST_PIXELS


def _strips_fit(geometry) -> bool:
    return strips.fits(geometry) and geometry.window != (1, 1)


def _strips_pay(geometry, batch: int, channels: tuple[int, int]) -> bool:
    long = batch >= LEAST_STRIP_IMAGES and geometry.size[1] <= MOST_STRIP_WIDTH
    few = min(channels) in STRIP_CHANNELS
    return _strips_fit(geometry) and long and few and _has_pixels(geometry)


def _winograd_pays(name: MapName, geometry, channels: tuple[int, int]) -> bool:
    strided = _is_strided(geometry)
    enough = min(channels) >= LEAST_WINOGRAD_CHANNELS[name][strided]
    return winograd.fits(geometry) and enough and (strided or _has_pixels(geometry))


def _blocks_pay(geometry, channels: tuple[int, int]) -> bool:
    (a, b), (h, w), (inputs, outputs) = geometry.shifts, geometry.window, channels
    shifting_pays = a * b * outputs <= h * w * inputs
    return shifting_pays and blocks.relative_work(geometry) <= MOST_BLOCK_WORK


_NATIVE_ONLY = ContextVar("native only", default=False)
_LATE_KERNELS = ContextVar("late kernels", default=False)


def native_convolutions() -> contextlib.AbstractContextManager[None]:
    """Returns a context in which convolutions are traced for CPUs as they are for GPUs and TPUs.

    This lets a CPU plan programs of those. It does not act on a function that JAX has traced
    before, such as one under `jax.checkpoint` that is called again.
    """
    return holding(_NATIVE_ONLY, True)


def late_kernels() -> contextlib.AbstractContextManager[None]:
    """Returns a context in which CPUs transform a Winograd kernel only once its images exist.

    This saves memory in a network that is applied once. Without it XLA transforms all kernels when
    the pass begins, which makes them larger, and keeps them until they are needed (docs/memory.md).
    A network that is applied several times is better without it, since all passes then share one
    transformed kernel. Like `native_convolutions` it does not act on a function that JAX has traced
    before.
    """
    return holding(_LATE_KERNELS, True)


def is_native() -> bool:
    """Returns whether the context is one of `native_convolutions`."""
    return _NATIVE_ONLY.get()


def native_map(name: MapName, a: jax.Array, b: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes a map of two arrays, which are those of `Lowering`, as GPUs and TPUs do."""
    maps = DENSE if geometry.is_dense else NATIVE
    return maps[name](a, b, geometry)


def on_cpu(name: MapName, a: jax.Array, b: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes a map of two arrays, which are those of `Lowering`, in the form that suits a CPU.

    The result has a's dtype; half precision is computed in float32.
    """
    if geometry.is_dense:
        return DENSE[name](a, b, geometry)
    inputs = a.shape[3] if name != "input_grad" else geometry.groups * b.shape[2]
    chosen = choose(name, geometry, a.shape[0], (inputs, b.shape[3]))
    function = partial(chosen, geometry=geometry)
    if a.dtype.itemsize < 4:
        function = _in_float32(function)
    return _between_barriers(name, function)(a, b)


def by_platform(*arrays: Any, cpu: Callable, default: Callable) -> Any:
    """Returns cpu(*arrays) on CPUs, and default(*arrays) elsewhere and under `native_convolutions`.

    Args:
      *arrays: arrays, or trees of them.
      cpu: the form for CPUs.
      default: the form for all other platforms.
    """
    if _NATIVE_ONLY.get():
        return default(*arrays)
    return lax.platform_dependent(*arrays, cpu=cpu, default=default)


def cpu_barrier(arrays: Any) -> Any:
    """Returns the arrays of a tree, none of which CPUs make available before all are computed.

    This holds in programs that keep barriers (`ganjax.runtime.compiling.options`). GPUs and TPUs
    order operations as they see fit, and so do programs for CPUs under `native_convolutions`.
    """
    return by_platform(arrays, cpu=lax.optimization_barrier, default=lambda arrays: arrays)


def delay_kernel(name: MapName, x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """Returns the kernel of a map of x, which `late_kernels` delays until x has been computed.

    Only kernels that `winograd` transforms are delayed.
    """
    if not _LATE_KERNELS.get():
        return kernel
    inputs, outputs = kernel.shape[2:]
    chosen = choose(name, geometry, x.shape[0], (geometry.groups * inputs, outputs))
    is_transformed = chosen in (winograd.conv, winograd.input_grad)
    return _delay(kernel, x) if is_transformed else kernel


@jax.custom_jvp
def _delay(kernel, x):
    return cpu_barrier((kernel, x))[0]


# Tangents and cotangents have nothing to wait for: those of kernel and images are independent.
_delay.defjvp(lambda primals, tangents: (_delay(*primals), tangents[0]), symbolic_zeros=True)


def _between_barriers(name: MapName, function):
    """Returns a map that reads images from memory and writes its result before others read it.

    This holds on CPUs, in programs that keep barriers (`ganjax.runtime.compiling.options`). Without
    them XLA computes what is cheap again for each reader, such as BatchNorm's backward pass for
    each of Winograd's factors (docs/speed.md).
    """

    def stored(a, b):
        # One barrier for each array: maps that read the same array then share its barrier, and the
        # padding and the blocks made of it.
        a = lax.optimization_barrier(a)
        if name == "kernel_grad":  # The other maps' b is a kernel, which is cheap and read by few.
            b = lax.optimization_barrier(b)
        return lax.optimization_barrier(function(a, b))

    return stored


def _in_float32(function):
    """Returns a map of half precision that computes in float32 and rounds once, at the end.

    CPUs have no units for half precision. The units of GPUs and TPUs compute the products and sums
    of half-precision numbers in float32 as well.
    """

    def widened(a, b):
        return function(a.astype(jnp.float32), b.astype(jnp.float32)).astype(a.dtype)

    return widened
