"""Computes convolutions with groups on several devices, each of which takes its share of images.

XLA's partitioner splits no convolution with groups by its images: each device would gather those of
all devices and compute every one (docs/accelerators.md). So the shares are made here. An ensemble's
members are groups under `jax.vmap`, and are shared in the same way.
"""

import contextlib
from collections.abc import Callable
from contextvars import ContextVar
from typing import NamedTuple

import jax
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from ganjax.ops.contexts import holding
from ganjax.ops.geometry import Geometry


class Partition(NamedTuple):
    """The axes of a mesh along which its devices share convolutions.

    Attributes:
      mesh: the mesh of the devices.
      images: the name of the mesh's axis along which they share the images of a batch.
      groups: that along which they share groups of channels; None shares none.
    """

    mesh: Mesh
    images: str
    groups: str | None = None

    def axis(self, name: str | None, length: int) -> str | None:
        """Returns an axis of the mesh, or None where it does not share so many evenly."""
        return name if name is not None and length % self.mesh.shape[name] == 0 else None


_PARTITION: ContextVar[Partition | None] = ContextVar("partition", default=None)


def partitioned(partition: Partition) -> contextlib.AbstractContextManager[None]:
    """Returns a context in which convolutions with groups are traced for devices that share them.

    It does not act on a function that JAX has traced before, such as one under `jax.checkpoint`
    that is called again.
    """
    return holding(_PARTITION, partition)


def current() -> Partition | None:
    """Returns the partition of the context, None outside of any."""
    return _PARTITION.get()


def compute(
    function: Callable[[jax.Array, jax.Array, Geometry], jax.Array],
    a: jax.Array,
    b: jax.Array,
    geometry: Geometry,
    *,
    partition: Partition,
    of_kernel: bool,
) -> jax.Array:
    """Computes a map of two arrays, which are those of `ganjax.ops.lowering.Lowering`, in shares.

    Args:
      function: computes the map of a device's share, given its geometry.
      a: the first array.
      b: the second array.
      geometry: the geometry of the convolution.
      partition: how devices share it.
      of_kernel: whether the map is the kernel gradient, a sum over images. Otherwise b is a kernel.
    """
    images = partition.axis(partition.images, a.shape[0])
    groups = partition.axis(partition.groups, geometry.groups)
    if groups is not None:
        geometry = geometry._replace(groups=geometry.groups // partition.mesh.shape[groups])
    of_images = PartitionSpec(images, None, None, groups)
    of_kernels = PartitionSpec(None, None, None, groups)

    def share(a, b):
        result = function(a, b, geometry)
        return lax.psum(result, images) if of_kernel and images is not None else result

    in_specs = (of_images, of_images if of_kernel else of_kernels)
    out_specs = of_kernels if of_kernel else of_images
    return jax.shard_map(
        share, mesh=partition.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )(a, b)
