"""What a run records of its attempts: command, machine, versions, code, and what it printed."""

import errno
import json
import logging
import os
import re
import sys

import pytest

from ganjax.errors import UserError
from ganjax.training import attempts
from ganjax.training.log import Log, teed

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "


def lines(folder):
    """Returns the lines of a log without their times, which all of them have."""
    found = (folder / "log.txt").read_text().splitlines()
    assert all(re.match(STAMP.rstrip(), line) for line in found)
    return [re.sub(STAMP, "", line) for line in found]


def test_an_attempt_says_how_where_and_by_what_it_was_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "ganjax", "train", "a b"])
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    monkeypatch.setenv("PASSWORD", "of mine")
    monkeypatch.setenv("JAX_API_KEY", "of mine")
    with attempts.recorded(tmp_path, 7):
        print("step 1")
    begin, end = attempts.read(tmp_path)
    assert begin["event"] == "begin"
    assert begin["command"] == "python -m ganjax train 'a b'"
    assert begin["pid"] == os.getpid()
    assert begin["current_folder"] == os.getcwd()
    assert begin["devices"] == "8 x cpu"
    assert {"ganjax", "jax", "jaxlib", "flax", "optax", "numpy"} <= begin["versions"].keys()
    assert begin["variables"]["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert begin["variables"]["JAX_API_KEY"] == "***"
    assert "of mine" not in (tmp_path / "attempts.jsonl").read_text()
    for each in begin["checkouts"]:
        assert re.fullmatch(r"[0-9a-f]{12}\+?", each["revision"])
        assert ("diff" in each) == each["revision"].endswith("+")
        assert "diff" not in each or (tmp_path / each["diff"]).stat().st_size
    assert end == {**end, "event": "end", "outcome": "finished", "error": "", "total_steps": 7}
    said = lines(tmp_path)
    assert said[0] == "$ python -m ganjax train 'a b'"
    assert any(f"jax {begin['versions']['jax']}" in line for line in said)
    assert said[-1] == "step 1"
    assert capsys.readouterr().out == "step 1\n"


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--coordinator_token=abc", "--seed=3"], "'--coordinator_token=***' --seed=3"),
        (["--coordinator_token", "abc", "--seed=3"], "--coordinator_token '***' --seed=3"),
        (["--config.data.source=folder:tokens"], "--config.data.source=folder:tokens"),
    ],
)
def test_what_is_secret_in_a_command_is_not_recorded(arguments, shown):
    assert attempts.command(arguments) == shown


def _print_and_raise(error):
    print("begun")
    raise error


@pytest.mark.parametrize(
    ("error", "outcome", "said"),
    [
        (UserError("no such thing"), "failed", "ganjax: no such thing"),
        (ZeroDivisionError("by 0"), "failed", "ZeroDivisionError: by 0"),
        (SystemExit(143), "stopped", None),
        (attempts.NonFiniteError("g_loss=nan"), "diverged", "ganjax: g_loss=nan"),
    ],
)
def test_how_an_attempt_ends_is_recorded(error, outcome, said, tmp_path):
    with pytest.raises(type(error)), attempts.failures(tmp_path, 7), attempts.recorded(tmp_path, 7):
        _print_and_raise(error)
    assert [line["event"] for line in attempts.read(tmp_path)] == ["begin", "end"]
    assert attempts.last(tmp_path)["outcome"] == outcome
    assert lines(tmp_path)[-1] == (said or "begun")


def test_an_error_before_a_sweeps_run_begins_is_an_attempt_too(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(UserError), attempts.failures(folder, 7):
        raise UserError("there are no images")
    (line,) = attempts.read(folder)
    assert (line["outcome"], line["error"]) == ("failed", "there are no images")


def test_a_log_keeps_what_is_printed_and_logged_in_all_attempts(tmp_path, capsys):
    (tmp_path / "log.txt").write_text("2026-01-01 00:00:00 half a li")  # As a kill may leave it.
    log, library = Log(tmp_path), logging.getLogger("library")
    with teed(log):
        print("step 1")
        sys.stderr.write("\r 10%|#  | 1/10")
        sys.stderr.write("\r          \r")
        print("step", 2)
        print("two\nlines", file=sys.stderr)
        library.warning("slow %s", "disk")
        sys.stderr.write("\n")
    print("after")
    log.close()
    print("closed", file=sys.stderr)
    found = lines(tmp_path)
    assert found == [
        "half a li", "step 1", "step 2", "two", "lines", "WARNING library: slow disk"
    ]  # fmt: skip
    shown = capsys.readouterr()
    assert shown.out == "step 1\nstep 2\nafter\n"
    assert "10%" in shown.err


def test_a_full_disk_ends_no_run_by_way_of_its_log(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    log = Log(tmp_path)
    with teed(log), monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        print("lost")
    log.close()
    assert lines(tmp_path) == []
    assert capsys.readouterr().out == "lost\n"


def test_a_run_of_an_older_version_has_no_attempts(tmp_path):
    assert attempts.read(tmp_path) == []
    assert attempts.last(tmp_path) == {}
    old = {"event": "begin", "time": 1.0, "revision": "abc", "python": "3.11"}
    (tmp_path / "attempts.jsonl").write_text(json.dumps(old) + "\n{")
    assert attempts.read(tmp_path) == [old]
