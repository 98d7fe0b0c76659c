"""Lengths in epochs, against steps counted by hand."""

import pytest
from small import shipped

from ganjax.config import ConfigError
from ganjax.engine.phases import Phase
from ganjax.training import epochs, schema
from ganjax.training.epochs import Epochs

# 4 steps an epoch and then 2, with half an epoch at the end of the first phase.
GROWING = Epochs(images=100, real_batches=3, phases=(Phase(0, 10, 8, 4), Phase(10, 30, 16, 8)))


def settled(config, images):
    return epochs.settle(schema.load(config), lambda: images)


@pytest.mark.parametrize(("total", "steps"), [(10, 460), (400, 18_400), (0.5, 23), (1e-9, 1)])
def test_the_birds_have_46_steps_an_epoch(total, steps):
    config = shipped("ada", "caltech_birds2011")
    config.total_epochs = total
    config, algorithm = settled(config, 5_994)
    assert config.total_steps == steps
    assert algorithm.phases[-1].stop == steps
    whole = Epochs.of(algorithm, 5_994)
    assert whole.at(steps) == steps / 46
    # The 106 images that fill no batch begin the next epoch.
    assert whole.passes(steps) == pytest.approx(steps * 128 / 5_994)


@pytest.mark.parametrize(("reals", "steps"), [("fresh", 28), ("shared", 140)])
def test_reals_of_all_critic_updates_count_towards_an_epoch(reals, steps):
    config = shipped("wgan_gp")
    config.batch_size = 32
    config.n_critic, config.critic_reals, config.total_epochs = 5, reals, 3
    assert settled(config, 4_500)[0].total_steps == 3 * steps


def test_images_are_counted_only_where_a_length_is_in_epochs():
    config = shipped("dcgan")
    found, _ = epochs.settle(schema.load(config), lambda: 1 / 0)
    assert found.total_steps == config.total_steps


def test_each_phase_of_a_growing_run_has_epochs_of_its_own():
    """4x4 and 8x8 take 375 and 750 steps of 140 an epoch, 16x16 has 281 an epoch."""
    config = shipped("progan")
    config.growth.update(fade_reals=12_000, stabilise_reals=12_000)
    config.total_epochs = 12
    config, algorithm = settled(config, 4_500)
    rest = 12 - (375 + 750) / 140
    assert config.total_steps == 1_125 + round(rest * 281)
    assert [phase.stop for phase in algorithm.phases] == [375, 1_125, config.total_steps]
    config = shipped("progan")
    config.total_epochs = 2
    assert settled(config, 4_500)[0].total_steps == 280


def test_epochs_add_up_over_phases():
    assert [GROWING.at(step) for step in (0, 4, 10, 12, 13)] == [0, 1, 2.5, 3.5, 4]
    assert [GROWING.step_at(n) for n in (1, 2.5, 3.5, 99)] == [4, 10, 12, 203]
    assert GROWING.passes(10) == 2.4


def test_what_comes_every_epoch_is_counted_from_the_first_step_of_a_phase():
    config = shipped("dcgan")
    config.update({"eval_every_epochs": 1, "sample_every_epochs": 1.5, "log_every": 7})
    found = GROWING.cadences(schema.load(config).config)
    steps = range(1, 19)
    assert [step for step in steps if found.eval.is_due(step)] == [4, 8, 12, 14, 16, 18]
    assert [step for step in steps if found.sample.is_due(step)] == [6, 13, 16]
    assert [step for step in steps if found.log.is_due(step)] == [7, 14]
    for cadence in found:
        for step in steps:
            every = cadence.of(GROWING.phases[step > 10])
            until = every.until(step)
            assert until == every.steps or not cadence.is_due(step)
            assert cadence.of(GROWING.phases[0]).steps >= 1


def test_no_epoch_is_waited_for_that_has_no_whole_step():
    """Of twenty images a step of 64 reads each three times: a run in steps is told 3.2 passes."""
    config = shipped("dcgan")
    config.batch_size, config.eval_every_epochs = 64, 2.0
    few = Epochs.of(settled(config, 20)[1], 20)
    assert few.at(1) == few.passes(1) == 3.2
    message = (
        r"config.eval_every_epochs=2: a train step at 32x32 reads 64 images \(config.batch_size=64 "
        r"x 1\) and there are 20, .* set a smaller batch, or .* in steps by config.eval_every$"
    )
    with pytest.raises(ConfigError, match=message):
        few.cadences(schema.load(config).config)
    config.total_epochs = 5
    with pytest.raises(ConfigError, match=r"config.total_epochs=5: .* by config.total_steps$"):
        settled(config, 20)


def test_phases_that_depend_on_the_length_take_it_in_steps(tiny):
    tiny.algorithm, tiny.total_epochs = "tests.two_phases", 3.0
    with pytest.raises(ConfigError, match=r"config.total_epochs=3: the phases of tests.two_phases"):
        settled(tiny, 100)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # A flag in steps goes before the file's epochs, and epochs before steps otherwise.
        ({"total_steps"}, {"total_steps": 9, "total_epochs": 0, "eval_every_epochs": 2}),
        ({"total_epochs"}, {"total_steps": 9, "total_epochs": 3, "eval_every_epochs": 2}),
        ({"eval_every", "batch_size"}, {"total_steps": 9, "total_epochs": 3, "eval_every": 5}),
    ],
)
def test_of_a_pair_the_one_that_is_given_by_flag_wins(given, expected):
    config = {"total_steps": 9, "total_epochs": 3.0, "eval_every": 5, "eval_every_epochs": 2.0}
    epochs.prefer(config, given)
    assert {name: config[name] for name in expected} == expected
    assert (config["eval_every_epochs"] == 0) == ("eval_every" in given)


def test_a_length_that_is_given_twice_is_refused():
    with pytest.raises(ConfigError, match=r"config.total_epochs=3: .* config.total_steps=9;"):
        epochs.prefer({"total_steps": 9, "total_epochs": 3.0}, ["total_epochs", "total_steps"])
