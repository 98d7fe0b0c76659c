"""The README: its length, its links, and its code, which is run as it stands."""

import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT

from ganjax import config_file
from ganjax.engine.algorithm import Context
from ganjax.objectives import losses
from ganjax.training import schema

README = (ROOT / "README.md").read_text()
OWN_LOSS, ADDED_LOSS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_it_is_one_page_whose_links_lead_somewhere():
    assert README.count("\n") <= 150
    for path in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / path).exists(), path


@pytest.fixture
def own_loss(tmp_path, monkeypatch):
    """The folder of `paired.py`, from which modules are imported as from a user's."""
    (tmp_path / "paired.py").write_text(OWN_LOSS)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("paired", None)


def test_the_loss_of_ones_own_is_what_the_text_says(own_loss):
    loaded, module = schema.load(config_file.load(str(own_loss / "paired.py")))
    algorithm = module.build(loaded)
    scores = jnp.array([2.0, 0.0]), jnp.array([1.0, 3.0])
    for loss, differences in ((algorithm.d_loss, [-1, 3]), (algorithm.g_loss, [1, -3])):
        value, _ = loss(scores, None)
        np.testing.assert_allclose(value, np.mean(np.log1p(np.exp(differences))), rtol=1e-6)


def test_the_loss_added_to_the_package_is_that_loss(monkeypatch):
    monkeypatch.setattr(losses, "LOSSES", dict(losses.LOSSES))
    exec(ADDED_LOSS, vars(losses) | {"LOSSES": losses.LOSSES})
    config = losses.LossGroup.model_construct(loss="paired")  # Its names are fixed by now.
    losses.check(config)
    real, fake = jnp.array([2.0, 0.0]), jnp.array([1.0, 3.0])
    value, metrics = losses.discriminator_loss(config)(
        (real, fake), Context({}, jax.random.key(0), 0, None, ())
    )
    np.testing.assert_allclose(value, np.mean(np.log1p(np.exp([-1, 3]))), rtol=1e-6)
    assert metrics["d_acc"] == 0.5
    value, _ = losses.generator_loss(config)((real, fake), None)
    np.testing.assert_allclose(value, np.mean(np.log1p(np.exp([1, -3]))), rtol=1e-6)
