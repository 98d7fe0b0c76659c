"""Runs on images that are no squares of 4 * 2^n pixels, from the first step to the measurement."""

from functools import partial

import jax
import numpy as np
import pytest
from tiny_dcgan import ADA, FIXED, build, tiny_dcgan

from ganjax.analysis import grids, image_sets, measurement
from ganjax.analysis.trained import Trained
from ganjax.config import ConfigDict, defaults
from ganjax.engine.sizes import size_of
from ganjax.engine.step import make_train_step
from ganjax.metrics.image_set import from_source
from ganjax.models import mlp, resnet
from ganjax.planning import dry_run
from ganjax.training import schema
from ganjax.training.images import Images
from ganjax.training.loop import train

pytestmark = pytest.mark.usefixtures("native_convolutions")

RUNS = {
    "dcgan at 28": (
        28,
        {"data.fit": "pad", "generator.widths": (4, 4), "discriminator.widths": (4, 4)},
    ),
    "resnet at 24": (24, {}),
    "mlp at 12x16": ((12, 16), {}),
    "dcgan at 12x16, augmented": (
        (12, 16),
        {
            "augment": {**ADA, "families": ("blit", "geometric"), "controller": FIXED},
            # Held-out losses, which the others have, take the functions of a train step.
            "data.held_out": 0.0,
        },
    ),
}


def config_of(name):
    """Returns the config of one of RUNS."""
    config = tiny_dcgan()
    size, change = RUNS[name]
    if "resnet" in name:
        config.generator = defaults(resnet.GeneratorFields, widths=(4,))
        config.discriminator = defaults(resnet.DiscriminatorFields, widths=(4, 4), final_size=12)
    if "mlp" in name:
        config.generator = defaults(mlp.GeneratorFields, widths=(4,))
        config.discriminator = defaults(mlp.DiscriminatorFields, widths=(4,))
    config.image_size = size
    config.update_from_flattened_dict({n: v for n, v in change.items() if n != "augment"})
    if "augment" in change:
        config.augment = ConfigDict(change["augment"])
    config.evaluation.update(metrics=("swd",), num_samples=12)
    config.checkpoint_every = 1
    return config


@pytest.mark.parametrize("name", ["resnet at 24", "dcgan at 12x16, augmented"])
def test_a_train_step_takes_images_of_any_size(name):
    """Traced for its shapes alone."""
    config, raw = schema.load(config_of(name)).config, config_of(name)
    algorithm = build(raw)
    (phase,) = algorithm.phases
    batch = dry_run.batch_shapes(Images(config), algorithm, phase)
    assert batch["image"].shape[2:] == (*size_of(RUNS[name][0]), 1)
    state = dry_run.state_shapes(algorithm)
    step = partial(make_train_step(algorithm), phase=phase)
    after, _ = jax.eval_shape(step, state, batch, jax.random.key(0))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), state
    )


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_any_size_is_trained_resumed_sampled_and_measured(name, tmp_path):
    config, size = config_of(name), size_of(RUNS[name][0])
    config.total_steps = 1
    train(config, tmp_path)
    config.total_steps = 2
    train(config, tmp_path)
    run = Trained(tmp_path, "last")
    assert (run.step, run.config.image_size) == (2, size.field)
    samples = run.generate(*run.inputs(6))
    assert samples.shape == (6, *size, 1)
    assert run.scores(samples, np.zeros(6, np.int32)).shape == (6,)
    picture = grids.neighbour_grid(run, 2, k=1).picture()
    assert picture.shape[1] > 2 * size.width
    fakes = image_sets.from_run(run, "samples", 12)
    split = "validation" if config.data.held_out else "train"
    reals = from_source("reals", run.images_of(split), 12)
    sets = measurement.Sets(reals, fakes, None)
    found = measurement.measure_sets(sets, ("swd", "pixel_neighbours"), "efflite0", None)
    level = size.height if size.is_square else size
    assert np.isfinite(found["figures"][f"swd_{level}"])
    assert found["protocol"]["real"]["shape"] == (*size, 1)
