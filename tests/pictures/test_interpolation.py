"""Paths between latents, beside their closed forms."""

import numpy as np

from ganjax.pictures import interpolation


def test_slerp_is_the_arc():
    a, b = np.random.RandomState(0).normal(size=(2, 64))
    a, b = 5 * a / np.linalg.norm(a), 5 * b / np.linalg.norm(b)
    t = np.linspace(0, 1, 7)
    angle = np.arccos(a @ b / 25)
    side = b - (a @ b) / 25 * a
    side *= 5 / np.linalg.norm(side)
    arc = np.cos(t * angle)[:, None] * a + np.sin(t * angle)[:, None] * side
    np.testing.assert_allclose(interpolation.slerp(a, b, t), arc, atol=1e-6)
    np.testing.assert_allclose(interpolation.lerp(a, b, t)[3], (a + b) / 2, atol=1e-6)
    # Lengths may differ; the ends are met all the same.
    np.testing.assert_allclose(interpolation.slerp(a, 2 * b, t)[[0, -1]], [a, 2 * b], atol=1e-6)
    for end in (2 * a, -a, 0 * a):
        np.testing.assert_array_equal(interpolation.slerp(a, end, t), interpolation.lerp(a, end, t))


def test_a_loop_meets_every_latent_once():
    z = np.random.RandomState(0).normal(size=(3, 8)).astype(np.float32)
    path = interpolation.loop(z, 4, "linear")
    assert path.shape == (15, 8)
    np.testing.assert_allclose(path[::5], z, atol=1e-6)
    np.testing.assert_allclose(path[14], 0.2 * z[2] + 0.8 * z[0], atol=1e-6)
    np.testing.assert_allclose(path[6], 0.8 * z[1] + 0.2 * z[2], atol=1e-6)
    arc = interpolation.loop(z, 4, "spherical")
    np.testing.assert_allclose(arc[6:7], interpolation.slerp(z[1], z[2], np.array([0.2])))
