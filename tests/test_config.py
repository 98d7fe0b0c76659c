"""Kinds of parts that flags choose, with their own defaults; fields that have no effect."""

import itertools
import re
import sys
from functools import reduce
from typing import get_args

import pytest
from absl import flags
from conftest import ROOT
from small import SHIPPED, shipped

from ganjax import shared_flags
from ganjax.algorithms.optimisers import AnyOptimiser
from ganjax.augment import AnyPolicy
from ganjax.augment.controllers import AnyController
from ganjax.config import ConfigError, defaults, idle, refuse_idle
from ganjax.engine.schedules import schedule
from ganjax.errors import UserError
from ganjax.models import AnyDiscriminator, AnyGenerator
from ganjax.training import schema, workdir
from ganjax.training.setup import prepare


def kinds_of(union, tag):
    """The groups of fields of a union, by what their tag says."""
    found = get_args(get_args(union)[0])
    return {kind.model_fields[tag].default: kind for kind in found}


# ml_collections loads config files so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

GENERATORS = kinds_of(AnyGenerator, "network")
DISCRIMINATORS = kinds_of(AnyDiscriminator, "network")
POLICIES = kinds_of(AnyPolicy, "policy")
OPTIMISERS = kinds_of(AnyOptimiser, "name")
CONTROLLERS = kinds_of(AnyController, "name")


@pytest.fixture
def parse(monkeypatch):
    """Returns the config of --config=configs/<name>.py with further flags, as a command has it."""

    def parsed(name, *fields):
        argv = ["main", f"--config={ROOT}/configs/{name}.py", *(f"--config.{f}" for f in fields)]
        monkeypatch.setattr(sys, "argv", argv)
        values = flags.FlagValues()
        shared_flags.define_config(values)
        values(argv)
        return values.config

    return parsed


def refusal(config):
    """Why a config is refused, or "" if it can be trained."""
    try:
        loaded, module = schema.load(config)
        module.build(loaded)
    except ConfigError as error:
        return str(error)
    return ""


def expected_refusal(name, generator, discriminator):
    """Why the networks of two kinds, each as it is by default, do not fit a config."""
    for player, kind in (("generator", generator), ("discriminator", discriminator)):
        if kind == "maxout":
            return f"config.conditioning.{player}='none': the network 'maxout' takes 'one_hot'"
    return ""


@pytest.mark.parametrize("name", ["wgan_gp", "dcgan"])
def test_networks_of_any_two_kinds_are_trained_or_refused_for_a_true_reason(parse, name):
    for pair in itertools.product(GENERATORS, DISCRIMINATORS):
        generator, discriminator = pair
        config = parse(
            name, f"generator.network={generator}", f"discriminator.network={discriminator}"
        )
        if generator != "dcgan":
            assert config.generator == defaults(GENERATORS[generator])
        if discriminator != "dcgan":
            kind = DISCRIMINATORS[discriminator]
            kept = name == "wgan_gp" and "batch_norm" in kind.model_fields
            fields = {"batch_norm": "none"} if kept else {}
            assert config.discriminator == defaults(kind, **fields)
        found, expected = refusal(config), expected_refusal(name, *pair)
        assert found.startswith(expected), pair
        assert bool(found) == bool(expected), found


@pytest.mark.parametrize("name", ["wgan_gp", "dcgan"])
def test_optimisers_of_any_two_kinds_are_trained_at_their_own_defaults(parse, name):
    for g, d in itertools.product(OPTIMISERS, OPTIMISERS):
        config = parse(name, f"g_optimiser.name={g}", f"d_optimiser.name={d}")
        if g != "adam":
            assert config.g_optimiser == defaults(OPTIMISERS[g])
        if d != "adam":
            assert config.d_optimiser == defaults(OPTIMISERS[d])
        assert not refusal(config)


@pytest.mark.parametrize("name", ["wgan_gp", "dcgan"])
def test_a_policy_takes_any_controller_unless_scores_have_no_sign(parse, name):
    for policy, controller in itertools.product(POLICIES.keys() - {"none"}, CONTROLLERS):
        by_default = parse(name, f"augment.policy={policy}").augment
        assert by_default == defaults(POLICIES[policy])
        # Flags may come in any order.
        config = parse(name, f"augment.controller.name={controller}", f"augment.policy={policy}")
        if by_default.controller.name != controller:
            assert config.augment.controller == defaults(CONTROLLERS[controller])
        watches = name == "wgan_gp" and controller != "fixed"
        reason = f"config.augment.controller.name='{controller}': it watches the sign of D's"
        assert refusal(config).startswith(reason) if watches else not refusal(config)


