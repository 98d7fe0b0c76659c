"""What a run would take: FLOPs, memory and collectives, against numbers by hand."""

import importlib.util
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import shipped, shrink
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from experiments import scaling
from ganjax.config import ConfigError
from ganjax.errors import UserError
from ganjax.parallel.sharding import make_layout
from ganjax.planning import devices, dry_run, program
from ganjax.planning.accelerators import (
    ACCELERATORS,
    UTILISATION,
    Collective,
    collective_seconds,
    compute_seconds,
)


def bytes_of(tree):
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def planned():
    """The tiny WGAN-GP on eight devices."""
    config = shrink(shipped("wgan_gp"))
    config.image_size, config.data.fit = 16, "resize"
    config.generator.widths = config.discriminator.widths = (4, 4)
    return dry_run.plan(config, devices=8)


def test_collectives_are_gradients_and_batch_norm(planned):
    """Every byte of a real step's all-reduces is accounted for.

    Of D's gradient XLA's CPU sums over devices what reals, fakes and the penalty contribute each
    by itself (biases do not enter the penalty, nor D's last, which is constant, anything); the
    compilers of GPUs and TPUs add them up before. Of BatchNorm a mean and a mean square of each
    channel go round wherever G is applied. Where it is differentiated nothing more does: the
    cotangents of both are had from the sums that are the gradients of its scale and bias.
    """
    (cost,) = planned.phases
    config = planned.config
    assert set(cost.collectives) == {"all-reduce"}
    loaded, module = dry_run.schema.load(config.model_dump())
    state = dry_run.state_shapes(module.build(loaded))
    kernels, biases = (
        sum(layer[name].size for layer in state.d.params.values()) for name in ("kernel", "bias")
    )
    d_gradient = 3 * kernels + 2 * (biases - 1)
    g_gradient = bytes_of(state.g.params) // 4
    statistics = bytes_of(state.g.vars["batch_stats"]) // 4
    scalars = 3 * config.n_critic + 1  # Terms of both losses.
    forward = (config.n_critic + 1) * statistics
    expected = config.n_critic * d_gradient + g_gradient + forward + scalars
    assert cost.collectives["all-reduce"].bytes // 4 == expected
    # A critic's update waits for two BatchNorms and for one gradient; G's also on its way back.
    assert cost.collectives["all-reduce"].count == config.n_critic * 3 + 5


