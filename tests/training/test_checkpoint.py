"""Checkpoints: the format that each says, and those that cannot be read."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.engine.state import Ema, GanState, Player
from ganjax.training import checkpoint
from ganjax.training.migrations import FORMAT

KERNEL = {"kernel": jnp.arange(4.0)}
PLAYER = Player(KERNEL, (), {})
STATE = GanState(jnp.int32(3), PLAYER, PLAYER, Ema(KERNEL, {}), ())


def init(key):
    return jax.tree.map(jnp.zeros_like, STATE)


def saved(folder):
    """The checkpoints of a folder to which one of step 3 has been saved."""
    with checkpoint.open_checkpoints(folder, keep=1) as checkpoints:
        checkpoint.save(checkpoints, 3, STATE, {}, {})
    return checkpoint.open_checkpoints(folder)


def restored(checkpoints):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return checkpoint.restore_or_init(checkpoints, init, jax.random.key(0), sharding)


def test_a_checkpoint_says_the_format_of_this_version(tmp_path):
    with saved(tmp_path) as checkpoints:
        assert checkpoint.stored_format(tmp_path / checkpoint.FOLDER / "3") == FORMAT
        jax.tree.map(np.testing.assert_array_equal, restored(checkpoints), STATE)


@pytest.mark.parametrize("number", [FORMAT + 1, "three"])
def test_a_checkpoint_of_a_newer_format_is_refused_in_one_line(tmp_path, monkeypatch, number):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", number)
        checkpoints = saved(tmp_path)
    message = (
        rf"checkpoints/3 is of format {number!r}: this version of ganjax reads checkpoints of "
        rf"formats 1 to {FORMAT}; take a newer ganjax$"
    )
    with checkpoints, pytest.raises(checkpoint.CheckpointError, match=message) as caught:
        restored(checkpoints)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_before_there_were_formats_is_restored(tmp_path):
    with checkpoint.open_checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(3, STATE)  # As older versions did.
        checkpoints.wait()
        assert checkpoint.stored_format(tmp_path / checkpoint.FOLDER / "3") == 1
        jax.tree.map(np.testing.assert_array_equal, restored(checkpoints), STATE)


def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path):
    with saved(tmp_path) as checkpoints:
        shutil.rmtree(tmp_path / "checkpoints" / "3" / "state")
        message = r"checkpoints/3 cannot be read \(.*\): remove that folder to go on from the one"
        with pytest.raises(checkpoint.CheckpointError, match=message) as caught:
            restored(checkpoints)
    assert "\n" not in str(caught.value)
