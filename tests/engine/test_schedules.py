"""Numbers that change with the reals seen: their values, in configs, by flags and in a step."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_dcgan import ADA, build, tiny_dcgan, train_steps

from ganjax.algorithms.optimisers import AdamFields, EmaFields, ema_decay
from ganjax.config import ConfigError, defaults, take_kinds
from ganjax.engine.schedules import Reals, Schedule, schedule
from ganjax.objectives.penalties import PenaltyFields
from ganjax.training import continuing, schema
from ganjax.training.history import History
from ganjax.training.start import Start


def test_a_schedule_goes_from_start_to_end_over_its_images_and_stays():
    images = np.array([0.0, 250.0, 500.0, 1_000.0, 5_000.0])
    done = np.minimum(images / 1_000, 1)
    for form, share in (("linear", done), ("cosine", (1 - np.cos(np.pi * done)) / 2)):
        fields = Schedule(**schedule(start=2.0, end=0.5, over=1_000, form=form))
        np.testing.assert_allclose(fields.at(images), 2.0 - 1.5 * share, rtol=1e-6)


def test_reals_are_counted_over_phases_and_by_updates():
    reals = Reals(per_step=12, first_step=100, before=1_000)
    assert float(reals.at(102)) == 1_024
    assert float(reals.of_updates(3).at(6)) == 1_024  # Three updates of D a step.


def scheduled(**fields):
    """Returns the smallest DCGAN with these fields, by the way that flags take."""
    config = tiny_dcgan()
    take_kinds(config, fields)
    config.update_from_flattened_dict(fields)
    return config


def test_a_flag_makes_a_schedule_of_a_number_and_a_number_of_a_schedule():
    config = scheduled(**{"penalty.r1.end": 0.5, "penalty.r1.over": 100})
    assert config.penalty.r1.to_dict() == schedule(start=0.0, end=0.5, over=100)
    take_kinds(config, {"penalty.r1": "3.0"})
    config.penalty.r1 = 3.0
    assert schema.load(config).config.penalty == PenaltyFields(r1=3.0)


def test_a_sweep_takes_a_schedule_as_a_value():
    value = schedule(start=1e-3, end=1e-4, over=64, form="linear")
    config, _ = schema.load(scheduled(**{"g_optimiser.learning_rate": value}))
    assert config.g_optimiser.learning_rate.model_dump() == value
    assert json.loads(config.model_dump_json())["g_optimiser"]["learning_rate"] == value


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"penalty.r1.end": 1.0}, r"config.penalty.r1.over=0: should be greater than 0$"),
        (
            {"d_optimiser.b2": schedule(start=0.9, end=1.0, over=9)},
            r"config.d_optimiser.b2.end=1.0: should be less than 1$",
        ),
        (
            {"ema.half_life": {"start": 0.0, "end": 9.0, "over": 9, "from": "cosine"}},
            r"config.ema.half_life.from='cosine': no such field; did you mean form\?",
        ),
        ({"g_optimiser.learning_rate": -1.0}, r"config.g_optimiser.learning_rate=-1.0: should be"),
        (
            {
                "g_optimiser.learning_rate": schedule(start=1e-3, end=0.0, over=9),
                "g_optimiser.decay": "linear",
            },
            r"config.g_optimiser.decay='linear': config.g_optimiser.learning_rate is a schedule",
        ),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_in_one_line(fields, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build(scheduled(**fields))
    assert "\n" not in str(caught.value)


def test_adam_follows_its_schedules_as_if_set_anew_before_each_update():
    """In float64, with the bias correction of each update's own b2, as in PyTorch."""
    fields = AdamFields(
        learning_rate=schedule(start=1e-2, end=1e-3, over=40),
        b1=0.0,
        b2=schedule(start=0.9, end=0.99, over=40),
    )
    gradients = np.random.RandomState(0).randn(6, 3)
    with jax.enable_x64(True):
        tx, params = fields.build(6, Reals(10)), jnp.ones(3)
        state = tx.init(params)
        update, expected, square = jax.jit(tx.update), np.ones(3), np.zeros(3)
        for i, gradient in enumerate(gradients):
            updates, state = update(jnp.asarray(gradient), state, params)
            params = optax.apply_updates(params, updates)
            share = (1 - np.cos(np.pi * min(i * 10 / 40, 1))) / 2
            rate, b2 = 1e-2 - 9e-3 * share, 0.9 + 0.09 * share
            square = b2 * square + (1 - b2) * gradient**2
            corrected = np.sqrt(square / (1 - b2 ** (i + 1)))
            expected = expected - rate * gradient / (corrected + 1e-8)
            np.testing.assert_allclose(params, expected, rtol=1e-6)  # Schedules are in float32.
    plain = optax.adam(lambda count: 1e-2, 0.0, 0.9).init(params)
    assert jax.tree.structure(state) == jax.tree.structure(plain)


