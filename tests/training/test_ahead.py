"""The first step is compiled ahead: by the shapes and shardings with which it is then called."""

import jax
import pytest
from jax import monitoring

from ganjax.training import ahead, dispatch, setup
from ganjax.training.loop import _dispatches

pytestmark = pytest.mark.usefixtures("native_convolutions")


@pytest.mark.parametrize(
    "fields", [{}, {"num_seeds": 2, "steps_per_dispatch": 2, "on_device": True}], ids=str
)
def test_the_first_dispatch_finds_its_program_compiled(tiny, tmp_path, fields):
    tiny.n_critic, tiny.penalty.weight, tiny.data.mirror = 1, 0.0, True
    tiny.data.on_device = fields.pop("on_device", False)
    tiny.update(fields)
    run = setup.prepare(tiny, tmp_path)
    pace = dispatch.Pace(run.config.steps_per_dispatch, ())
    ahead.start(run, 0, pace.size)()
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
    ahead.start(run, run.config.total_steps, lambda *_: 1)()
