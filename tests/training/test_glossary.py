"""The meanings of metrics: every metric has one, and warnings read them."""

import importlib
import re
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from conftest import ROOT

from ganjax import explain
from ganjax.engine import step as steps
from ganjax.engine.meanings import Meaning
from ganjax.errors import UserError
from ganjax.metrics import table
from ganjax.training import glossary, illnesses, schema

pytestmark = pytest.mark.usefixtures("native_convolutions")


def test_every_metric_of_a_step_has_a_meaning(tiny):
    """Those of the shipped systems are looked up in test_shipped, after they have been logged."""
    tiny.precision = "float16"
    tiny.penalty.update(weight=1.0, r1=1.0, r2=1.0)
    config, module = schema.load(tiny)
    algorithm = module.build(config)
    (phase,), key = algorithm.phases, jax.random.key(0)
    state = jax.eval_shape(lambda: steps.init_state(algorithm, key))
    shape = (algorithm.real_batches, phase.batch_size)
    batch = {
        "image": jax.ShapeDtypeStruct((*shape, 16, 16, 1), jnp.uint8),
        "label": jax.ShapeDtypeStruct(shape, jnp.int32),
    }
    train_step = partial(steps.make_train_step(algorithm), key=key, phase=phase)
    _, metrics = jax.eval_shape(train_step, state, batch)
    assert metrics.keys() >= {"c_gp", "r1", "r2", "d_loss_scale", "g_loss_scale", "g_grad_norm"}
    for name in metrics:
        assert glossary.meaning_of(name), name


def test_what_is_added_to_a_name_is_explained():
    meaning = glossary.meaning_of
    assert meaning("val_d_acc").text.startswith("on held-out images: the share of images")
    assert meaning("val_d_acc").bounds == "0 to 1"
    assert meaning("kid_efflite0_floor").text.startswith("the figure of training images in pl")
    assert meaning("val_d_acc_seed_std") == Meaning(
        f"the standard deviation over seeds of: {meaning('val_d_acc').text}", least=0
    )
    assert meaning("leak_rotation_seed_3").text.startswith("of one seed: the share of samples")
    assert "of this side" in meaning("swd_16").text
    assert meaning("val_log_likelihood").text.startswith("the mean log-likelihood of held-out")
    own = {"mine": Meaning("my own"), "d_loss": Meaning("another loss")}
    assert meaning("val_mine", own).text == "on held-out images: my own"
    assert meaning("d_loss", own).text == "another loss"
    for name in ("mine", "val_mine", "swd", "kid", "kid_floor", "_floor", "val_", "_seed_std"):
        assert (meaning(name) is None) == (name != "swd"), name


def test_every_figure_of_every_metric_has_a_meaning():
    for name, figure in table.figures():
        assert glossary.meaning_of(name) == figure.meaning
        assert figure.meaning.text


def test_a_description_says_meaning_range_and_what_is_healthy():
    whole = Meaning("a share", 0, 1, healthy=(0.8, 0.95), reading="low is bad")
    assert whole.description == "a share; 0 to 1; healthy: 0.8 to 0.95; low is bad"
    assert Meaning("a loss").description == "a loss"
    assert Meaning("a norm", 0).bounds == "0 or more"
    assert Meaning("a figure", most=3).bounds == "3 or less"
    assert glossary.description("nothing") == ""


def test_warnings_of_illness_read_the_table():
    assert glossary.TABLE["d_acc"].healthy == (illnesses.WEAK, illnesses.STRONG) == (0.80, 0.95)
    assert glossary.TABLE["d_loss"].healthy[0] == illnesses.NO_LOSS == 0.02


def test_the_listing_has_every_metric_and_a_name_alone_is_explained():
    text = explain.listing()
    lines = [line.strip() for line in text.splitlines()]
    for name in ("d_loss", "d_acc", "aug_p", "fade_alpha", "leak_<transform>", "swd_<side>"):
        assert lines.count(name) == 1
    assert "kid_<network>" in lines
    assert "kid_<network>_std" in lines
    assert max(map(len, text.splitlines())) <= explain.WIDTH
    assert explain.explanation(["aug_p"]).startswith("  aug_p\n      the probability of each augm")
    with pytest.raises(UserError, match=r"no run of ganjax logs 'd_ac': did you mean d_acc"):
        explain.explanation(["d_ac"])


def test_whatever_has_meanings_is_explained_by_name_and_in_the_listing():
    modules = [
        importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for path in (ROOT / "ganjax").rglob("*.py")
        if "\nMEANINGS = {" in path.read_text()
    ]
    assert {"scheduled_fields", "slicing", "tags"} <= {
        each.__name__.split(".")[-1] for each in modules
    }
    names = [name for module in modules for name in module.MEANINGS]
    listed = {line.strip() for line in explain.listing().splitlines()}
    assert set(names) <= listed
    explain.explanation([re.sub("<.*>", "x", name) for name in names])
