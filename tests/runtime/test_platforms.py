"""What is wrong with the devices that the environment asks JAX for, in one line."""

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from ganjax import cli
from ganjax.errors import UserError
from ganjax.runtime import platforms


@pytest.mark.parametrize("value", ["", "x", "0", "-2", "4097", "1e3", "9" * 5000])
def test_a_number_of_devices_that_jax_cannot_make_is_refused(value):
    with pytest.raises(UserError, match=f"JAX_NUM_CPU_DEVICES={value}: set 1 to 4,096, or unset"):
        platforms.check({"JAX_NUM_CPU_DEVICES": value})


@pytest.mark.parametrize("value", ["1", "True"])
def test_numbers_of_64_bits_are_refused(value):
    with pytest.raises(UserError, match=f"JAX_ENABLE_X64={value}: networks have 32 bits"):
        platforms.check({"JAX_ENABLE_X64": value})
    platforms.check({"JAX_ENABLE_X64": "0"})


@pytest.mark.parametrize("environ", [{}, *({"JAX_NUM_CPU_DEVICES": n} for n in ("1", "8", "-1"))])
def test_a_number_of_devices_that_jax_can_make_is_not(environ):
    platforms.check(environ)


def test_an_error_without_devices_is_one_line_and_others_stay_what_they_are(capsys, monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)

    def fail(error):
        def main(argv):
            raise error

        cli._guarded(main, [])

    no_backend = RuntimeError(
        "Unable to initialize backend 'tpu': no library\nmore (set JAX_PLATFORMS='' to ...)"
    )
    with pytest.raises(SystemExit, match="2"):
        fail(no_backend)
    expected = "ganjax: JAX finds no devices: Unable to initialize backend 'tpu': no library;"
    assert capsys.readouterr().err.startswith(expected)
    for error in (RuntimeError("another"), AssertionError(), AssertionError("another")):
        with pytest.raises(type(error)):
            fail(error)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("platform", "reason"),
    [
        ("cuda", "(this machine has no such devices|Unable to initialize backend 'cuda')"),
        ("foo", "Unable to initialize backend 'foo': Backend 'foo' is not in the list of known"),
    ],
)
def test_a_platform_that_is_not_there_ends_a_command_before_it_compiles(platform, reason, tmp_path):
    if platform == "cuda" and os.path.exists("/proc/driver/nvidia"):
        pytest.skip("it has one")
    command = [sys.executable, "-m", "ganjax", "train", "wgan_gp", f"--workdir={tmp_path}/run"]
    environment = os.environ | {"JAX_PLATFORMS": platform}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100
    )
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert re.match(f"ganjax: JAX_PLATFORMS={platform}: {reason}.*; unset it, or set cpu", line)
    assert not (tmp_path / "run").exists()
