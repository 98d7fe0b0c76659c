"""The commands as typed: a wrong argument gives one line and exit code 2."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from conftest import ROOT
from ml_collections import ConfigDict, config_flags

from ganjax import cli, main
from ganjax.config import ConfigError
from ganjax.main import default_workdir


def command(module, *arguments):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/nope.py"], "--config=configs/nope.py: there is no such file"),
        (["--config", "configs/nope.py"], "--config=configs/nope.py: there is no such file"),
        (
            ["--config=configs/wgan_gp.py", "--config.zebra=3"],
            "--config.zebra=3: config has no field zebra; there are accumulate, algorithm,",
        ),
        (["--config=configs/wgan_gp.py", "--config.ema.decay=nan"], "config.ema.decay=nan: should"),
        (["--config=configs/wgan_gp.py:big"], "ganjax: preset 'big': there are digits, celeb_a"),
        (
            ["--config=configs/wgan_gp.py", "--config.n_critik=3"],
            "--config.n_critik=3: config has no field n_critik; did you mean n_critic?",
        ),
        (["--config=configs/wgan_gp.py", "--config.n_critic=x"], "--config.n_critic=x: invalid"),
        (["--config=configs/wgan_gp.py", "--config.n_critic=0"], "config.n_critic=0: should be"),
        (["--config=configs/wgan_gp.py", "--wrkdir=3"], "Did you mean: workdir"),
        (["--config=configs/wgan_gp.py", "--devices=4"], "--devices=4 plans a run, it starts none"),
        (["--config=configs/wgan_gp.py", "--process_id=0"], "--coordinator is missing"),
        (
            ["--config=configs/wgan_gp.py", "--dry_run", "--num_processes=4"],
            "--num_processes=4: --dry_run is one process",
        ),
        (["--config=configs/wgan_gp.py", "more"], "'more' is no flag"),
        ([], "--config is missing"),
    ],
)
def test_a_wrong_argument_is_answered_in_one_line(arguments, message, tmp_path):
    if arguments:
        arguments = [*arguments, f"--workdir={tmp_path / 'run'}"]
    result = command("ganjax.main", *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("ganjax: ")
    assert message in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("prepare", ["--source=embedded:mnist5k", "--size=28"], "--out is missing"),
        ("prepare", ["--source=mnist", "--size=28", "--out=OUT"], "'mnist': write embedded:<name>"),
        (
            "prepare",
            ["--source=folder:OUT", "--size=28", "--out=OUT", "--background=white"],
            "--background=white: write R,G,B, each from 0 to 255",
        ),
        (
            "show",
            ["--config=configs/dcgan_noisy.py:folder", "--config.data.source=folder:OUT"],
            "there is no such folder; set --config.data.source=folder:<path>",
        ),
    ],
)
def test_a_wrong_argument_of_a_data_command_is_answered_in_one_line(
    module, arguments, message, tmp_path
):
    arguments = [each.replace("OUT", str(tmp_path / "out")) for each in arguments]
    result = command(f"ganjax.data.{module}", *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("ganjax: ")
    assert message in line
    assert not (tmp_path / "out").exists()


def test_sampling_a_folder_without_a_run_is_refused(tmp_path):
    result = command("ganjax.sample", f"--workdir={tmp_path}")
    assert result.returncode == 2
    assert result.stderr.splitlines()[0].endswith("such as runs/wgan_gp")
    result = command("ganjax.sample", f"--workdir={tmp_path}", "--num=0")
    assert result.returncode == 2
    assert "--num=0" in result.stderr


@pytest.mark.parametrize(
    ("config", "folder"),
    [
        ("configs/wgan_gp.py", "runs/wgan_gp"),
        ("configs/wgan_gp.py:celeb_a", "runs/wgan_gp_celeb_a"),
        ("/elsewhere/mine.py", "runs/mine"),
    ],
)
def test_the_default_workdir_is_named_after_config_and_preset(config, folder):
    assert default_workdir(config) == Path(folder)


COMMANDS = (
    "ganjax.main",
    "ganjax.sample",
    "ganjax.evaluate",
    "ganjax.compare",
    "ganjax.summary",
    "ganjax.data.prepare",
    "ganjax.data.show",
    "experiments.sweep",
    "experiments.report",
)
# Flags of texts that name no file or folder, or like --source another thing before it.
NO_PATHS = {"distributed", "coordinator", "accelerator", "which", "features", "by", "source"}


@pytest.mark.parametrize("module", COMMANDS)
def test_every_flag_that_is_a_path_takes_a_tilde_for_the_home(module, monkeypatch):
    """The shell leaves the tilde of --out=~/a as it is."""
    monkeypatch.setenv("HOME", "/home/someone")
    before = set(flags.FLAGS)
    importlib.import_module(module).define_flags()
    own = set(flags.FLAGS) - before
    try:
        texts = [flags.FLAGS[name] for name in own if flags.FLAGS[name].flag_type() == "string"]
        for flag in texts:
            if flag.name not in NO_PATHS | {"config"}:
                assert flag.parser.parse("~/a.b:c") == "/home/someone/a.b:c", flag.name
    finally:
        for name in own:
            delattr(flags.FLAGS, name)


def test_the_path_of_a_config_file_takes_a_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert cli._without_home("--config=~/a.py:b") == "--config=/home/someone/a.py:b"
    assert cli._without_home("--config.data.source=~/a") == "--config.data.source=~/a"
    assert cli.path("~/runs") == Path("/home/someone/runs")


def test_flags_in_epochs_and_in_steps_go_before_the_file(monkeypatch):
    """A file has both of every pair; a command has one of them."""

    def given(*arguments):
        file = ConfigDict({"total_steps": 9, "total_epochs": 3.0})
        monkeypatch.setattr(flags, "FLAGS", flags.FlagValues())
        monkeypatch.setattr(sys, "argv", ["main", *arguments])
        config_flags.DEFINE_config_dict("config", file, flag_values=flags.FLAGS)
        flags.FLAGS(sys.argv)
        return dict(main._config())

    assert given()["total_epochs"] == 3.0
    assert given("--config.total_epochs=0.5")["total_epochs"] == 0.5
    assert given("--config.total_steps=7") == {"total_steps": 7, "total_epochs": 0.0}
    with pytest.raises(ConfigError, match=r"config.total_epochs=2: it says the same"):
        given("--config.total_steps=7", "--config.total_epochs=2")
