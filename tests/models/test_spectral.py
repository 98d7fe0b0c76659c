"""Spectral normalisation against the singular value decomposition and PyTorch's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.models import spectral

RANDOM = np.random.RandomState(0)
PARAMS = {
    "Conv_0": {
        "kernel": RANDOM.randn(3, 3, 5, 6).astype(np.float32),
        "bias": RANDOM.randn(6).astype(np.float32),
    },
    "Block": {"Dense_0": {"kernel": RANDOM.randn(7, 1).astype(np.float32)}},
    "Embed_0": {"embedding": RANDOM.randn(4, 6).astype(np.float32)},
    "BatchNorm_0": {"scale": np.ones(6, np.float32), "bias": np.zeros(6, np.float32)},
}


def largest(kernel):
    return np.linalg.norm(np.asarray(kernel).reshape(-1, kernel.shape[-1]), 2)


def test_kernels_converge_to_a_largest_singular_value_of_1():
    vectors = spectral.init(PARAMS, jax.random.key(0))
    assert set(vectors) == {"Conv_0/kernel", "Block/Dense_0/kernel", "Embed_0/embedding"}
    for _ in range(100):
        params, vectors = spectral.normalise(PARAMS, vectors)
    for path in vectors:
        *groups, name = path.split("/")
        leaf = params
        for group in groups:
            leaf = leaf[group]
        np.testing.assert_allclose(largest(leaf[name]), 1.0, rtol=1e-4)
    assert jax.tree.structure(params) == jax.tree.structure(PARAMS)
    for group, name in (("Conv_0", "bias"), ("BatchNorm_0", "scale"), ("BatchNorm_0", "bias")):
        np.testing.assert_array_equal(params[group][name], PARAMS[group][name])


def test_one_call_is_one_iteration():
    vectors = spectral.init(PARAMS, jax.random.key(0))
    _, once = spectral.normalise(PARAMS, vectors)
    _, twice = spectral.normalise(PARAMS, once)
    assert not np.allclose(once["Conv_0/kernel"], twice["Conv_0/kernel"], atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(once["Conv_0/kernel"]), 1.0, rtol=1e-6)


def test_the_gradient_flows_through_the_kernel_and_not_through_the_vectors():
    """That of <C, W / sigma> is C / sigma - <C, W> v u^T / sigma^2 where sigma is v^T W u."""
    random = np.random.RandomState(1)
    w, c, start = random.randn(9, 4), random.randn(9, 4), random.randn(4)
    v = w @ start / np.linalg.norm(w @ start)
    u = w.T @ v / np.linalg.norm(w.T @ v)
    sigma = v @ w @ u
    assert sigma < 0.99 * largest(w), "the vectors have converged, so their gradient is 0"
    expected = c / sigma - np.sum(c * w) / sigma**2 * np.outer(v, u)
    vectors = {"kernel": jnp.asarray(start / np.linalg.norm(start), jnp.float32)}

    def loss(params):
        return jnp.sum(spectral.normalise(params, vectors)[0]["kernel"] * c.astype(np.float32))

    gradient = jax.grad(loss)({"kernel": jnp.asarray(w, jnp.float32)})["kernel"]
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("shape", [(3, 3, 5, 6), (9, 4), (4, 4, 1, 8)])
def test_kernels_vectors_and_gradients_are_torchs(shape):
    """They are so over several iterations with the kernel moving."""
    torch = pytest.importorskip("torch")
    kernel = RANDOM.randn(*shape).astype(np.float32)
    weight = RANDOM.randn(*shape).astype(np.float32)
    outputs = shape[-1]

    def theirs(array):  # (..., I, O) -> (O, I, ...)
        return np.moveaxis(array, (-1, -2), (0, 1)).copy()

    module = torch.nn.Linear(1, 1, bias=False)
    module.weight = torch.nn.Parameter(torch.from_numpy(theirs(kernel)))
    module = torch.nn.utils.spectral_norm(module, n_power_iterations=1)
    vectors = {"kernel": jnp.asarray(module.weight_u.numpy())}
    assert vectors["kernel"].shape == (outputs,)

    def loss(params):
        params, new_vectors = spectral.normalise(params, vectors)
        return jnp.sum(params["kernel"] * weight), (params["kernel"], new_vectors)

    params = {"kernel": jnp.asarray(kernel)}
    for _ in range(3):
        gradient, (normalised, vectors) = jax.grad(loss, has_aux=True)(params)
        for hook in module._forward_pre_hooks.values():
            hook(module, None)
        value = (module.weight * torch.from_numpy(theirs(weight))).sum()
        (expected,) = torch.autograd.grad(value, module.weight_orig)
        np.testing.assert_allclose(
            theirs(np.asarray(normalised)), module.weight.detach().numpy(), rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(vectors["kernel"], module.weight_u.numpy(), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(
            theirs(np.asarray(gradient["kernel"])), expected.numpy(), rtol=1e-3, atol=1e-5
        )
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
        with torch.no_grad():
            module.weight_orig -= 0.1 * expected


def test_products_are_in_full_precision():
    """With the default precision of GPUs and TPUs sigma would have three digits, or two."""
    vectors = spectral.init(PARAMS, jax.random.key(0))
    text = jax.jit(spectral.normalise).lower(PARAMS, vectors).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) == 4 * len(vectors)
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)
