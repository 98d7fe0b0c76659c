"""The three maps of a convolution as JAX primitives, each other's derivatives in every mode.

A convolution is a trilinear form of its input x, its kernel k and the cotangent g of its output.
Its three partial maps

    conv(x, k) -> g        input_grad(g, k) -> x        kernel_grad(x, g) -> k

are each bilinear. So the derivative of a map in the direction of a tangent of an argument is the
map itself, and its transpose is one of the other two: forward mode, reverse mode and any mixture of
them, of any order, stay inside these three. So does `jax.vmap`: a further axis of one argument is
taken as more images or more channels, and one of both arguments as more groups of channels.

The arrays are those of `ganjax.ops.lowering.Lowering`, which computes the maps.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from ganjax.ops import lowering, partitioning
from ganjax.ops.geometry import Geometry
from ganjax.ops.lowering import MapName


def conv(x: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the forward map: (N, H, W, I), (h, w, I / groups, O) -> (N, H', W', O)."""
    return _bind("conv", x, k, geometry)


def input_grad(g: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the input gradient: (N, H', W', O), (h, w, I / groups, O) -> (N, H, W, I)."""
    return _bind("input_grad", g, k, geometry)


def kernel_grad(x: jax.Array, g: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the kernel gradient: (N, H, W, I), (N, H', W', O) -> (h, w, I / groups, O)."""
    return _bind("kernel_grad", x, g, geometry)


def _bind(name: MapName, a, b, geometry):
    """Applies a primitive, which keeps the settings in whose context it is called."""
    precision = getattr(jax.config, "jax_default_matmul_precision")  # noqa: B009
    return MAPS[name].bind(
        a,
        b,
        geometry=geometry,
        is_native=lowering.is_native(),
        precision=precision,
        partition=partitioning.current(),
    )


def _shape(name: MapName, a, b, geometry: Geometry) -> tuple[int, ...]:
    """Returns the shape of the result of a map of two arrays."""
    if name == "conv":
        return (a.shape[0], *geometry.out, b.shape[3])
    if name == "input_grad":
        return (a.shape[0], *geometry.size, geometry.groups * b.shape[2])
    return (*geometry.window, a.shape[3] // geometry.groups, b.shape[3])


class Place(NamedTuple):
    """The place of a further axis within an array of a map.

    Attributes:
      axis: the array's axis that takes up the further one.
      is_outer: whether the further axis surrounds the groups of that axis, or else lies within each
        of them. An axis without groups has one.
    """

    axis: int
    is_outer: bool = True

    def join(self, array: jax.Array, at: int, groups: int) -> jax.Array:
        """Returns the array with its axis number `at` taken up at this place."""
        array = jnp.moveaxis(array, at, 0)
        further, shape = array.shape[0], list(array.shape[1:])
        outer = 1 if self.is_outer else groups
        split = [*shape[: self.axis], outer, -1, *shape[self.axis + 1 :]]
        array = jnp.moveaxis(array.reshape(further, *split), 0, self.axis + 1)
        shape[self.axis] *= further
        return array.reshape(shape)

    def part(self, array: jax.Array, further: int, groups: int) -> jax.Array:
        """Computes the inverse of `join`, with the further axis of that length as the first."""
        shape = list(array.shape)
        outer = 1 if self.is_outer else groups
        split = [*shape[: self.axis], outer, further, -1, *shape[self.axis + 1 :]]
        array = jnp.moveaxis(array.reshape(split), self.axis + 1, 0)
        shape[self.axis] //= further
        return array.reshape(further, *shape)


IMAGES, OUTER, INNER = Place(0), Place(3), Place(3, is_outer=False)
KERNEL_INPUTS = Place(2)  # The input channels of a kernel are those of one group.
# The places of a further axis of a map's first array alone, and of its second array alone: in that
# array and in the result.
FURTHER = {
    "conv": ((IMAGES, IMAGES), (INNER, INNER)),
    "input_grad": ((IMAGES, IMAGES), (KERNEL_INPUTS, INNER)),
    "kernel_grad": ((INNER, KERNEL_INPUTS), (INNER, INNER)),
}


def _batch(name: MapName, arrays, axes, *, geometry, **settings):
    """Computes a map of arrays with a further axis each, or of which one has such an axis."""
    arrays, groups = list(arrays), geometry.groups
    further = next(a.shape[at] for a, at in zip(arrays, axes, strict=True) if at is not None)
    if None in axes:
        mapped = axes.index(None) ^ 1
        place, result_place = FURTHER[name][mapped]
        arrays[mapped] = place.join(arrays[mapped], axes[mapped], groups)
    else:
        result_place = OUTER
        arrays = [OUTER.join(a, at, groups) for a, at in zip(arrays, axes, strict=True)]
        geometry = geometry._replace(groups=further * groups)
    result = MAPS[name].bind(*arrays, geometry=geometry, **settings)
    return result_place.part(result, further, groups), 0


def _primitive(name: MapName) -> Primitive:
    """Makes the primitive of a map, but for its derivatives."""
    primitive = Primitive(f"ganjax_{name}")

    @partial(jax.jit, static_argnames=("geometry", "is_native", "precision", "partition"))
    def compiled(a, b, **settings):
        return primitive.bind(a, b, **settings)

    def abstract(a, b, *, geometry, **_):
        return a.update(shape=_shape(name, a, b, geometry), weak_type=False)

    def lower(platform, a, b, *, geometry, is_native, precision, partition):
        lower = lowering.on_cpu if platform == "cpu" and not is_native else lowering.native_map
        compute = partial(lower, name)
        if partition is not None and geometry.groups > 1:
            of_kernel = name == "kernel_grad"
            compute = partial(
                partitioning.compute, compute, partition=partition, of_kernel=of_kernel
            )
        with jax.default_matmul_precision(precision):
            return compute(a, b, geometry)

    primitive.def_impl(compiled)
    primitive.def_abstract_eval(abstract)
    batching.primitive_batchers[primitive] = partial(_batch, name)
    for platform in ("cpu", None):
        rule = mlir.lower_fun(partial(lower, platform), multiple_results=False)
        mlir.register_lowering(primitive, rule, platform=platform)
    return primitive


CONV, INPUT_GRAD, KERNEL_GRAD = map(_primitive, ("conv", "input_grad", "kernel_grad"))
MAPS = {"conv": CONV, "input_grad": INPUT_GRAD, "kernel_grad": KERNEL_GRAD}
# For each map its transposes with respect to its first and its second array, of the cotangent of
# its result and the two arrays.
ad.defbilinear(
    CONV,
    lambda g, x, k, **settings: INPUT_GRAD.bind(g, k, **settings),
    lambda g, x, k, **settings: KERNEL_GRAD.bind(x, g, **settings),
)
ad.defbilinear(
    INPUT_GRAD,
    lambda x, g, k, **settings: CONV.bind(x, k, **settings),
    lambda x, g, k, **settings: KERNEL_GRAD.bind(x, g, **settings),
)
ad.defbilinear(
    KERNEL_GRAD,
    lambda k, x, g, **settings: INPUT_GRAD.bind(g, k, **settings),
    lambda k, x, g, **settings: CONV.bind(x, k, **settings),
)
