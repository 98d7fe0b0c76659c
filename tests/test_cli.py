"""The commands as typed: a wrong argument gives one line and exit code 2."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from absl import flags
from conftest import ROOT
from ml_collections import ConfigDict, config_flags

import ganjax
from ganjax import cli, main, shared_flags
from ganjax.config import ConfigError
from ganjax.errors import DataError
from ganjax.main import default_workdir
from ganjax.runtime import huge_pages
from ganjax.training.checkpoint import SaveError

# A process that has imported what commands import, and forks a child for each one typed, which is
# answered in tenths of a second: a line of JSON in, one out.
TYPIST = """
import json, os, runpy, sys, traceback
import ganjax.algorithms.gan, ganjax.analysis.trained, ganjax.data.record_writer
import ganjax.parallel.joining, ganjax.training.loop
for line in sys.stdin:
    module, *arguments = json.loads(line)
    files = [os.open(os.path.join({folder!r}, name), os.O_CREAT | os.O_TRUNC | os.O_RDWR)
             for name in ("out", "err")]
    if not (child := os.fork()):
        os.dup2(files[0], 1)
        os.dup2(files[1], 2)
        sys.argv, code = [module, *arguments], 0
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said = [os.pread(file, 1 << 20, 0).decode() for file in files]
    print(json.dumps([code, *said]), flush=True)
"""

# What a run says at once; whether its config can be trained is known later.
STARTING = f"ganjax {ganjax.__version__} is starting\n"


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Returns a function that types a command: (exit code, standard output, standard error)."""
    script = TYPIST.format(folder=str(tmp_path_factory.mktemp("said")))
    # Without the restart, which would import all again.
    environment = os.environ | {huge_pages.VARIABLE: huge_pages.tunables("")}
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def typed(module, *arguments):
            process.stdin.write(json.dumps([module, *arguments]) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield typed
        process.stdin.close()


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
            "--config.n_critik=3: config has no field n_critik; did you mean config.n_critic?",
        ),
        (["--config=configs/wgan_gp.py", "--config.n_critic=x"], "--config.n_critic=x: invalid"),
        (["--config=configs/wgan_gp.py", "--config.n_critic=0"], "config.n_critic=0: should be"),
        (
            ["--config=configs/wgan_gp.py", "--wrkdir=3"],
            "--wrkdir=3: there is no such flag; did you mean --workdir?",
        ),
        (["--config=wgan_gp", "--batch_size=3"], "such flag; did you mean --config.batch_size?"),
        (
            ["--config=wgan_gp", "--lr=3"],
            "did you mean --config.d_optimiser.learning_rate or --config.g_optimiser.learning_rate",
        ),
        (
            ["--config=wgan_gp", "--config.lr=3"],
            "config has no field lr; did you mean config.d_optimiser.learning_rate or "
            "config.g_optimiser.learning_rate? there are accumulate, algorithm,",
        ),
        (["--config.n_critic=3"], "a field of the config that --config names, which is missing"),
        (["configs/wgan_gp.py"], "'configs/wgan_gp.py' is no flag; did you mean --config=configs/"),
        (["wgan_gp:celeb_a"], "'wgan_gp:celeb_a' is no flag; did you mean --config=wgan_gp:cel"),
        (["--config=wgan_gp", "--config.algorithm=mine"], "there is no module mine; name a file"),
        (["--config=configs/wgan_gp.py", "--devices=4"], "--devices=4 plans a run, it starts none"),
        (["--config=configs/wgan_gp.py", "--process_id=0"], "--coordinator is missing"),
        (
            ["--config=configs/wgan_gp.py", "--dry_run", "--num_processes=4"],
            "--num_processes=4: --dry_run is one process",
        ),
        (["--config=configs/wgan_gp.py", "more"], "'more' is no flag"),
        (
            ["--config=configs/wgan_gp.py", "--dry_run", "--devices=1000000000"],
            "--devices=10000000",
        ),
        (["--config=configs/wgan_gp.py", "--join_timeout=1" + "0" * 30], "--join_timeout=1000000"),
        (
            ["--config=configs/wgan_gp.py", "--config.total_steps=1" + "0" * 30],
            "000: should be less than or equal to 2147483647",
        ),
        ([], "--config is missing; there are ada, cgan, "),
        (["--config=wgan_gp", "batch_size=3"], "is no flag; did you mean --config.batch_size=3?"),
        (["--config=wgan_gp", "config.seed=3"], "is no flag; did you mean --config.seed=3?"),
        (["--config=elsewhere/wgan_gp.py"], "there is no such file; did you mean wgan_gp? give a"),
    ],
)
def test_a_wrong_argument_is_answered_in_one_line(command, arguments, message, tmp_path):
    if arguments:
        arguments = [*arguments, f"--workdir={tmp_path / 'run'}"]
    code, said, error = command("ganjax.main", *arguments)
    assert code == 2
    assert said in ("", STARTING)
    (line,) = error.splitlines()
    assert line.startswith("ganjax: ")
    assert message in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("prepare", ["--source=embedded:mnist5k", "--size=28"], "--out is missing"),
        (
            "prepare",
            ["--source=embedded:mnist5k", "--size=28", "--out=OUT", "--held_out=nan"],
            "flag --held_out=nan: nan is not a number in the range [0.0, 1.0]",
        ),
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
    command, module, arguments, message, tmp_path
):
    arguments = [each.replace("OUT", str(tmp_path / "out")) for each in arguments]
    code, said, error = command(f"ganjax.data.{module}", *arguments)
    assert (code, said) == (2, "")
    (line,) = error.splitlines()
    assert line.startswith("ganjax: ")
    assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            MemoryError("Unable to allocate 9 TiB"),
            "was asked (Unable to allocate 9 TiB): set small",
        ),
        (OverflowError("int too large"), "was asked (int too large): set smaller sizes"),
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nwhile ..."),
            "was asked (RESOURCE_EXHAUSTED: Out of memory): set smaller sizes",
        ),
        (DataError("\x1b[2J is no file\r\nganjax: fine"), r"\x1b[2J is no file ganjax: fine"),
    ],
)
def test_an_error_of_size_or_with_control_characters_is_one_line(error, line, capsys):
    def fail(argv):
        raise error

    with pytest.raises(SystemExit) as ended:
        cli._guarded(fail, [])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("ganjax: ")
    assert said.endswith("\n")
    assert said[:-1].isprintable()
    assert line in said


