"""The example of an algorithm outside ganjax."""

import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from initial import initial

import ganjax
from ganjax.augment import diffaugment
from ganjax.config import ConfigError
from ganjax.engine.algorithm import Context
from ganjax.keys import fold
from ganjax.training import schema
from ganjax.training.loop import train
from ganjax.training.writer import read_metrics

pytestmark = pytest.mark.usefixtures("native_convolutions")


@pytest.fixture
def config():
    get_config = runpy.run_path(str(ROOT / "examples" / "consistency_gan.py"))["get_config"]
    config = get_config("")
    config.total_steps, config.batch_size, config.log_every = 2, 8, 1
    config.image_size, config.data.fit = 8, "resize"
    config.generator.widths = config.discriminator.widths = (4,)
    return config


def test_it_trains_logs_its_metric_and_is_sampled(config, tmp_path):
    train(config, tmp_path)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert all(np.isfinite(row["consistency"]) for row in rows if "d_loss" in row)
    assert ganjax.load(tmp_path, trust=True).sample(3).shape == (3, 8, 8, 1)


def test_the_term_is_the_mean_squared_difference_of_scores(config):
    loaded, module = schema.load(config)
    algorithm = module.build(loaded)
    _, (params, vars) = initial(algorithm.init, jax.random.key(0))
    image = jnp.asarray(np.random.RandomState(0).uniform(-1, 1, (8, 8, 8, 1)), jnp.float32)
    batch = {"image": image, "label": jnp.zeros(8, jnp.int32)}
    key = jax.random.key(1)
    context = Context(batch, key, jnp.zeros((), jnp.int32), algorithm.phases[0], ())
    value, metrics = algorithm.penalty(params, vars, batch, context)
    shifted = diffaugment.translation(image, 1.0, fold(key, "shift"), (-1.0, 1.0))
    (scores, shifted_scores), _ = algorithm.discriminate(
        params, vars, {**batch, "image": shifted}, context
    )
    expected = np.mean((np.asarray(scores) - np.asarray(shifted_scores)) ** 2)
    np.testing.assert_allclose(metrics["consistency"], expected, rtol=1e-4)
    np.testing.assert_allclose(value, 10 * expected, rtol=1e-4)
    assert expected > 0


@pytest.mark.parametrize("field", ["n_critic", "penalty", "augment", "accumulate", "critic_reals"])
def test_a_field_that_it_does_not_honour_is_refused_by_name(config, field):
    raw = config.to_dict() | {field: 2}
    with pytest.raises(ConfigError, match=rf"config.{field}=2: no such field; there are"):
        schema.load(raw)
