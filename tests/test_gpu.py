"""On a GPU: what CPUs compute, by cuDNN's own convolutions. Skipped where there is none."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolutions import ORDERS, large, large_case
from small import shipped, shrink
from systems import SYSTEMS, two_steps

from ganjax.augment.ada import FAMILIES, make_transform

pytestmark = pytest.mark.skipif(jax.default_backend() != "gpu", reason="there is no GPU")


def arrays(shapes):
    random = np.random.RandomState(0)
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


def on(platform, function, args):
    """A function's values on a device of a platform, its products in full float32."""
    args = jax.device_put(args, jax.devices(platform)[0])
    with jax.default_matmul_precision("highest"):
        return jax.device_get(jax.jit(function)(*args))


@large
@pytest.mark.parametrize("order", ORDERS)
def test_convolutions_are_those_of_a_cpu(name, order):
    function, shapes = large_case(name, order)
    args = arrays(shapes)
    for here, there in zip(on("gpu", function, args), on("cpu", function, args), strict=True):
        np.testing.assert_allclose(here, there, 0, 1e-4 * np.abs(there).max())


@large
@pytest.mark.parametrize("order", ORDERS)
def test_convolutions_are_calls_of_cudnn(name, order):
    """None is left to XLA's own loops, which are tens of times slower."""
    function, shapes = large_case(name, order)
    text = jax.jit(function).lower(*arrays(shapes)).compile().as_text()
    assert re.search(r'"__cudnn\$conv', text)
    assert not re.search(r"= \S+ convolution\(", text)


@pytest.mark.parametrize("name", SYSTEMS)
def test_steps_are_those_of_a_cpu(name):
    """Two of every phase, in float64; of convolutions in the same form on both."""
    config = shrink(shipped(name))
    (here, _), (there, _) = (
        two_steps(config, jax.devices(platform)[:1], "replicated") for platform in ("gpu", "cpu")
    )
    # Of ProGAN one parameter was seen to differ by 3e-9, more than 1e-6 of it.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-6, 1e-8), here, there)


def test_augmentation_is_that_of_a_cpu():
    """All families at once, and their gradient: a place may be rounded to its neighbour."""
    augment = make_transform(tuple(FAMILIES), (-1.0, 1.0), {})
    (images,) = arrays([(64, 32, 32, 3)])

    def of(x):
        made, pull = jax.vjp(lambda x: augment(x, 0.8, jax.random.key(0)), x)
        return made, *pull(jnp.sin(made))

    for here, there in zip(on("gpu", of, [images]), on("cpu", of, [images]), strict=True):
        assert np.abs(here - there).mean() < 1e-4 * np.abs(there).mean()
