"""What a run needs: FLOPs, memory and collectives, against numbers by hand."""

import re

import jax
import numpy as np
import pytest
from small import shipped, shrink, tiny_config

from ganjax.config import ConfigError
from ganjax.errors import UserError
from ganjax.planning import dry_run
from ganjax.planning.report import render
from ganjax.training import schema


def bytes_of(tree):
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def planned():
    """The tiny WGAN-GP on eight devices."""
    return dry_run.plan(tiny_config(), devices=8)


def test_collectives_are_gradients_and_batch_norm(planned):
    """Every byte of a real step's all-reduces is accounted for.

    XLA's CPU sums the parts of D's gradient from reals, fakes and the penalty over devices one by
    one, where the compilers of GPUs and TPUs would add them up first. Biases have no part in the
    penalty, and the gradient of D's last bias is constant. BatchNorm sums a mean and a mean square
    of each channel wherever G is applied, and nothing more where G is differentiated: the
    cotangents of both follow from the sums that are the gradients of its scale and bias.
    """
    (cost,) = planned.phases
    config = planned.config
    assert set(cost.collectives) == {"all-reduce"}
    loaded, module = schema.load(config.model_dump())
    state = dry_run.state_shapes(module.build(loaded))
    kernels, biases = (
        sum(layer[name].size for layer in state.d.params.values()) for name in ("kernel", "bias")
    )
    d_gradient = 3 * kernels + 2 * (biases - 1)
    g_gradient = bytes_of(state.g.params) // 4
    layers = state.g.vars["batch_stats"].values()
    statistics = sum(layer[name].size for layer in layers for name in ("mean", "var"))
    scalars = 3 * config.n_critic + 1  # The terms of both losses.
    forward = (config.n_critic + 1) * statistics
    expected = config.n_critic * d_gradient + g_gradient + forward + scalars
    assert cost.collectives["all-reduce"].bytes // 4 == expected
    # An update of the critic waits for two BatchNorms and for one gradient, and one of G waits for
    # BatchNorms on the way back as well.
    assert cost.collectives["all-reduce"].count == config.n_critic * 3 + 5


def test_a_joint_pass_sends_no_images_between_devices():
    config = tiny_config()
    config.d_batches = "joint"
    (cost,) = dry_run.plan(config, devices=8).phases
    assert set(cost.collectives) == {"all-reduce"}


