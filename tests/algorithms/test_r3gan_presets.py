"""R3GAN's presets against the paper's tables, and its step at the paper's scale."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from small import shipped

from ganjax.algorithms.gan import Config
from ganjax.engine.step import init_state, make_train_step
from ganjax.ops.lowering import native_convolutions
from ganjax.training import schema

# Huang et al. 2024: widths from 4x4 up, batch, reals over which numbers change, gamma at first,
# half-life of the average and probability of augmentation in the end, channels of a group.
ROWS = {
    "cifar10": ((768,) * 4, 512, 20e6, 0.05, 5e6, 0.55, 16),
    "ffhq_64": ((768,) * 4 + (384,), 256, 20e6, 2, 5e5, 0.3, 16),
    "ffhq_256": ((768,) * 4 + (384, 192, 96), 256, 20e6, 150, 5e5, 0.3, 16),
    "imagenet_32": ((1_536,) * 4, 4_096, 200e6, 0.5, 50e6, 0.5, 32),
    "imagenet_64": ((1_536,) * 5, 4_096, 200e6, 1, 50e6, 0.4, 32),
}
CONDITIONAL = ("cifar10", "imagenet_32", "imagenet_64")


@pytest.mark.parametrize("name", ROWS)
def test_a_preset_is_its_row_of_the_papers_tables(name):
    config, _ = schema.load(shipped("r3gan", name))
    assert isinstance(config, Config)
    widths, batch_size, over, gamma, half_life, p, group_width = ROWS[name]
    for network in (config.generator, config.discriminator):
        found = network.widths, network.blocks, network.group_width, network.slope
        assert found == (widths, 2, group_width, 0.2)
    size = 4 << (len(widths) - 1)
    assert (config.batch_size, config.image_size, config.latent_dim) == (batch_size, size, 64)
    changing = {
        "rate": (config.g_optimiser.learning_rate, config.d_optimiser.learning_rate, 2e-4, 5e-5),
        "b2": (config.g_optimiser.b2, config.d_optimiser.b2, 0.9, 0.99),
        "gamma": (config.penalty.r1, config.penalty.r2, gamma, gamma / 10),
        "half-life and p": (config.ema.half_life, config.augment.controller.p, 0, None),
    }
    for first, second, start, end in changing.values():
        for each in (first, second):
            assert (each.form, each.over, each.start) == ("cosine", over, start)
            assert end is None or each.end == end
    assert (config.ema.half_life.end, config.augment.controller.p.end) == (half_life, p)
    factors = dict(config.augment.multipliers)
    colours = ("brightness", "contrast", "luma_flip", "hue", "saturation")
    assert factors == dict.fromkeys(colours, 0.5) | {"noise": 0}
    assert config.augment.families == ("blit", "geometric", "colour", "corrupt")
    assert config.data.mirror
    assert config.loss == "relativistic_paired"
    assert config.penalty.interval == config.n_critic == 1
    assert not config.ema.decay
    assert not config.ema.warm_up
    conditional = name in CONDITIONAL
    assert (config.conditioning.generator == "embedding") == conditional
    assert (config.conditioning.discriminator == "projection") == conditional
    assert config.conditioning.embedding_dim == (64 if conditional else 10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ffhq_256", "imagenet_32"])
def test_a_step_at_the_papers_scale_is_traced(name):
    """To lower it takes as long again, which tests of smaller networks do."""
    config, module = schema.load(shipped("r3gan", name))
    algorithm, phase = module.build(config), module.build(config).phases[0]
    state = jax.eval_shape(partial(init_state, algorithm), jax.random.key(0))
    shape = (algorithm.real_batches, phase.batch_size)
    size = (config.image_size, config.image_size, 3)
    batch = {
        "image": jax.ShapeDtypeStruct((*shape, *size), jnp.uint8),
        "label": jax.ShapeDtypeStruct(shape, jnp.int32),
    }
    step = jax.jit(make_train_step(algorithm), static_argnames="phase", donate_argnames="state")
    with native_convolutions():
        traced = step.trace(state, batch, jax.random.key(0), phase=phase)
    after, metrics = traced.out_info
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert {"d_loss", "g_loss", "r1", "r2", "aug_p", "ema_half_life"} <= set(metrics)
    assert "bf16" in str(traced.jaxpr)
