"""When the loop's periodic actions are due, and what is written when."""

from types import SimpleNamespace

import jax
import pytest

from ganjax.engine.phases import Phase
from ganjax.training import setup
from ganjax.training.actions import Action, Checkpoint, Snapshot, StopRequest, perform
from ganjax.training.epochs import Cadence, Interval
from ganjax.training.report import Pending
from ganjax.training.writer import METRICS

PHASE = Phase(0, 25, 8, 16)


def every(steps):
    return Cadence((PHASE,), (Interval(steps),))


def due(action):
    return [step for step in range(1, 26) if action.is_due(step, PHASE)]


def saving(best="none", signal=0):
    """A checkpoint every 9 steps in a run that is evaluated every 6."""
    config = SimpleNamespace(evaluation=SimpleNamespace(best=best))
    cadences = SimpleNamespace(checkpoint=every(9), eval=every(6))
    stop = SimpleNamespace(signal=signal)
    return Checkpoint(SimpleNamespace(config=config, cadences=cadences), SimpleNamespace(), stop)


def test_an_action_is_due_at_its_cadence_and_at_the_end_of_a_phase():
    assert due(Action(every(10))) == [10, 20, 25]


def test_a_checkpoint_is_due_at_each_evaluation_if_the_best_is_kept():
    assert due(saving()) == [9, 18, 25]
    assert due(saving(best="kid_efflite0")) == [6, 9, 12, 18, 24, 25]


def test_a_checkpoint_is_due_at_the_step_at_which_a_run_stops():
    assert due(saving(signal=15)) == list(range(1, 26))


def test_actions_that_are_due_are_performed_in_their_order_on_members_unpacked_once():
    calls, unpacked = [], []

    class Noted(Action):
        def __call__(self, snapshot):
            calls.append((self.cadence.of(PHASE).steps, snapshot.members))

    def unpack(state):
        unpacked.append(state)
        return (state,)

    perform([Noted(every(n)) for n in (4, 3, 2)], Snapshot(4, PHASE, "packed", unpack))
    assert calls == [(4, ("packed",)), (2, ("packed",))]
    assert unpacked == ["packed"]
    perform([Noted(every(4))], Snapshot(5, PHASE, "packed", unpack))
    assert unpacked == ["packed"], "nothing is unpacked for actions that are not due"


def test_what_is_pending_is_written_once_and_oldest_first():
    written, pending = [], Pending()
    pending.add(written.append, 1)
    pending.add(written.append, 2)
    assert written == []
    pending.write()
    pending.write()
    assert written == [1, 2]


def test_what_cannot_be_written_stops_what_comes_after_it():
    def fail():
        raise ValueError

    written, pending = [], Pending()
    pending.add(fail)
    pending.add(written.append, 2)
    with pytest.raises(ValueError):  # noqa: PT011
        pending.write()
    assert written == []


def test_a_run_stops_by_the_signal_that_its_processes_agree_on():
    signals, votes = SimpleNamespace(received=None), []

    def agree(vote):
        votes.append(vote)
        return 15  # Another process has received it.

    stop = StopRequest(signals, agree)
    assert stop.signal == 0
    stop.update()
    signals.received = 2
    stop.update()
    assert (votes, stop.signal) == ([0, 2], 15)


def test_a_process_that_writes_no_metrics_waits_for_none(tiny, tmp_path, monkeypatch):
    """Process 1 of a run may be here before process 0 has written the file."""
    run = setup.prepare(tiny, tmp_path)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    assert not (tmp_path / METRICS).exists()
    run.domain.measure(run)