def test_parameters_flops_and_memory(planned):
    (cost,) = planned.phases
    loaded, module = schema.load(planned.config.model_dump())
    state = dry_run.state_shapes(module.build(loaded))
    assert planned.params == tuple(bytes_of(p.params) // 4 for p in (state.g, state.d))
    assert cost.images == 2 * 8
    # A device holds the state, its key, and one image of each batch of reals.
    batch = 2 * (16 * 16 + 4)
    assert 0 <= cost.held_bytes - bytes_of(state) - batch <= 64
    assert cost.peak_bytes > cost.held_bytes


@pytest.mark.slow
def test_flops_are_those_of_the_products_counted_by_hand():
    """They are those of a dense GAN without dropout, whose players share one pass D(fake)."""
    config = shipped("cgan")
    config.batch_size, config.discriminator.dropout = 512, 0.0
    (cost,) = dry_run.plan(config, devices=1).phases

    def products(layers):
        return 2 * 512 * sum(inputs * outputs for inputs, outputs in layers)

    d = [(784 + 10, 512), (512, 512), (512, 512), (512, 1)]
    g = [(100 + 10, 128), (128, 256), (256, 512), (512, 1024), (1024, 784)]
    # For reals and for fakes D has a forward pass, gradients by kernels, and gradients by inputs,
    # of which only G needs those of the first layer.
    expected = 6 * products(d) - 2 * products(d[:1]) + products(d)
    expected += 3 * products(g) - products(g[:1])
    assert 1 < cost.work.flops / expected < 1.03  # The rest is what is no product.


def test_the_report_counts_flops_of_one_image(planned):
    text = render(planned, ["h100"])
    an_image = float(re.search(r"\| 16x16 \| 8 \| ([\d.e-]+) \|", text)[1])
    np.testing.assert_allclose(an_image, planned.phases[0].work.flops / 16 / 1e9, rtol=0.01)
    assert "\n4 steps: 0.01423 epochs, 0.01422 passes of 4,500 images\n" in text
    assert "50% to 85%\nof the peak for float32" in text
    row = r"\| h100 \| \d+% of 56 GiB \| [\d,]+ to [\d,]+ \| 0:00:0\d to 0:00:0\d \| \d+% \|"
    assert re.search(row, text)


def test_a_batch_that_does_not_fit_is_refused(planned):
    (cost,) = planned.phases
    usable = 0.75 * 40e9
    large = cost._replace(peak_bytes=int(2 * usable), held_bytes=int(usable / 2))
    with pytest.raises(
        ConfigError, match=r"config.batch_size=8 at 16x16 on 8 device\(s\)"
    ) as caught:
        dry_run.check_memory(planned._replace(phases=(large,)), "a100-40gb")
    assert "\n" not in str(caught.value)
    # Half of what is usable is left for images, of which each takes 1.5 times that.
    assert "not one image a device fits" in str(caught.value)
    full = large._replace(held_bytes=int(usable))
    with pytest.raises(ConfigError, match="the state alone leaves no room"):
        dry_run.check_memory(planned._replace(phases=(full,)), "a100-40gb")
    sixteen = large._replace(phase=cost.phase._replace(batch_size=160))
    with pytest.raises(ConfigError, match="about 48 would fit"):
        dry_run.check_memory(planned._replace(phases=(sixteen,)), "a100-40gb")
    dry_run.check_memory(planned, "a100-40gb")


@pytest.mark.parametrize(
    ("fields", "mend"),
    [
        (
            {},
            "set a smaller batch, take more devices, take it in parts by config.accumulate=2, keep "
            "less for the backward pass by config.remat=True or set "
            "config.sharding='fully_sharded'",
        ),
        (
            {"held_bytes": 10**9},
            "take it in parts by config.accumulate=2 or keep less for the backward pass by "
            "config.remat=True",
        ),
        (
            {"accumulate": 2, "sharding": "fully_sharded", "remat": True},
            "set a smaller batch or take more devices",
        ),
    ],
)
def test_a_refusal_offers_only_what_is_not_done_yet(planned, fields, mend):
    (cost,) = planned.phases
    fields = dict(fields)
    held = fields.pop("held_bytes", 2 * 10**10)
    config = planned.config.model_copy(update=fields)
    phase = cost.phase._replace(batch_size=10_000 * planned.devices)
    cost = cost._replace(held_bytes=held, peak_bytes=10**13, phase=phase)
    large = planned._replace(config=config, phases=(cost,))
    with pytest.raises(ConfigError) as caught:
        dry_run.check_memory(large, "a100-40gb")
    assert str(caught.value).endswith(mend)


def test_an_evaluation_that_a_run_could_not_do_is_refused():
    config = shrink(shipped("wgan_gp"))
    config.evaluation.best = "kid_efflite0"
    config.evaluation.metrics = ()
    with pytest.raises(ConfigError, match=r"config\.evaluation\.best='kid_efflite0'"):
        dry_run.describe(config)


def test_a_run_of_images_that_are_elsewhere_is_planned_for_as_many_steps(monkeypatch, tmp_path):
    """Its epochs have no known length, so that a thousand steps stand for it."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    config = shrink(shipped("dcgan"))
    config.data.source = "tfds:mnist"
    _, algorithm, length = dry_run._settled(schema.load(config))
    assert algorithm.phases[-1].stop == 4
    assert length.startswith("4 steps; the number of its images is not known (config.data.source=")
    config.update({"total_steps": 0, "total_epochs": 3.0})
    _, algorithm, length = dry_run._settled(schema.load(config))
    assert algorithm.phases[-1].stop == 1_000
    assert length.startswith("3 epochs, planned as if they were 1,000 steps: the number of its im")


def test_a_run_that_no_accelerator_holds_is_refused(planned, monkeypatch):
    (cost,) = planned.phases
    monkeypatch.setattr(dry_run, "plan", lambda *_, **__: planned)
    assert "| h100 |" in dry_run.describe(None)
    huge = planned._replace(phases=(cost._replace(peak_bytes=10**13),))
    monkeypatch.setattr(dry_run, "plan", lambda *_, **__: huge)
    with pytest.raises(ConfigError, match=r"config.batch_size=8 .* needs 9313.2 GiB on each"):
        dry_run.describe(None)


def test_accelerators_and_devices_that_do_not_exist_are_refused():
    assert jax.device_count() == 8  # JAX has been used then, alone or after other tests.
    config = shrink(shipped("wgan_gp"))
    with pytest.raises(UserError, match=r"--accelerator=h900: there are v4, v5e"):
        dry_run.describe(config, accelerator="h900")
    with pytest.raises(UserError, match=r"--devices=64: JAX has begun with 8"):
        dry_run.describe(config, devices=64)
    with pytest.raises(ConfigError, match=r"config.batch_size=8: 5 devices cannot share it"):
        dry_run.describe(config, devices=5)


def test_batches_that_a_run_would_refuse_and_several_seeds_are_refused():
    """Of several seeds a dry run would count too little."""
    assert jax.device_count() == 8
    config = shrink(shipped("wgan_gp"))
    config.accumulate = 2
    with pytest.raises(ConfigError, match=r"8 devices cannot share config.accumulate=2 micro-"):
        dry_run.describe(config, devices=8)
    config.accumulate, config.num_seeds = 1, 4
    with pytest.raises(ConfigError, match=r"config.num_seeds=4: a dry run is of one seed"):
        dry_run.describe(config, devices=8)


@pytest.mark.slow
def test_networks_at_1024_have_the_papers_parameters():
    """Karras et al. 2017, table 2; test_accelerators.py lowers the step for its shapes."""
    loaded, module = schema.load(shipped("progan", "celeb_a_hq_1024"))
    algorithm = module.build(loaded)
    state = dry_run.state_shapes(algorithm)
    for player in (state.g, state.d):
        count = sum(leaf.size for leaf in jax.tree.leaves(player.params))
        assert round(count / 1e6, 1) == 23.1