def test_parameters_flops_and_memory(planned):
    (cost,) = planned.phases
    loaded, module = dry_run.schema.load(planned.config.model_dump())
    state = dry_run.state_shapes(module.build(loaded))
    assert planned.params == tuple(bytes_of(p.params) // 4 for p in (state.g, state.d))
    assert cost.images == 2 * 8
    # A device holds the state, its key, and one image of each batch of reals.
    batch = 2 * (16 * 16 + 4)
    assert 0 <= cost.held_bytes - bytes_of(state) - batch <= 64
    assert cost.peak_bytes > cost.held_bytes


def test_flops_are_those_of_the_products_counted_by_hand():
    """Of a dense GAN without dropout, whose players share one pass of the fakes through D."""
    config = shipped("cgan")
    config.batch_size, config.discriminator.dropout = 512, 0.0
    (cost,) = dry_run.plan(config, devices=1).phases

    def products(layers):
        return 2 * 512 * sum(inputs * outputs for inputs, outputs in layers)

    d = [(784 + 10, 512), (512, 512), (512, 512), (512, 1)]
    g = [(100 + 10, 128), (128, 256), (256, 512), (512, 1024), (1024, 784)]
    # Of reals and of fakes: forward, by kernels, by inputs but the first layer's; for G also by
    # that one's.
    expected = 6 * products(d) - 2 * products(d[:1]) + products(d)
    expected += 3 * products(g) - products(g[:1])
    assert 1 < cost.flops / expected < 1.03  # The rest is all that is no product.


def test_report_is_of_an_image(planned):
    text = dry_run.report(planned, ["h100"])
    an_image = float(re.search(r"\| 16x16 \| 8 \| ([\d.e-]+) \|", text)[1])
    np.testing.assert_allclose(an_image, planned.phases[0].flops / 16 / 1e9, rtol=0.01)
    assert "On paper, not measured" in text
    assert re.search(r"\| h100 \| \d+% of 56 GiB \| [\d,]+ \|", text)


def test_hlo_collectives_are_counted_by_kind():
    """Of a program whose collectives are known: one of each of three kinds."""
    layout = make_layout()
    split = layout.batch

    def collective(x):
        gathered = jax.lax.all_gather(x, "data", tiled=True)
        return (
            jax.lax.psum(x.sum(0), "data"),
            jax.lax.psum_scatter(gathered, "data", tiled=True),
            jax.lax.ppermute(x, "data", [(i, (i + 1) % 8) for i in range(8)]),
        )

    mapped = jax.shard_map(
        collective, mesh=layout.mesh, in_specs=P("data"), out_specs=(P(), P("data"), P("data"))
    )
    x = jax.ShapeDtypeStruct((16, 4), jnp.float32, sharding=NamedSharding(layout.mesh, split.spec))
    found = program.collectives(jax.jit(mapped).lower(x).compile().as_text())
    assert found == {
        "all-gather": Collective(1, 16 * 4 * 4),
        "all-reduce": Collective(1, 4 * 4),
        "reduce-scatter": Collective(1, 16 * 4 * 4),
        "collective-permute": Collective(1, 2 * 4 * 4),
    }


HLO = """
%sum (x: f32[], y: f32[]) -> f32[] {
  ROOT %add = f32[] add(%x, %y)
}

%turn (p: (s32[], f32[8,3])) -> (s32[], f32[8,3]) {
  %all-reduce.1 = (f32[8,3]{1,0}, bf16[5]{0}) all-reduce(%a, %b), to_apply=%sum
}

ENTRY %main (e: f32[2]) -> f32[2] {
  ROOT %r = f32[] all-reduce(%c), channel_id=2, to_apply=%sum
  %w = (s32[], f32[8,3]) while(%t), body=%turn, backend_config={"known_trip_count":{"n":"5"}}
  %ars = f32[10]{0:T(256)S(1)} all-reduce-start(%d), replica_groups=[1,8]<=[8], to_apply=%sum
  %ard = f32[10]{0:T(256)S(1)} all-reduce-done(%ars)
  %ags = (f32[2]{0}, f32[16]{0}) all-gather-start(%e), dimensions={0}
  %rs = f32[2]{0} reduce-scatter(%f), replica_groups=mesh['a'=8,'b'=1] {'a'}, to_apply=%sum
  %not.1 = f32[4]{0} add(%x, %all-reduce.1)
}
"""


def test_hlo_of_accelerators_is_read_too():
    """As GPUs' and TPUs' compilers write it: tuples, layouts, asynchronous pairs, loops."""
    assert program.collectives(HLO) == {
        "all-reduce": Collective(5 + 2, 5 * (8 * 3 * 4 + 5 * 2) + 4 + 40),
        "all-gather": Collective(1, 64),
        "reduce-scatter": Collective(1, 64),
    }


def test_step_time_by_hand():
    """4 GB in a ring of 8 H100s: 14 turns of 0.5 GB at 450 GB/s; over nodes at 50 GB/s."""
    h100 = ACCELERATORS["h100"]
    sent = {"all-reduce": Collective(1, 4 * 10**9)}
    np.testing.assert_allclose(collective_seconds(h100, sent, 8), 14 * (0.5 / 450 + 2e-6))
    np.testing.assert_allclose(collective_seconds(h100, sent, 16), 30 * (0.25 / 50 + 5e-6))
    assert collective_seconds(h100, sent, 1) == 0
    gathers = {"all-gather": Collective(2, 8 * 10**9)}
    np.testing.assert_allclose(collective_seconds(h100, gathers, 8), 7 * (1 / 450 + 2 * 2e-6))
    np.testing.assert_allclose(compute_seconds(h100, 494.7e12), 1 / UTILISATION)
    np.testing.assert_allclose(compute_seconds(h100, 989.4e12, "bfloat16"), 1 / UTILISATION)


def test_where_scaling_ends():
    """A step of 8 ms that sends 1 MB in 10 all-reduces on v5e, by hand."""
    v5e = ACCELERATORS["v5e"]
    phase = dry_run.Phase(0, 1, 512, 64)
    flops = 8e-3 * UTILISATION * 197e12
    cost = dry_run.PhaseCost(phase, 512, flops, 0, 0, {"all-reduce": Collective(10, 10**6)})

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


def test_a_batch_that_does_not_fit_is_refused(planned):
    (cost,) = planned.phases
    usable = 0.75 * 40e9
    large = cost._replace(peak_bytes=int(2 * usable), held_bytes=int(usable / 2))
    with pytest.raises(
        ConfigError, match=r"config.batch_size=8 at 16x16 on 8 device\(s\)"
    ) as caught:
        dry_run.check_memory(planned._replace(phases=(large,)), "a100-40gb")
    assert "\n" not in str(caught.value)
    # 0.5 of usable is for images, of which 1 takes 1.5: less than one a device.
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
def test_what_is_offered_is_not_set_yet(planned, fields, mend):
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


def test_what_a_run_could_not_measure_is_refused():
    config = shrink(shipped("wgan_gp"))
    config.evaluation.best = "kid_efflite0"
    config.evaluation.metrics = ()
    with pytest.raises(ConfigError, match=r"config\.evaluation\.best='kid_efflite0'"):
        dry_run.dry_run(config)


def test_what_no_accelerator_holds_is_refused(planned, monkeypatch):
    (cost,) = planned.phases
    monkeypatch.setattr(dry_run, "plan", lambda *_, **__: planned)
    assert "| h100 |" in dry_run.dry_run(None)
    huge = planned._replace(phases=(cost._replace(peak_bytes=10**13),))
    monkeypatch.setattr(dry_run, "plan", lambda *_, **__: huge)
    with pytest.raises(ConfigError, match=r"config.batch_size=8 .* needs 9313.2 GiB on each"):
        dry_run.dry_run(None)


def test_what_is_asked_wrongly():
    assert jax.device_count() == 8  # So JAX has begun, alone or after other tests.
    config = shrink(shipped("wgan_gp"))
    with pytest.raises(UserError, match=r"--accelerator=h900: there are v4, v5e"):
        dry_run.dry_run(config, accelerator="h900")
    with pytest.raises(UserError, match=r"--devices=64: JAX has begun with 8"):
        dry_run.dry_run(config, devices=64)
    with pytest.raises(ConfigError, match=r"config.batch_size=8: 5 devices cannot share it"):
        dry_run.dry_run(config, devices=5)


def test_what_a_run_would_refuse():
    """And what a dry run would count too little of."""
    assert jax.device_count() == 8
    config = shrink(shipped("wgan_gp"))
    config.accumulate = 2
    with pytest.raises(ConfigError, match=r"8 devices cannot share config.accumulate=2 micro-"):
        dry_run.dry_run(config, devices=8)
    config.accumulate, config.num_seeds = 1, 4
    with pytest.raises(ConfigError, match=r"config.num_seeds=4: a dry run is of one seed"):
        dry_run.dry_run(config, devices=8)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        (name, count)
        for name, accelerator in ACCELERATORS.items()
        for count in accelerator.topologies
        if count <= 16
    ],
)
def test_slices_of_tpus_have_as_many_devices(name, count, monkeypatch):
    """One a chip, and a single one where that is asked for; by libtpu where it is installed."""
    if importlib.util.find_spec("libtpu"):
        monkeypatch.delenv("TPU_ACCELERATOR_TYPE", raising=False)  # The last one's.
        found, _ = devices.devices_to_compile_for(count, name)
        assert len(found) == count
        return
    asked = {}

    def describe(platform, topology_name, **more):
        asked.update(more, name=topology_name)
        return SimpleNamespace(devices=jax.devices()[:1])

    monkeypatch.setattr("jax.experimental.topologies.get_topology_desc", describe)
    devices._tpus(name, ACCELERATORS[name].topologies[count])
    assert asked["name"].startswith(f"{name}:")
    assert (asked.get("chips_per_host_bounds") == [1, 1, 1]) == (count == 1)
    assert (asked.get("chip_config_name") == "megacore") == (name == "v4")
