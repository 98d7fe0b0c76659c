"""An algorithm outside ganjax: WGAN-GP whose second half has a larger batch."""

from ganjax.algorithms import gan

Config = gan.Config


def build(config):
    algorithm = gan.build(config)
    (phase,) = algorithm.phases
    half = config.total_steps // 2
    return algorithm._replace(
        phases=(phase._replace(stop=half), phase._replace(start=half, batch_size=16))
    )