def test_a_flag_sets_fields_of_the_kind_that_another_flag_takes(parse):
    config = parse(
        "wgan_gp",
        "discriminator.dropout=0.3",
        "discriminator.network=mlp",
        "generator.network=resnet",
        "generator.output_bias=False",
        "augment.policy=ada",
        "augment.families=('blit',)",
        "augment.controller.name=fixed",
        "augment.controller.p=0.5",
    )
    assert config.discriminator == defaults(DISCRIMINATORS["mlp"], dropout=0.3)
    assert config.generator == defaults(GENERATORS["resnet"], output_bias=False)
    fixed = {"name": "fixed", "p": 0.5}
    assert config.augment == defaults(POLICIES["ada"], families=("blit",), controller=fixed)
    assert not refusal(config)


def test_a_network_of_another_kind_keeps_what_is_set_of_normalisation(parse):
    resnet, mlp = DISCRIMINATORS["resnet"], DISCRIMINATORS["mlp"]
    config = parse("wgan_gp", "discriminator.network=resnet")
    assert config.discriminator == defaults(resnet, batch_norm="none")
    assert not refusal(config)
    config = parse("wgan_gp", "discriminator.network=resnet", "discriminator.batch_norm=all")
    assert config.discriminator.batch_norm == "all"
    config = parse("sngan", "discriminator.network=mlp")
    assert config.discriminator == defaults(mlp, spectral_norm=True)
    assert parse("dcgan", "discriminator.network=mlp").discriminator == defaults(mlp)


@pytest.mark.parametrize("text", ["kid,fid", "kid, fid", "('kid', 'fid')"])
def test_commas_separate_the_names_that_a_flag_gives(parse, text):
    config = parse("wgan_gp", f"evaluation.metrics={text}", "evaluation.features=digits")
    loaded, _ = schema.load(config)
    assert loaded.evaluation.metrics == ("kid", "fid")


def test_a_flag_without_a_value_gives_no_names(parse):
    assert (
        schema.load(parse("ada", "evaluation.metrics=", "evaluation.best=none"))[
            0
        ].evaluation.metrics
        == ()
    )


def test_commas_separate_the_families_of_an_augmentation(parse):
    def augmented(families):
        return parse("dcgan", "augment.policy=ada", f"augment.families={families}")

    loaded, _ = schema.load(augmented("blit,colour"))
    assert loaded.augment.families == ("blit", "colour")
    reason = refusal(augmented("blit,hue"))
    assert reason.startswith("config.augment.families.1='hue'")


def test_a_flag_that_names_the_kind_that_is_there_changes_nothing(parse):
    plain = parse("wgan_gp")
    assert parse("wgan_gp", "discriminator.network=dcgan", "g_optimiser.name=adam") == plain


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            ["generator.network=mlp", "generator.upsample=nearest"],
            r"--config.generator.upsample=nearest: config.generator has no field upsample; there "
            r"are batch_norm, init_stddev, network",
        ),
        (
            ["d_optimiser.name=rmsprop", "d_optimiser.b1=0.5"],
            r"--config.d_optimiser.b1=0.5: config.d_optimiser has no field b1; "
            r"there are b2, decay, eps",
        ),
        (
            ["augment.controller.p=0.5"],
            r"--config.augment.controller.p=0.5: config.augment has no field controller; there are "
            "policy",
        ),
        (
            ["discriminator=mlp"],
            r"--config.discriminator=mlp: it is a group of fields; did you mean "
            r"--config.discriminator.network=mlp\?",
        ),
        (["penalty=10"], r"--config.penalty=10: it is a group .* set its fields, .*weight"),
    ],
)
def test_a_flag_for_a_field_of_another_kind_is_refused_in_one_line(parse, fields, message):
    with pytest.raises(UserError, match=message) as caught:
        parse("wgan_gp", *fields)
    assert "\n" not in str(caught.value)


