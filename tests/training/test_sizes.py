"""Sizes that no memory holds are refused before anything of them is allocated or written."""

import pytest

from ganjax.analysis.trained import Trained
from ganjax.config import ConfigError
from ganjax.errors import UserError
from ganjax.runtime import memory
from ganjax.runtime.limits import LARGEST
from ganjax.training import schema, setup, workdir


def set_fields(config, fields):
    for name, value in fields.items():
        *groups, last = name.split(".")
        group = config
        for each in groups:
            group = group[each]
        group[last] = value


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"latent_dim": LARGEST}, r"moments and averages take [\d,.]+ GiB on a device, whose memo"),
        ({"generator.widths": (65_536,) * 2}, r"config.generator and config.discriminator: param"),
        ({"batch_size": 2**31 - 8}, r"config.batch_size=2147483640: 2 batches of reals and the f"),
        (
            {"n_critic": 60_000, "batch_size": 2**20},
            r"config.batch_size=1048576: 60000 batches of .* a smaller n_critic",
        ),
        ({"n_critic": 10**9}, r"config.n_critic=1000000000: should be less than or equal to 65536"),
        (
            {"steps_per_dispatch": 60_000, "batch_size": 2**20, "total_steps": 50_000}
            | dict.fromkeys(("sample_every", "eval_every", "checkpoint_every"), 40_000),
            r"in each of 40000 steps, and the fakes .* a smaller steps_per_dispatch",
        ),
        ({"evaluation.log_likelihood": 10**9}, r"log_likelihood=1000000000: the samples and the"),
        ({"num_seeds": LARGEST}, r"config.num_seeds=2147483647: parameters, .*: set fewer seeds"),
        ({"sample_grid": (LARGEST,) * 2}, r"config.sample_grid=\(2147483647, 2147483647\): the sa"),
        ({"num_seeds": 10**9 * 10}, r"config.num_seeds=10000000000: should be less than or equal"),
        ({"total_steps": 10**30}, r"config.total_steps=1000.*: should be less than or equal to 21"),
        ({"image_size": 10**9}, r"config.image_size=1000000000: should be less than or equal to 1"),
        ({"total_epochs": 1e300}, r"config.total_epochs=1e\+300: these are .* steps, and a run ha"),
    ],
)
def test_a_size_that_no_memory_holds_is_refused(tiny, tmp_path, fields, message):
    set_fields(tiny, fields)
    with pytest.raises(ConfigError, match=message):
        setup.prepare(tiny, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_says_that_it_has_endless_seeds_is_not_sampled(tiny, tmp_path):
    tiny.num_seeds = LARGEST
    workdir.claim(tmp_path, schema.load(tiny).config)
    (tmp_path / "checkpoints" / "2").mkdir(parents=True)
    with pytest.raises(UserError, match=r"states of config.num_seeds=2147483647 seeds take .* GiB"):
        Trained(tmp_path)


def test_a_cadence_of_more_epochs_than_a_run_has_comes_at_its_end(tiny, tmp_path):
    tiny.eval_every_epochs = 1e300
    run = setup.prepare(tiny, tmp_path / "run")
    assert not any(run.cadences.eval.is_due(step) for step in range(1, 100))


def test_what_a_run_holds_is_counted_by_hand(tiny, tmp_path, monkeypatch):
    """The eight devices of a test share the memory; each holds a whole state."""
    run = setup.prepare(tiny, tmp_path / "run")
    generator, discriminator = (network.trainable for network in run.networks)
    floats = 4 * (4 * generator + 3 * discriminator)  # Parameters, two moments; G's average.
    tiny.sample_grid = (1, 1)
    monkeypatch.setattr(memory, "total", lambda: 8 * (floats - 1))
    with pytest.raises(ConfigError, match="moments and averages"):
        setup.prepare(tiny, tmp_path / "again")
    # The counts of updates and BatchNorm's averages are the rest.
    monkeypatch.setattr(memory, "total", lambda: 8 * (floats + 1_000))
    setup.prepare(tiny, tmp_path / "again")
