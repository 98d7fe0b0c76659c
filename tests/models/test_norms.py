"""BatchNorm against Flax's, and its conditional form against its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ganjax.models import layers, norms


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("parts", [(True, True), (False, True), (False, False)])
def test_batch_norm_is_flaxs(parts, train, dtype):
    """It has Flax's parameters, variables, results and gradients, far from mean 0 too."""
    options = dict(zip(("use_scale", "use_bias"), parts, strict=True), dtype=dtype)
    options |= {"use_running_average": not train, "momentum": 0.8, "epsilon": 1e-3}
    ours, flaxs = norms.BatchNorm(**options), nn.BatchNorm(**options)
    x = 3 + 2 * jax.random.normal(jax.random.key(1), (8, 5, 6, 4), dtype or jnp.float32)
    variables = ours.init(jax.random.key(0), x)
    assert jax.tree.all(jax.tree.map(np.array_equal, variables, flaxs.init(jax.random.key(0), x)))
    noise = iter(jax.random.uniform(jax.random.key(2), (4, 4)))
    variables = jax.tree.map(
        lambda leaf: leaf + next(noise)[: leaf.size].astype(leaf.dtype), variables
    )

    def gradients_and_results(norm):
        def loss(variables, x):
            y, new = norm.apply(variables, x, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(y.astype(jnp.float32))), (y, new)

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(variables, x)

    tree, expected = gradients_and_results(ours), gradients_and_results(flaxs)
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
