"""The time of a step on paper, against numbers by hand."""

import numpy as np

from ganjax.planning.accelerators import (
    ACCELERATORS,
    UTILISATION,
    Collective,
    collective_seconds,
    compute_seconds,
)


def test_the_time_of_collectives_and_products_is_as_by_hand():
    """4 GB in a ring of 8 H100s: 14 rounds of 0.5 GB at 450 GB/s; between nodes at 50 GB/s."""
    h100 = ACCELERATORS["h100"]
    sent = {"all-reduce": Collective(1, 4 * 10**9)}
    np.testing.assert_allclose(collective_seconds(h100, sent, 8), 14 * (0.5 / 450 + 2e-6))
    np.testing.assert_allclose(collective_seconds(h100, sent, 16), 30 * (0.25 / 50 + 5e-6))
    assert collective_seconds(h100, sent, 1) == 0
    gathers = {"all-gather": Collective(2, 8 * 10**9)}
    np.testing.assert_allclose(collective_seconds(h100, gathers, 8), 7 * (1 / 450 + 2 * 2e-6))
    np.testing.assert_allclose(compute_seconds(h100, 494.7e12), 1 / UTILISATION)
    np.testing.assert_allclose(compute_seconds(h100, 989.4e12, "bfloat16"), 1 / UTILISATION)
