"""BatchNorm against Flax's, and its conditional form against its formula."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ganjax.models import layers, norms
from ganjax.ops.lowering import native_convolutions


def statistics(mean, var, weight=1.0):
    """Returns our variables of averages that are sums of weights `weight`, in float32."""
    return {
        "mean": jnp.asarray(mean * weight, jnp.float32),
        "var": jnp.asarray(var * weight, jnp.float32),
        "weight": jnp.asarray(weight, jnp.float32),
    }


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("parts", [(True, True), (False, True), (False, False)])
def test_batch_norm_is_flaxs(parts, train, dtype):
    """It has Flax's parameters, results and gradients, far from mean 0 too.

    With a weight of 1 it has Flax's variables as well.
    """
    options = dict(zip(("use_scale", "use_bias"), parts, strict=True), dtype=dtype)
    options |= {"use_running_average": not train, "momentum": 0.8, "epsilon": 1e-3}
    ours, flaxs = norms.BatchNorm(**options), nn.BatchNorm(**options)
    x = 3 + 2 * jax.random.normal(jax.random.key(1), (8, 5, 6, 4), dtype or jnp.float32)
    params, expected = (norm.init(jax.random.key(0), x).get("params", {}) for norm in (ours, flaxs))
    assert jax.tree.all(jax.tree.map(np.array_equal, params, expected))
    mean, var, *noise = jax.random.uniform(jax.random.key(2), (4, 4))
    noise = iter(noise)
    params = jax.tree.map(lambda leaf: leaf + next(noise), params)

    def gradients_and_results(norm, averages):
        def loss(params, averages, x):
            variables = {"params": params, "batch_stats": averages}
            y, new = norm.apply(variables, x, mutable=["batch_stats"])
            new = {name: new["batch_stats"][name] for name in ("mean", "var")}
            return jnp.sum(jnp.sin(y.astype(jnp.float32))), (y, new)

        by_params, by_averages, by_x = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(
            params, averages, x
        )[0]
        by_averages = {name: by_averages[name] for name in ("mean", "var")}
        return (by_params, by_averages, by_x), loss(params, averages, x)[1]

    tree = gradients_and_results(ours, statistics(mean, 1 + var))
    expected = gradients_and_results(flaxs, {"mean": mean, "var": 1 + var})
    assert tree[1][0].dtype == expected[1][0].dtype
    # Both are rounded to bfloat16 at the end, sometimes to neighbours.
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype is None else {"rtol": 0.02, "atol": 0.02}
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            np.asarray(a, np.float32), np.asarray(b, np.float32), **tolerance
        ),
        tree,
        expected,
    )


def test_the_second_derivative_of_batch_norm_is_flaxs():
    """Of a squared gradient, in float64, whatever the running average is near."""
    with jax.enable_x64(True):
        x = 3 + 2 * jax.random.normal(jax.random.key(1), (4, 3, 3, 2), jnp.float64)

        def by_x(normalise):
            gradient = jax.grad(lambda x: jnp.sum(jnp.sin(normalise(x))))
            return jax.grad(lambda x: jnp.sum(gradient(x) ** 2))(x)

        common = {"use_running_average": False, "momentum": 0.9, "epsilon": 1e-3}
        flaxs = nn.BatchNorm(**common, use_bias=False, use_scale=False, use_fast_variance=False)
        variables = flaxs.init(jax.random.key(0), x)
        expected = by_x(lambda x: flaxs.apply(variables, x, mutable=["batch_stats"])[0])
        ours = norms.BatchNorm(**common, use_bias=False, use_scale=False)
        variables = {"batch_stats": statistics(np.array([2.0, 5.0]), np.ones(2))}

        def normalise(x):
            return ours.apply(variables, x, mutable=["batch_stats"])[0]

        np.testing.assert_allclose(by_x(normalise), expected, rtol=1e-9, atol=1e-12)
        with native_convolutions():  # As on a GPU.
            np.testing.assert_allclose(by_x(normalise), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("near", [None, 2_995.0])
def test_a_mean_of_thousands_of_deviations_leaves_the_variance_as_it_is(near):
    """On CPUs from the first batch on; elsewhere once the running average is near."""
    x = (3_000 + np.random.RandomState(0).randn(16, 4, 4, 3)).astype(np.float32)
    exact = x.astype(np.float64)
    mean, var = exact.mean((0, 1, 2)), exact.var((0, 1, 2))
    norm = norms.BatchNorm(use_running_average=False, momentum=0.9, epsilon=1e-5)
    variables = norm.init(jax.random.key(0), x)
    place = contextlib.nullcontext()
    if near:
        variables["batch_stats"] = statistics(np.full(3, near), np.ones(3))
        place = native_convolutions()
    weights = np.random.RandomState(1).randn(*x.shape).astype(np.float32)
    with place:
        y, _ = norm.apply(variables, x, mutable=["batch_stats"])
        gradient = jax.grad(
            lambda x: jnp.sum(weights * norm.apply(variables, x, mutable=["batch_stats"])[0])
        )(x)
    normalised = (exact - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(y, normalised, atol=5e-3)
    np.testing.assert_allclose(np.std(y, (0, 1, 2)), 1.0, atol=2e-3)
    # d y / d x, of Ioffe & Szegedy 2015 (arXiv:1502.03167), section 3.
    product = (weights * normalised).mean((0, 1, 2))
    expected = (weights - weights.mean((0, 1, 2)) - normalised * product) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(gradient, expected, atol=5e-3)


def test_running_averages_are_of_batches_alone_and_not_of_their_start():
    """They are means of the batches' own, with weights momentum ** age."""
    norm = norms.BatchNorm(use_running_average=False, momentum=0.9, epsilon=1e-5)
    batches = 3 + 2 * np.random.RandomState(0).randn(5, 16, 4).astype(np.float32)
    variables = norm.init(jax.random.key(0), batches[0])
    at_start = norms.averages(**variables["batch_stats"])
    np.testing.assert_array_equal(at_start, ([0.0] * 4, [1.0] * 4))
    for count in range(1, 6):
        _, new = norm.apply(variables, batches[count - 1], mutable=["batch_stats"])
        variables |= new
        weights = 0.9 ** np.arange(count)[::-1]
        exact = batches[:count].astype(np.float64)
        for got, expected in zip(
            norms.averages(**variables["batch_stats"]), (exact.mean(1), exact.var(1)), strict=True
        ):
            np.testing.assert_allclose(got, weights @ expected / weights.sum(), rtol=1e-5)
    evaluated = norm.clone(use_running_average=True).apply(variables, batches[0])
    mean, var = map(np.asarray, norms.averages(**variables["batch_stats"]))
    expected = (batches[0] - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(evaluated, expected, rtol=1e-4, atol=1e-5)


def test_conditional_batch_norm_is_batch_norm_with_the_class_scale_and_bias():
    norm = norms.Norm(stddev=0.5)

    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, label):
            conditioning = layers.Conditioning("batch_norm", 3)
            return norm(x, label, train=True, conditioning=conditioning)

    x = 3 + 2 * jax.random.normal(jax.random.key(1), (8, 5, 5, 4))
    label = jnp.array([0, 1, 2, 0, 1, 2, 0, 1])
    variables = Layer().init(jax.random.key(0), x, label)
    scale, bias = (np.asarray(variables["params"]["ClassAffine_0"][n]) for n in ("scale", "bias"))
    assert scale.std() > 0.1
    y, _ = Layer().apply(variables, x, label, mutable=["batch_stats"])
    x = np.asarray(x)
    plain = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
    expected = plain * scale[label][:, None, None] + bias[label][:, None, None]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
