"""Convolutions with groups on devices that share the images, and the members of an ensemble."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from convolutions import assert_near, normal
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ganjax.ops.convolutions import conv, conv_transpose
from ganjax.ops.lowering import native_convolutions
from ganjax.ops.partitioning import Partition, partitioned

FAST = {"xla_backend_optimization_level": 0}
# What sends images, or parts of them, from device to device.
MOVING = ("all-gather", "all-to-all", "collective-permute")


def penalised(function, x, k):
    """A loss with the gradient of a scalar in it, as of a gradient penalty."""
    slope = jax.grad(lambda x: jnp.sum(jnp.sin(function(x, k))))(x)
    return jnp.sum(jnp.sin(function(x, k))) + jnp.sum(slope**2)


def compiled(function, partition, specs, args):
    places = tuple(NamedSharding(partition.mesh, spec) for spec in specs)

    def traced(*args):
        with partitioned(partition):
            return function(*args)

    jitted = jax.jit(traced, in_shardings=places, compiler_options=FAST)
    return jitted.lower(*args).compile()


CASES = {
    "forward": (conv, (3, 3, 2, 8)),
    "depthwise": (conv, (3, 3, 1, 4)),
    "transposed": (conv_transpose, (3, 3, 3, 4)),
}


@pytest.mark.parametrize("native", [False, True], ids=["cpu", "native"])
@pytest.mark.parametrize("case", CASES)
def test_a_penalty_of_shared_images_sends_none_of_them(case, native):
    function, kernel = CASES[case]
    x, k = normal(8, 6, 6, 4), normal(*kernel, scale=0.3, seed=1)
    groups = 4 if case == "depthwise" else 2
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    loss = partial(penalised, partial(function, feature_group_count=groups))

    def gradients(x, k):
        return jax.grad(loss, (0, 1))(x, k)

    context = native_convolutions() if native else jax.default_matmul_precision("highest")
    with context, jax.default_matmul_precision("highest"):
        specs = (PartitionSpec("data"), PartitionSpec())
        program = compiled(gradients, Partition(mesh, "data"), specs, (x, k))
        got, want = program(x, k), jax.jit(gradients, compiler_options=FAST)(x, k)
    assert_near(dict(enumerate(got)), dict(enumerate(want)))
    text = program.as_text()
    assert "all-reduce" in text  # The kernel's gradient is a sum over all images.
    assert not [kind for kind in MOVING if kind in text]


def test_members_of_an_ensemble_are_shared_as_groups():
    xs, ks = normal(4, 4, 6, 6, 2), normal(4, 3, 3, 2, 3, scale=0.3, seed=1)
    mesh = jax.make_mesh((2, 4), ("seed", "data"), axis_types=(AxisType.Auto,) * 2)
    gradients = jax.vmap(jax.grad(partial(penalised, conv), (0, 1)))
    with jax.default_matmul_precision("highest"):
        specs = (PartitionSpec("seed", "data"), PartitionSpec("seed"))
        program = compiled(gradients, Partition(mesh, "data", "seed"), specs, (xs, ks))
        got, want = program(xs, ks), jax.jit(gradients, compiler_options=FAST)(xs, ks)
    assert_near(dict(enumerate(got)), dict(enumerate(want)))
    assert not [kind for kind in MOVING if kind in program.as_text()]


def test_images_that_devices_cannot_share_evenly_are_computed_all_the_same():
    x, k = normal(6, 4, 4, 4), normal(3, 3, 2, 6, seed=1)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    function = partial(conv, feature_group_count=2)
    with jax.default_matmul_precision("highest"):
        program = compiled(function, Partition(mesh, "data"), (PartitionSpec(),) * 2, (x, k))
        assert_near({"y": program(x, k)}, {"y": function(x, k)})
