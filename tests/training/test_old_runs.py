"""Runs of older versions: they load, sample, and go on as they would have."""

import json
import lzma
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from small import extract

import ganjax
from ganjax.algorithms.optimisers import EmaFields, ema_decay
from ganjax.config import ConfigError
from ganjax.engine.schedules import Reals
from ganjax.engine.state import Ema, GanState, Player
from ganjax.training import migrations, workdir
from ganjax.training.loop import train
from ganjax.training.writer import read_metrics

pytestmark = pytest.mark.usefixtures("native_convolutions")

RUNS = ROOT / "tests" / "runs_of_format_1"
with np.load(RUNS / "expected.npz") as arrays:
    EXPECTED = {name: arrays[name] for name in arrays}
with lzma.open(RUNS / "configs.json.xz") as file:
    CONFIGS = json.load(file)


@pytest.fixture
def old_run(tmp_path):
    """Unpacks one of the runs, by its name."""

    def unpack(name):
        with tarfile.open(RUNS / f"{name}.tar.xz") as archive:
            extract(archive, tmp_path)
        return tmp_path / name

    return unpack


@pytest.mark.parametrize("name", ["finished", "half_finished", "growing"])
def test_a_run_of_format_1_is_sampled_as_before(old_run, name):
    made = ganjax.load(old_run(name)).sample(4).astype(int)
    # One level where a pixel is rounded the other way.
    np.testing.assert_allclose(made, EXPECTED[f"{name}_samples"].astype(int), atol=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["half_finished", "growing"])
def test_a_run_of_format_1_goes_on_as_before(old_run, name):
    folder = old_run(name)
    content = json.loads((folder / workdir.CONFIG).read_text())
    assert migrations.KEY not in content
    # A field without effect, which older versions let a run set.
    content["data"]["subset_seed"] = 7
    (folder / workdir.CONFIG).write_text(json.dumps(content))
    train(workdir.read_fields(folder), folder)
    assert json.loads((folder / workdir.CONFIG).read_text())[migrations.KEY] == migrations.FORMAT
    rows = {row["step"]: row for row in read_metrics(folder / "metrics.jsonl")}
    assert sorted(rows) == list(range(1, 13))
    losses = [[rows[step]["d_loss"], rows[step]["g_loss"]] for step in (7, 8, 9)]
    np.testing.assert_allclose(losses, EXPECTED[f"{name}_losses"], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_earlier_versions_wrote_of_every_shipped_config_still_loads(name, tmp_path):
    (tmp_path / workdir.CONFIG).write_text(json.dumps(CONFIGS[name]))
    config, module = workdir.read(tmp_path)
    module.build(config)


def test_a_finished_run_of_format_1_is_finished(old_run, capsys):
    folder = old_run("finished")
    train(workdir.read_fields(folder), folder)
    assert "is finished at step 8" in capsys.readouterr().out


def test_an_old_run_keeps_its_average_of_the_generator(old_run):
    """Its decay was constant from the first step on."""
    fields = workdir.read_fields(old_run("finished"))
    assert fields["ema"] == {"decay": 0.99, "half_life": 0, "warm_up": False}


@pytest.mark.parametrize("members", [1, 2])
def test_averages_in_an_old_checkpoint_are_taken_as_they_are(members):
    """Until format 3 BatchNorm's averages had no weights, which are now 1."""

    def state(statistics, number):
        old = {"BatchNorm_0": {"mean": number, "var": number}, "own": {"weight": number}}
        player = Player({"weight": number}, (), {"batch_stats": old, "spectral": {}})
        if statistics == "new":
            player.vars["batch_stats"]["BatchNorm_0"]["weight"] = number
        d = player.replace(vars={})
        return GanState(number, player, d, Ema(player.params, dict(player.vars)), ())

    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shape = jax.ShapeDtypeStruct((), np.float32, sharding=device)
    new, old, held = state("new", shape), state("old", shape), state("old", jnp.array(3.0))
    if members > 1:
        new, old, held = (new,) * members, (old,) * members, (held,) * members
    assert migrations.as_stored(new, 2) == old
    assert migrations.as_stored(new, 3) is new
    filled = migrations.completed(held, new, 2)
    assert jax.tree.structure(filled) == jax.tree.structure(new)
    first = filled if members == 1 else filled[1]
    for player in (first.g, first.ema):
        assert player.vars["batch_stats"]["BatchNorm_0"] == {"mean": 3, "var": 3, "weight": 1}
        assert player.vars["batch_stats"]["own"] == {"weight": 3}


def test_fields_that_did_nothing_are_taken_away_and_others_kept():
    old = {
        "algorithm": "gan",
        "generator": {"network": "resnet", "first_norm": "channel", "slope": 0.0},
        "discriminator": {"network": "dcgan", "final_size": 4, "slope": 0.2},
        "batch_norm": {"scale": True},
    }
    assert migrations.upgraded(old, "config.json") == {
        "algorithm": "gan",
        "generator": {"network": "resnet", "slope": 0.0},
        "discriminator": {"network": "dcgan", "slope": 0.2},
        "batch_norm": {"scale": True},
    }
    assert "batch_norm" not in migrations.upgraded(old | {"algorithm": "progan"}, "config.json")
    folder, records = ({"source": f"{kind}:x", "max_skipped": 4} for kind in ("folder", "records"))
    assert migrations.upgraded(old | {"data": folder}, "config.json")["data"] == folder
    assert "max_skipped" not in migrations.upgraded(old | {"data": records}, "config.json")["data"]
    other = old | {"discriminator": {"network": "resnet", "final_size": 8}}
    assert migrations.upgraded(other, "config.json")["discriminator"] == other["discriminator"]


def test_a_half_life_that_ramped_up_is_the_schedule_that_it_was():
    """It was at most a share of the reals seen."""
    old = {"ema": {"decay": 0.0, "half_life": 2_000, "ramp_up": 0.05, "warm_up": False}}
    ema = migrations.upgraded({**old, "format": 3}, "config.json")["ema"]
    assert set(ema) == {"decay", "half_life", "warm_up"}
    decay = ema_decay(EmaFields(**ema), Reals(50))
    for step in (1, 100, 799, 801, 5_000):
        half_life = min(2_000, 0.05 * 50 * step)
        np.testing.assert_allclose(decay(step), 0.5 ** (50 / half_life), rtol=1e-5)
    plain = {"ema": {"decay": 0.9, "half_life": 0, "ramp_up": 0.0, "warm_up": True}, "format": 3}
    assert migrations.upgraded(plain, "")["ema"] == {"decay": 0.9, "half_life": 0, "warm_up": True}


@pytest.mark.parametrize("number", [0, migrations.FORMAT + 1, "2", True, None])
def test_a_run_of_an_unknown_format_is_refused_in_one_line(old_run, number):
    folder = old_run("finished")
    content = json.loads((folder / workdir.CONFIG).read_text())
    (folder / workdir.CONFIG).write_text(json.dumps({migrations.KEY: number} | content))
    with pytest.raises(ConfigError, match=r"config.json: format=.*reads runs of formats 1 to 4"):
        ganjax.load(folder).sample(1)