def test_an_average_whose_half_life_starts_at_0_begins_as_the_generator():
    fields = EmaFields(half_life=schedule(start=0.0, end=80.0, over=40), warm_up=False)
    decay = ema_decay(fields, Reals(10))
    assert float(decay(0)) == 0
    np.testing.assert_allclose(decay(2), 0.5 ** (10 / 40), rtol=1e-6)
    np.testing.assert_allclose(decay(9), 0.5 ** (10 / 80), rtol=1e-6)


@pytest.mark.slow
def test_a_step_reports_every_scheduled_number_and_constant_schedules_change_nothing():
    """Of batches of 8: two updates of D in a step see 16 reals."""
    constant = {
        "g_optimiser.learning_rate": 2e-4,
        "g_optimiser.b2": 0.9,
        "d_optimiser.learning_rate": 2e-4,
        "d_optimiser.b2": 0.9,
        "penalty.r1": 0.5,
        "ema.half_life": 100.0,
    }
    others = {
        "discriminator.batch_norm": "none",
        "ema.decay": 0.0,
        "n_critic": 2,
        "augment": {**ADA, "families": ("blit",), "controller": {"name": "fixed", "p": 0.5}},
    }
    numbers = list(train_steps(build(scheduled(**constant, **others)), 2))
    same = {n: schedule(start=value, end=value, over=32) for n, value in constant.items()}
    ramp = {"name": "fixed", "p": schedule(start=0.5, end=0.5, over=32, form="linear")}
    others["augment"]["controller"] = ramp
    steps = list(train_steps(build(scheduled(**same, **others)), 2))
    named = {"g_learning_rate", "g_b2", "d_learning_rate", "d_b2", "r1_weight", "ema_half_life"}
    assert set(steps[1][1]) - set(numbers[1][1]) == named
    assert steps[1][1]["r1_weight"] == 0.5
    for one, other in zip(numbers, steps, strict=True):
        pairs = zip(jax.tree.leaves(one[0].ema), jax.tree.leaves(other[0].ema), strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_what_changes_in_a_step_is_told_where_it_stands():
    ramp = schedule(start=0.0, end=1.0, over=32, form="linear")
    algorithm = build(
        scheduled(
            **{
                "penalty": defaults(PenaltyFields, r1=ramp),
                "discriminator.batch_norm": "none",
                "augment": {**ADA, "controller": {"name": "fixed", "p": ramp}},
            }
        )
    )
    assert float(algorithm.schedules["r1_weight"](3)) == 3 * 8 / 32
    assert set(algorithm.last_values) == {"r1_weight", "aug_p"}
    assert algorithm.meanings["r1_weight"].text.startswith("config.penalty.r1 in this step")


def test_a_run_goes_on_with_another_schedule_or_number_only_if_it_is_named(tmp_path):
    value = schedule(start=1e-3, end=1e-4, over=64)
    before, _ = schema.load(scheduled(**{"g_optimiser.learning_rate": value}))
    other, _ = schema.load(scheduled(**{"g_optimiser.learning_rate": {**value, "over": 80}}))
    number, _ = schema.load(scheduled())
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    name = "g_optimiser.learning_rate"
    for old, new, field in (
        (before, other, f"{name}.over"),
        (before, number, name),
        (number, before, name),
    ):
        message = rf"another config.{field} .*--allow_change={field},"
        with pytest.raises(ConfigError, match=message) as refused:
            continuing.turn(tmp_path, old, new, History(), Start())
        given = r"--\S+.start=0.001 --\S+.end=0.0001 --\S+.over=64 --\S+.form=cosine, or"
        if old is before and new is number:
            assert re.search(f"give {given}", str(refused.value))
        taken = continuing.turn(tmp_path, old, new, History(), Start(allow_change=(field,)))
        assert taken is not None
        assert taken.changed == [field]
