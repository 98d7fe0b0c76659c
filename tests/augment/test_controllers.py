"""The controllers' trajectories against ones computed by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.augment import controllers


def trajectory(controller, statistics):
    state = controller.init()
    for r_t in statistics:
        state = controller.update(state, jnp.float32(r_t))
        yield float(state["p"])


def test_a_fixed_controller_keeps_p():
    assert list(trajectory(controllers.fixed(0.25), [1, -1])) == [0.25, 0.25]


def test_p_moves_with_the_accuracys_distance_from_its_target():
    """The accuracies (1 + r_t) / 2 are 1, .85, .5, .5."""
    controller = controllers.accuracy_target(0.0, 0.85, 1e-3, 1.0)
    got = list(trajectory(controller, [1.0, 0.7, 0.0, 0.0]))
    np.testing.assert_allclose(got, [1.5e-4, 1.5e-4, 0, 0], atol=1e-8)


def test_p_moves_by_steps_with_the_sign_of_r_ts_distance_from_its_target():
    """By .1 after every second update, by the mean of the two."""
    controller = controllers.r_t_target(0.0, 0.6, 2, 0.1, 0.25)
    statistics = [1.0, 0.4, 1.0, 1.0, 0.9, 0.9, 0.0, 1.0, 0.6, 0.6]
    # The means are .7 (up), 1 (up), .9 (up, to the cap), .5 (down), .6 (at the target: stays).
    expected = [0, 0.1, 0.1, 0.2, 0.2, 0.25, 0.25, 0.15, 0.15, 0.15]
    np.testing.assert_allclose(list(trajectory(controller, statistics)), expected, atol=1e-6)


@pytest.mark.parametrize(
    "controller",
    [
        controllers.accuracy_target(0.3, 0.85, 1.0, 0.5),
        controllers.r_t_target(0.3, 0.6, 1, 0.2, 0.5),
    ],
)
def test_p_never_leaves_its_bounds(controller):
    ps = list(trajectory(controller, np.random.RandomState(0).choice([-1.0, 1.0], 200)))
    assert min(ps) == 0.0
    assert max(ps) == 0.5
