"""Where a system stops scaling, against numbers by hand."""

import numpy as np

from experiments import scaling
from ganjax.engine.phases import Phase
from ganjax.planning.accelerators import ACCELERATORS
from ganjax.planning.costs import PhaseCost
from ganjax.planning.times import UTILISATION, Collective, Work


def test_a_step_scales_as_far_as_by_hand():
    """It takes 8 ms and sends 1 MB in 10 all-reduces on v5e."""
    v5e = ACCELERATORS["v5e"]
    phase = Phase(0, 1, 512, 64)
    flops = 8e-3 * np.sqrt(np.prod(UTILISATION)) * 197e12  # The middle of the range.
    cost = PhaseCost(phase, 512, Work(flops, 0, 0), 0, 0, {"all-reduce": Collective(10, 10**6)})

    def sends(n):
        return 2 * (n - 1) * (1e6 / n / 2e11 + 10 * 1e-6)

    for n in (2, 16, 64):
        np.testing.assert_allclose(
            scaling.fixed_batch(cost, v5e, n), 8e-3 / n / (8e-3 / n + sends(n))
        )
        np.testing.assert_allclose(scaling.batch_each(cost, v5e, n), 8e-3 / (8e-3 + sends(n)))
    # 8 ms / 32 = 0.25 ms is less than 62 hops of 10 us; at 16 it is 0.5 ms against 0.31.
    assert scaling.limit(scaling.fixed_batch, cost, v5e, 512, "float32") == "32"
    assert scaling.limit(scaling.fixed_batch, cost, v5e, 16, "float32") == "none to 16"
