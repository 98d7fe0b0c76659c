"""Huge pages: a command's process restarts once, and only if nobody has chosen otherwise."""

import os
import subprocess
import sys

import pytest

from ganjax.runtime.huge_pages import TUNABLE, VARIABLE, tunables

SCRIPT = """
import os, sys
from ganjax.runtime import huge_pages
print(os.getpid(), os.environ.get(huge_pages.VARIABLE, ""), *sys.argv[1:], sep=";", flush=True)
huge_pages.restart()
"""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", f"{TUNABLE}=1"),
        ("glibc.malloc.check=0", f"glibc.malloc.check=0:{TUNABLE}=1"),
        (f"{TUNABLE}=0", f"{TUNABLE}=0"),
        (f"glibc.malloc.check=0:{TUNABLE}=2", f"glibc.malloc.check=0:{TUNABLE}=2"),
        # Another tunable, whose name only begins alike.
        (f"{TUNABLE}_x=1", f"{TUNABLE}_x=1:{TUNABLE}=1"),
    ],
)
def test_what_a_user_chose_stays(given, expected):
    assert tunables(given) == expected


def output(arguments, script=None, **environ):
    environment = {**os.environ, VARIABLE: "", **environ}
    process = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        input=script,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
def test_programs_from_the_standard_input_and_hosted_ones_do_not_restart():
    assert len(output(["-c", SCRIPT])) == 2
    # The standard input could not be read a second time.
    assert len(output(["-"], SCRIPT)) == len(output([], SCRIPT)) == 1
    traced = "import sys; sys.settrace(lambda *_: None)" + SCRIPT
    hosted = "import sys; sys.modules['IPython'] = sys" + SCRIPT
    assert [len(output(["-c", each])) for each in (traced, hosted)] == [1, 1]


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
def test_a_process_restarts_once_even_if_the_tunable_is_taken_away():
    script = "import os; os.environ['GLIBC_TUNABLES'] = ''" + SCRIPT
    assert len(output(["-c", script])) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
@pytest.mark.parametrize("given", ["", f"{TUNABLE}=0"])
def test_a_process_restarts_once_with_its_number_and_arguments(given, tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    command = [sys.executable, "-W", "error", str(path), "a b", "--flag=1"]
    environment = os.environ | {VARIABLE: given}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr
    lines = [line.split(";") for line in process.stdout.splitlines()]
    expected = [given, tunables(given)] if tunables(given) != given else [given]
    assert [line[1] for line in lines] == expected
    assert {line[0] for line in lines} == {lines[0][0]}
    assert all(line[2:] == ["a b", "--flag=1"] for line in lines)