def test_a_flag_for_a_kind_that_does_not_exist_is_refused(parse):
    config = parse("wgan_gp", "generator.network=dcgn")
    assert refusal(config).startswith("config.generator.network='dcgn': there are dcgan, resnet")


@pytest.mark.parametrize(("name", "preset"), SHIPPED)
def test_no_shipped_config_sets_a_field_that_is_refused_for_its_lack_of_effect(name, preset):
    refuse_idle(schema.load(shipped(name, preset)).config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"conditioning.embedding_dim": 3},
            r"config.conditioning.embedding_dim=3: no network takes labels by 'embedding'; set .*, "
            r"or leave it at 10",
        ),
        (
            {"data.subset_seed": 1},
            r"config.data.subset_seed=1: all images are used; set config.data.num_examples or .*, "
            r"or leave it at 0",
        ),
        (
            {"evaluation.features": "inception"},
            r"config.evaluation.features='inception': no metric looks through a network; name one",
        ),
        (
            {"evaluation.metrics": ("swd",), "evaluation.weights": "w.pth"},
            r"config.evaluation.weights='w.pth': no metric looks through a network; name one in",
        ),
    ],
)
def test_a_new_run_that_sets_a_field_without_effect_is_refused_in_one_line(
    changes, message, tmp_path
):
    config = shipped("wgan_gp")
    config.update_from_flattened_dict(changes)
    with pytest.raises(ConfigError, match=message) as caught:
        prepare(config, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"conditioning.embedding_stddev": 1.0},
        {"critic_reals": "shared", "n_critic": 1},
        {"discriminator.dropout_after": "all_but_first"},
        {"evaluation.num_samples": 7},
        {"batch_norm.epsilon": 1e-3, "batch_norm.scale": False, "generator.batch_norm": False},
        {"batch_norm.scale": False, "generator.spectral_norm": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_field_that_ablations_leave_set_may_lack_effect(changes):
    config = shipped("wgan_gp")
    config.update_from_flattened_dict(changes)
    checked = schema.load(config).config
    refuse_idle(checked)
    assert f"config.{next(iter(changes))}" in idle(checked)


def test_a_run_goes_on_whatever_fields_without_effect_say(tmp_path, monkeypatch):
    monkeypatch.setattr(workdir.checkpoint, "exist", lambda folder: (folder / "samples").exists())
    config = shipped("wgan_gp")
    workdir.claim(tmp_path, schema.load(config).config)
    config.discriminator.dropout_after = "all_but_first"
    workdir.claim(tmp_path, schema.load(config).config)
    config.discriminator.dropout = 0.3
    with pytest.raises(ConfigError, match=r"another config.discriminator.dropout \("):
        workdir.claim(tmp_path, schema.load(config).config)


@pytest.mark.parametrize("value", ["auto", "5", "often", "0", "2.5"])
def test_a_flag_gives_a_number_of_steps_in_a_dispatch_or_auto(parse, value):
    config = parse("wgan_gp", f"steps_per_dispatch={value}")
    assert str(config.steps_per_dispatch) == value
    told = "" if value in ("auto", "5") else "should be a whole number from 1 to 65536, or 'auto'"
    assert refusal(config).partition(": ")[2] == told


FALLING = schedule(start=1e-3, end=1e-4, over=100)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("g_optimiser.learning_rate", 2e-4, ""),
        ("penalty.r1", FALLING, ""),
        ("image_size", (32, 32), ""),
        ("evaluation.metrics", "kid,fid", ""),
        ("discriminator", {"network": "mlp"}, ""),
        ("batch_size", "8", "config.batch_size='8': should be a valid integer"),
        ("data.source", FALLING, "config.data.source={.*}: should be a valid string"),
        ("discriminator", "mlp", "='mlp': it is a group of fields; set config.discriminator.netw"),
        ("ema", 0.9, "config.ema=0.9: it is a group of fields; set its fields, decay, half_life,"),
    ],
)
def test_python_sets_any_value_of_which_the_schema_refuses_the_wrong(field, value, message):
    """In one line of ganjax, where ml_collections would raise a TypeError at the assignment."""
    config = shipped("wgan_gp")
    *groups, name = field.split(".")
    setattr(reduce(getattr, groups, config), name, value)
    assert re.search(message, refusal(config)) if message else not refusal(config)
