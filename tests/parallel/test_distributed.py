"""Which processes make a run, by flags and by environments, and what they agree on."""

import re

import jax
import numpy as np
import pytest

from ganjax.errors import DataError, UserError
from ganjax.parallel import distributed, joining
from ganjax.parallel.joining import JoinError, started_together
from ganjax.parallel.sharding import make_layout

SLURM = {"SLURM_JOB_ID": "7", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "1"}
OMPI = {"OMPI_COMM_WORLD_SIZE": "16", "OMPI_COMM_WORLD_RANK": "3"}
TPU = {"TPU_WORKER_HOSTNAMES": "10.0.0.1,10.0.0.2", "TPU_WORKER_ID": "0"}


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, None),
        (SLURM, ("SLURM_STEP_NUM_TASKS", 4, "slurm")),
        (SLURM | {"SLURM_STEP_NUM_TASKS": "1"}, None),
        # A shell in an allocation of many tasks is one process.
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, None),
        (OMPI, ("OMPI_COMM_WORLD_SIZE", 16, "ompi")),
        ({"PMI_SIZE": "2"}, ("PMI_SIZE", 2, "mpi4py")),
        (TPU, ("TPU_WORKER_HOSTNAMES", 2, "tpu")),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, None),
        ({"TPU_WORKER_HOSTNAMES": ""}, None),
    ],
)
def test_a_launcher_that_started_several_processes_is_recognised(environ, found):
    assert started_together(environ) == found


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        ((None,), SLURM, "SLURM_STEP_NUM_TASKS=4: this is one of 4 .* add --distributed=slurm"),
        ((None, "h:1"), {}, "--num_processes is missing: --coordinator, .* go together"),
        ((None, None, 2, 0), {}, "--coordinator is missing"),
        ((None, "host", 2, 0), {}, "--coordinator=host: write host:port"),
        ((None, "h:1", 2, 2), {}, "--process_id=2: of --num_processes=2 there are 0 to 1"),
        ((None, "h:1", 0, 0), {}, "--num_processes=0: set 1 or more"),
        ((None, "h:99999", 2, 0), {}, "--coordinator=h:99999: ports are from 1 to 65535"),
        (("auto", "h:1", 2, 0), {}, "--coordinator and --distributed=auto exclude each other"),
        (("mpi",), {}, "--distributed=mpi: there are auto, tpu, slurm, ompi, mpi4py, k8s, none"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(arguments, environ, message):
    with pytest.raises(JoinError, match=message) as caught:
        joining.join(*arguments, environ=environ)
    assert "\n" not in str(caught.value)


def test_a_process_runs_alone_if_that_is_said_or_clear():
    joining.join("none", environ=SLURM)
    joining.join(None, environ={})
    assert jax.process_count() == 1


def test_jax_is_asked_for_the_processes_that_were_named(monkeypatch):
    asked = []
    monkeypatch.setattr(joining.meeting, "call", lambda *_: None)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *a, **k: asked.append((a, k)))
    joining.join(None, "host:7777", 2, 1, timeout=30)
    joining.join("slurm", environ=SLURM)
    joining.join("tpu")
    (explicit, options), (_, slurm), (_, tpu) = asked
    assert explicit == ("host:7777", 2, 1)
    assert options["cluster_detection_method"] == "deactivate"
    assert options["initialization_timeout"] > 30
    assert slurm["cluster_detection_method"] == "slurm"
    assert tpu["cluster_detection_method"] is None


def test_the_token_is_the_flags_or_the_environments(monkeypatch):
    used = []
    monkeypatch.setattr(joining.meeting, "call", lambda *arguments: used.append(arguments[-1]))
    monkeypatch.setattr(jax.distributed, "initialize", lambda *a, **k: None)
    environ = {joining.TOKEN: "of the environment"}
    for token in (None, "of the flag", ""):
        joining.join(None, "host:7777", 2, 1, environ=environ, token=token)
    joining.join(None, "host:7777", 2, 1, environ={})
    assert used == ["of the environment", "of the flag", "", ""]
    with pytest.raises(JoinError, match="--coordinator_token goes with --coordinator"):
        joining.join("slurm", environ=SLURM, token="of the flag")


@pytest.mark.parametrize(
    "error", [ValueError("coordinator_address should be defined."), KeyError("SLURM_JOB_ID")]
)
def test_an_environment_that_names_no_processes_is_refused(error, monkeypatch):
    def initialize(*arguments, **options):
        raise error

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(JoinError, match=r"--distributed=slurm: .* variables are not set"):
        joining.join("slurm", environ={})


def test_a_process_alone_needs_no_consensus():
    agree = distributed.Consensus(make_layout().mesh)
    assert [agree(vote) for vote in (0, 15, 0)] == [0, 15, 0]
    assert distributed.broadcast_from_primary({"b": 1.0, "a": 0.1}) == {"b": 1.0, "a": 0.1}
    with pytest.raises(UserError, match="mine"), distributed.sharing_errors():
        raise UserError("mine")
    values = {"x": np.arange(16.0, dtype=np.float32)}
    layout = make_layout()
    assert distributed.device_put(values, layout.batch)["x"].sharding == layout.batch


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("a.png: is no image"), "process 0 of 2: a.png: is no image"),
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nmore"),
            "process 0 of 2: its devices' memory does not hold the run .RESOURCE_EXHAUSTED: Out of",
        ),
        (
            jax.errors.JaxRuntimeError("UNAVAILABLE: Connection reset"),
            "process 0 of 2 lost the others .UNAVAILABLE: Connection reset.; start all again",
        ),
    ],
)
def test_a_process_that_fails_alone_exits_at_once_and_says_why(error, line, monkeypatch, capsys):
    class Left(BaseException):
        pass

    def leave(code):
        raise Left(code)

    monkeypatch.setattr(distributed.os, "_exit", leave)
    with pytest.raises(type(error)), distributed.exiting_on_error():
        raise error  # A run of one process ends as Python does.
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(Left, match="1"), distributed.exiting_on_error():
        raise error
    assert re.match(f"ganjax: {line}", capsys.readouterr().err)
    with pytest.raises(UserError), distributed.exiting_on_error():
        raise UserError("what all processes find")


def test_processes_that_hold_different_facts_are_refused(monkeypatch):
    distributed.check_same({"config": 1})  # This is one process.
    monkeypatch.setattr(jax, "process_count", lambda: 3)

    def gather(ours):
        other = ours.copy()
        other[1, 0] += 1
        return np.stack([ours, ours, other])

    monkeypatch.setattr(distributed.multihost_utils, "process_allgather", gather)
    message = "^process 2 has another set of images than process 0; start all with the same"
    with pytest.raises(UserError, match=message):
        distributed.check_same({"config": 1, "set of images": "a"})
    monkeypatch.setattr(distributed.multihost_utils, "process_allgather", lambda x: np.stack([x]))
    distributed.check_same({"config": 1})