def test_names_from_elsewhere_do_nothing_to_a_terminal(capsys):
    cli.say("class \x1b[2J\x07: é 北京\n2", Path("a\rb"))
    assert capsys.readouterr().out == "class \\x1b[2J\\x07: é 北京\n2\na\\rb\n"


def test_a_command_whose_save_has_failed_does_not_wait_for_threads(capfd, monkeypatch):
    def fail(argv):
        raise SaveError("7 could not be saved")

    ends = []
    monkeypatch.setattr(os, "_exit", lambda code: ends.append(code) or sys.exit(0))
    with pytest.raises(SystemExit):
        cli._guarded(fail, [])
    assert ends == [2]
    assert capfd.readouterr().err == "ganjax: 7 could not be saved\n"


def test_other_errors_of_a_command_keep_their_traceback():
    def fail(argv):
        raise jax.errors.JaxRuntimeError("INTERNAL: a bug")

    with pytest.raises(jax.errors.JaxRuntimeError, match="a bug"):
        cli._guarded(fail, [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "wgan_gp:big"], "preset 'big': there are digits, celeb_a"),
        (["train", "wgan_pg"], "give a path, or the name of a config that comes with ganjax: ada,"),
        (["train", "wgan_gp", "--config.n_critic=0"], "config.n_critic=0: should be"),
        (["trian", "wgan_gp"], "'trian' is no command; did you mean train?"),
        (["sweep", "ema"], "there is no file ema; there are ada_by_data_size, "),
        (["configs", "more"], "'more' is no flag"),
    ],
)
def test_a_wrong_word_after_ganjax_is_answered_in_one_line(command, words, message):
    code, said, error = command("ganjax", *words)
    assert code == 2
    assert said in ("", STARTING)
    (line,) = error.splitlines()
    assert line.startswith("ganjax: ")
    assert message in line


def test_help_names_the_flags_and_every_field_of_the_config(command):
    code, said, error = command("ganjax", "train", "wgan_gp", "--help", "--config.n_critic=4")
    assert (code, error) == (0, "")
    for text in ("\n  --config\n", "\n  --dry_run=false\n", "\n--config.n_critic=4\n"):
        assert text in said
    assert "\n  --init_players=both\n      Which weights" in said, (
        "its values come once, after this"
    )
    code, said, error = command("ganjax", "sample", "--help")
    assert (code, error) == (0, "")
    assert "\n  --which=best\n" in said
    assert "--config." not in said


def test_sampling_a_folder_without_a_run_is_refused(command, tmp_path):
    code, _, error = command("ganjax.sample", f"--workdir={tmp_path / 'none' / 'a'}")
    assert code == 2
    assert error.splitlines()[0].endswith("name a folder that ganjax train made")
    code, _, error = command("ganjax.sample", f"--workdir={tmp_path}", "--num=0")
    assert code == 2
    assert "--num=0" in error


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


SOURCES = [path for name in ("ganjax", "experiments") for path in (ROOT / name).rglob("*.py")]
COMMANDS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in SOURCES
    if "\ndef define_flags(" in path.read_text(encoding="utf-8")
)
# Flags of texts that name no file or folder, or like --source another thing before it.
NO_PATHS = {
    "distributed",
    "coordinator",
    "coordinator_token",
    "accelerator",
    "which",
    "features",
    "by",
    "source",
}


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


def test_no_parser_of_arguments_leaves_a_tilde():
    assert len(COMMANDS) > 8
    for path in SOURCES:
        assert "type=Path" not in path.read_text(encoding="utf-8"), (
            f"{path}: type=shared_flags.path"
        )


def test_the_path_of_a_config_file_takes_a_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert cli._without_home("--config=~/a.py:b") == "--config=/home/someone/a.py:b"
    assert cli._without_home("--config.data.source=~/a") == "--config.data.source=~/a"
    assert shared_flags.path("~/runs") == Path("/home/someone/runs")


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
    with pytest.raises(ConfigError, match=r"config.total_epochs=2: it gives the same length"):
        given("--config.total_steps=7", "--config.total_epochs=2")
