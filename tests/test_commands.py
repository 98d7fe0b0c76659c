"""`ganjax COMMAND`: from names to modules, what is listed and explained, and the wheel."""

import ast
import json
import os
import runpy
import signal
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from absl import flags
from conftest import ROOT
from ml_collections import config_flags
from small import extract
from small import shipped as config_of

import ganjax
from ganjax import commands, completion, field_flags, listing, main, shared_flags, shipped
from ganjax.config import algorithm_module


def parsed(named):
    """The config and the default folder of the flag --config."""
    values = flags.FlagValues()
    shared_flags.define_config(values)
    values(["ganjax", f"--config={named}"])
    return values.config, main.default_workdir(config_flags.get_config_filename(values["config"]))


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # Of ml_collections.
@pytest.mark.parametrize("preset", ["", ":celeb_a"])
def test_a_name_means_the_run_of_the_file_from_any_folder(preset, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ganjax"])
    monkeypatch.chdir(tmp_path)
    config = config_of("wgan_gp", preset.lstrip(":")).to_dict()
    by_name, by_file = parsed(f"wgan_gp{preset}"), parsed(f"{ROOT}/configs/wgan_gp.py{preset}")
    assert by_name[0].to_dict() == by_file[0].to_dict() == config
    assert by_name[1] == by_file[1] == Path(f"runs/wgan_gp{preset.replace(':', '_')}")


def test_the_first_word_is_the_config_or_the_sweep():
    train, sample = commands.COMMANDS["train"], commands.COMMANDS["sample"]
    given = commands.arguments(train, ["a:b", "--config.seed=1"])
    assert given == ["--config=a:b", "--config.seed=1"]
    assert commands.arguments(train, ["--config=a"]) == ["--config=a"]
    assert commands.arguments(train, ["--help", "a"]) == ["--help", "--config=a"]
    assert commands.arguments(train, ["--workdir=b", "a"]) == ["--workdir=b", "--config=a"]
    assert commands.arguments(train, ["--workdir", "b"]) == ["--workdir", "b"]
    assert commands.arguments(sample, ["labels"]) == ["labels"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tran"], "'tran' is no command; did you mean train?"),
        (["wgan_gp:celeb_a"], "is no command; did you mean ganjax train wgan_gp:celeb_a?"),
        (["zebra"], "'zebra' is no command; there are train, configs,"),
        (["help", "tran"], "'tran' is no command; did you mean train?"),
    ],
)
def test_a_wrong_command_is_answered_in_one_line(words, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ganjax", *words])
    with pytest.raises(SystemExit):
        commands.main()
    assert message in capsys.readouterr().err


def test_help_and_a_command_is_the_help_of_the_command(monkeypatch):
    called = []
    monkeypatch.setattr(commands.runpy, "run_module", lambda *args, **_: called.append(sys.argv))
    monkeypatch.setattr(sys, "argv", ["ganjax", "help", "train", "wgan_gp"])
    commands.main()
    assert called == [["ganjax train", "--help", "--config=wgan_gp"]]


def test_every_command_names_a_module_that_has_flags():
    for name, command in commands.COMMANDS.items():
        path = ROOT / f"{command.module.replace('.', '/')}.py"
        text = path.read_text()
        assert "\ndef define_flags(" in text, name
        assert '\nif __name__ == "__main__":\n    cli.run(main' in text, name
        if command.subject:
            own = f'"{command.subject}"' in text or "define_config" in text
            assert own, name


def test_every_preset_and_sweep_is_listed_with_its_meaning():
    entries = [*shipped.configs(), *shipped.sweeps()]
    text = listing.text()
    for name, meaning in entries:
        assert meaning, f"{name}: the docstring says nothing beside its command"
        assert f"  {name} " in text
        assert meaning in text
    presets = {name for name, _ in shipped.configs()}
    for name in shipped.config_names():
        of_file = presets_of(name)
        own = {each for each in presets if each.partition(":")[0] == name}
        assert {f"{name}:{preset}" if preset else name for preset in of_file} == own
    assert len(presets) == len(shipped.configs())


def presets_of(name):
    """The presets that a config file itself has."""
    return runpy.run_path(str(ROOT / "configs" / f"{name}.py"))["get_config"].presets


@pytest.mark.parametrize("name", ["wgan_gp", "ada", "progan", "cgan:paper", "sngan:projection"])
def test_every_field_of_a_config_is_explained(name):
    config = config_of(*name.split(":"))
    lines = field_flags.describe(config).splitlines()

    def check(group, at):
        for field, value in group.items():
            if isinstance(value, type(group)):
                check(value, f"{at}.{field}")
            else:
                at_line = [i for i, x in enumerate(lines) if x.startswith(f"--{at}.{field}=")]
                assert len(at_line) == 1, f"{at}.{field}"
                assert lines[at_line[0] + 1].startswith(field_flags.INDENT), f"{at}.{field}"

    check(config, "config")


def test_a_field_is_shown_with_its_value_choices_and_default():
    lines = field_flags.describe(config_of("wgan_gp", "celeb_a")).splitlines()
    at = lines.index("--config.n_critic=5")
    text = " ".join(lines[at + 1].split())
    assert text == "the number of updates of D in a train step. The default of the field is 1."
    at = lines.index("--config.generator.network=dcgan")
    assert "One of dcgan, resnet" in lines[at + 1]
    schema = algorithm_module("gan").Config
    assert field_flags.choices(schema, "critic_reals") == ("fresh", "shared")
    assert field_flags.choices(schema, "image_size") == ()


def test_the_version_is_one_everywhere():
    assert f"\nversion: {ganjax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()


@pytest.fixture(scope="module")
def bash(tmp_path_factory):
    """Returns a function from a line to what bash completes its last word with."""
    before = list(sys.path)
    sys.path.insert(0, str(ROOT))
    file = tmp_path_factory.mktemp("completion") / "ganjax.bash"
    file.write_text(completion.script("bash"))
    sys.path[:] = before

    def complete(*lines):
        calls = [
            f"COMP_LINE={json.dumps(line)}; COMP_POINT={len(line)}; _ganjax; "
            'printf "%s " "${COMPREPLY[@]}"; echo'
            for line in lines
        ]
        code = f"source {file}; " + "; ".join(calls)
        done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
        return [line.split() for line in done.stdout.splitlines()]

    complete.file = file
    return complete


def test_bash_completes_commands_configs_presets_and_fields(bash):
    found = bash(
        "ganjax tr",
        "ganjax train wgan",
        "ganjax train wgan_gp:c",
        "ganjax train wgan_gp --config.n_cr",
        "ganjax train wgan_gp --config.n_critic=",
        "ganjax sweep ema",
        "ganjax sample --nu",
        "ganjax completion z",
    )
    assert found == [
        ["train"],
        [
            "wgan",
            "wgan:celeb_a",
            "wgan_gp",
            "wgan_gp:celeb_a",
            "wgan_gp:tutorial",
            "wgan_gp:folder",
        ],
        ["celeb_a"],  # bash divides words at colons, and keeps what is before them.
        ["--config.n_critic="],
        [],
        ["ema_decay"],
        ["--num=", "--numbered"],
        ["zsh"],
    ]


def test_the_completion_of_bash_is_clean_and_that_of_zsh_has_the_same_words(bash):
    done = subprocess.run(
        [
            Path(sys.executable).parent / "shellcheck",
            "--shell=bash",
            "--severity=warning",
            bash.file,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    script = completion.script("zsh")
    assert script.startswith("#compdef ganjax\n")
    for word in ("'wgan_gp:celeb_a'", "'--config.n_critic='", "'ema_decay'", "'--numbered'"):
        assert f" {word}" in script or f"({word}" in script


def test_what_starts_at_once_imports_no_jax():
    """For `--version`, `configs` and wrong commands, which would otherwise take seconds."""
    seen, waiting = set(), ["ganjax/commands.py", "ganjax/listing.py"]
    while waiting:
        path = ROOT / waiting.pop()
        seen.add(path)
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in getattr(node, "names", [])]
            module = getattr(node, "module", "") if isinstance(node, ast.ImportFrom) else ""
            if isinstance(node, ast.Import | ast.ImportFrom):
                for name in [f"{module}.{name}".lstrip(".") for name in names]:
                    assert name.partition(".")[0] not in {"jax", "flax", "optax", "orbax"}, path
                    for file in (name, name.rpartition(".")[0]):
                        own = ROOT / f"{file.replace('.', '/')}.py"
                        if file.startswith("ganjax") and own.is_file() and own not in seen:
                            waiting.append(str(own.relative_to(ROOT)))
    assert len(seen) > 5


def test_a_run_says_that_it_starts_before_it_imports_jax(monkeypatch, capsys):
    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr(main.descriptors, "allow_most", stop)
    monkeypatch.setattr(main.flags, "FLAGS", SimpleNamespace(dry_run=False))
    with pytest.raises(KeyboardInterrupt):
        main.main([])
    assert capsys.readouterr().out == f"ganjax {ganjax.__version__} is starting\n"


@pytest.mark.slow
def test_a_wheel_has_the_command_the_configs_and_the_sweeps(tmp_path):
    """Built from the source distribution, installed into a new environment, used elsewhere."""

    def run(*command, code=0, **options):
        done = subprocess.run(
            [str(each) for each in command], capture_output=True, text=True, check=False, **options
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    files = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    source = tmp_path / "source"
    for name in filter(None, files.stdout.split("\0")):
        if not name.startswith(("tests/", "docs/")) and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = "from setuptools import build_meta; build_meta.build_{}('.')"
    run(sys.executable, "-c", build.format("sdist"), cwd=source)
    (archive,) = source.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        extract(opened, tmp_path)
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    run(sys.executable, "-c", build.format("wheel"), cwd=unpacked)
    (wheel,) = unpacked.glob("*.whl")
    venv, elsewhere = tmp_path / "venv", tmp_path / "elsewhere"
    elsewhere.mkdir()
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    pip = (sys.executable, "-m", "pip", "--python", venv / "bin" / "python")
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel)
    # The dependencies are those of this environment, whose own ganjax this does not import.
    environment = os.environ | {"PYTHONPATH": sysconfig.get_path("purelib")}
    options = {"cwd": elsewhere, "env": environment}
    command = venv / "bin" / "ganjax"
    assert run(command, "--version", **options).stdout == f"ganjax {ganjax.__version__}\n"
    assert run(command, "configs", **options).stdout == listing.text() + "\n"
    refused = run(command, "train", "wgan_gp", "--config.total_steps=0", code=2, **options)
    assert refused.stderr.startswith("ganjax: config.total_steps=0: say how long the run is")
    refused = run(command, "launch", "wgan_gp", "--slurm.nodes=2", code=2, **options)
    assert refused.stderr == "ganjax: --slurm.nodes=2: set --nodes\n"
    planned = run(command, "sweep", "ema_decay:smoke", "--executor=dry", **options)
    assert "runs/ema_decay_smoke" in planned.stdout
    code = "from ganjax import shipped; print(shipped.root())"
    root = Path(run(venv / "bin" / "python", "-c", code, **options).stdout.strip())
    assert root.is_relative_to(venv)
    assert (root / "experiments" / "tools" / "page.html").is_file()


@pytest.mark.parametrize("words", [["--help"], ["sample", "--help"]])
def test_help_that_is_read_in_part_ends_without_a_word(words):
    """As with `ganjax sample --help | head`."""
    command = [sys.executable, "-m", "ganjax", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == -signal.SIGPIPE
