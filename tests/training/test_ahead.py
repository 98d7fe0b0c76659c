"""The first step is compiled ahead: by the shapes and shardings with which it is then called."""

import contextlib
import threading

import jax
import pytest
from jax import monitoring
from small import shipped, shrink
from tiny_dcgan import tiny_dcgan

from ganjax.errors import UserError
from ganjax.training import ahead, dispatch, setup
from ganjax.training.loop import _dispatches, train

pytestmark = pytest.mark.usefixtures("native_convolutions")


def dense():
    """The config of two small GANs without convolutions, two of whose steps are a dispatch."""
    config = shrink(shipped("cgan"))
    config.update(num_seeds=2, steps_per_dispatch=2)
    config.data.on_device = True
    return config


@pytest.mark.parametrize("make", [tiny_dcgan, pytest.param(dense, marks=pytest.mark.slow)])
def test_the_first_dispatch_finds_its_program_compiled(make, tmp_path):
    config = make()
    config.n_critic, config.data.mirror = 1, True
    run = setup.prepare(config, tmp_path)
    pace = dispatch.Pace(run.config.steps_per_dispatch, ())
    with ahead.compiling(run, 0, pace.size) as compiled:
        compiled()
    init = jax.jit(
        lambda key: setup.steps.init_state(run.algorithm, key), out_shardings=run.state_sharding
    )
    state = run.programs.ensemble.pack(tuple(map(init, run.keys)))
    _, batches = next(_dispatches(run, run.algorithm.phases[0], 0, pace))
    events = []

    def listen(event, *_, **__):
        events.append(event)

    monitoring.register_event_duration_secs_listener(listen)
    run.programs.ensemble.advance(state, batches, run.keys, run.algorithm.phases[0])
    monitoring.unregister_event_duration_listener(listen)
    assert not [event for event in events if "compile" in event]


def test_a_run_that_has_no_step_left_compiles_none(tiny, tmp_path, monkeypatch):
    run = setup.prepare(tiny, tmp_path)
    monkeypatch.setattr(ahead.threading, "Thread", None)
    with ahead.compiling(run, run.config.total_steps, lambda *_: 1) as compiled:
        compiled()


def test_a_command_that_ends_with_an_error_does_not_wait_for_what_is_compiled(
    tiny, tmp_path, monkeypatch
):
    run, ended = setup.prepare(tiny, tmp_path), threading.Event()
    monkeypatch.setattr(ahead, "_compile", lambda *_: ended.wait())
    for done in (False, True):
        error = UserError("the checkpoint is damaged")
        with contextlib.suppress(UserError), ahead.compiling(run, 0, lambda *_: 1) as compiled:
            if done:
                compiled()
            raise error
        assert error.leaves_threads is not done
        ended.set()


def test_an_error_of_the_step_comes_before_the_state_is_made(tiny, tmp_path, monkeypatch):
    def lowered(*_):
        raise NotImplementedError("the step")

    monkeypatch.setattr(ahead, "_lowered", lowered)
    monkeypatch.setattr(setup.Run, "restore", None)
    with pytest.raises(NotImplementedError, match="the step"):
        train(tiny, tmp_path)
