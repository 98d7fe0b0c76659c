"""Input of every kind that no command expects: one line and exit code 2, or it makes sense."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags

from experiments.faults import processes
from experiments.faults.processes import Ended
from experiments.faults.runs import (
    HALF,
    OTHERS,
    PLAIN,
    TAGGED,
    TAGGER,
    TRAIN,
    flags_of,
    half_done,
    last_line,
    new_folder,
    noise_images,
    refused,
    tagging,
)
from experiments.faults.trial import Fault, Trial, expect
from ganjax import config_file

# The most seconds in which a command must answer.
PATIENCE = 60.0
SHOW, PREPARE = "ganjax.data.show", "ganjax.data.prepare"
NUMBERS = ("-1", "0", "3", "2147483647", "1000000000", "1" + "0" * 30, "1e400", "nan", "x", "")
TEXTS = ("", "x", "-", ",", "0,0", "-1", "1,2,x", "99999999999999999999", "\x1b[2J\n", "é" * 300)
VALUES = (*NUMBERS, "()", "(0,)", "(1,2,3)", "None", "True", "'", "{}", "[[1]]", "inf", "-inf")
# What a command is given besides, so that it has something to do.
BASES = {
    "ganjax.sample": ["--workdir=RUN", "--num=4", "--out=OUT/a.png"],
    "ganjax.evaluate": ["--workdir=RUN", "--metrics=swd", "--num=8"],
    "ganjax.compare": ["RUN", "--out=OUT/a.png"],
    SHOW: [*PLAIN, "--out=OUT/a.png"],
    "ganjax.tag": ["--workdir=TAGGER", f"SHARED/{TAGGED}/features.npy", "--out=OUT/a.png"],
    PREPARE: ["--source=embedded:mnist5k", "--size=4", "--out=OUT/set"],
}
WORDS = ("labels", "interpolate", "neighbours", "resolutions", "arithmetic", "evolution", "scores")


def answered(ended: Ended) -> str:
    """Checks that a command has done something or was refused in one line."""
    expect("Traceback" not in ended.out + ended.err, f"a traceback: {last_line(ended)}")
    return refused(ended) if ended.code else "done"


def asked(trial: Trial, module: str, arguments: list[str], **how) -> str:
    """Runs a command, and checks its answer; a message of failure has the arguments."""
    try:
        process = processes.command(module, arguments, new_folder(trial), **how)
        return answered(process.wait(PATIENCE))
    except Exception as error:
        said = " ".join(each if len(each) < 200 else f"{each[:200]}..." for each in arguments)
        raise type(error)(f"{module} {said}: {error}".replace(str(trial.folder), "OUT")) from None


def a_flag(trial: Trial) -> str:
    """Gives one flag of one command a value that makes no sense."""
    module = trial.random.choice([*BASES])
    places = {"RUN": trial.shared / "plain", "TAGGER": trial.shared / TAGGER}
    places |= {"SHARED": trial.shared, "OUT": trial.folder}
    base = BASES[module]
    for name, place in places.items():
        base = [each.replace(name, str(place)) for each in base]
    name, values = trial.random.choice(_flags_of(module, trial))
    kept = [each for each in base if not each.startswith(f"--{name}=")]
    word = [trial.random.choice(WORDS)] if module == "ganjax.sample" and trial.number % 2 else []
    value = f"--{name}={trial.random.choice(values)}"
    return asked(trial, module, [*word, *kept, value], at=trial.folder)


def _flags_of(module: str, trial: Trial) -> list[tuple[str, tuple[str, ...]]]:
    """Returns the names of a command's flags but --config, with values for each."""
    before = set(flags.FLAGS)
    importlib.import_module(module).define_flags()
    names = sorted(set(flags.FLAGS) - before)
    own = [flags.FLAGS[name] for name in names if name not in ("config", "dry_run")]
    for name in names:
        delattr(flags.FLAGS, name)
    kinds = {"int": NUMBERS, "float": NUMBERS, "bool": ("maybe", "")}
    strange = strange_paths(trial.folder / "strange")
    return [(flag.name, kinds.get(flag.flag_type(), (*strange, *TEXTS, *NUMBERS))) for flag in own]


def strange_paths(folder: Path) -> tuple[str, ...]:
    """Makes files and folders that no command expects, and returns their paths."""
    folder.mkdir()
    os.mkfifo(folder / "pipe.png")
    (folder / "empty").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "nothing.npz").write_bytes(b"")
    (folder / "junk.png").write_bytes(os.urandom(0) + bytes(range(256)) * 8)
    names = ("missing", "pipe.png", "empty", "loop", "nothing.npz", "junk.png", "a\nb", "x" * 300)
    return (
        *(str(folder / name) for name in names),
        "/dev/zero",
        "/dev/null",
        "/",
        "/proc/self/mem",
    )


def a_field(trial: Trial) -> str:
    """Gives one field of a config a value that makes no sense, and trains two steps."""
    name = trial.random.choice(("wgan_gp", *OTHERS))
    if name.startswith("tagging"):
        own = tagging(trial.folder / "set")
    else:
        own = flags_of(name, OTHERS[name]) if name in OTHERS else PLAIN
    field = trial.random.choice([*_fields(config_file.load_named(name))])
    value = f"--config.{field}={trial.random.choice(VALUES)}"
    arguments = [f"--workdir={trial.run}", *own, "--config.total_steps=2", value]
    if "steps" in field or "epochs" in field:
        arguments.append("--dry_run")  # Or it would train for ever.
    return asked(trial, TRAIN, arguments)


def _fields(config: Any, at: str = ""):
    for name, value in config.items():
        if isinstance(value, ml_collections.ConfigDict):
            yield from _fields(value, f"{at}{name}.")
        else:
            yield f"{at}{name}"


READERS = {
    "ganjax.sample": ["--workdir=RUN", "--num=4", "--out=OUT/a.png"],
    "ganjax.compare": ["RUN", "--out=OUT/a.png"],
    TRAIN: ["--workdir=RUN", *PLAIN],
}
STRANGE: tuple[Callable[[], Any], ...] = (
    lambda: None,
    lambda: {},
    lambda: [[]] * 3,
    lambda: -1,
    lambda: 10**40,
    lambda: 1e308,
    lambda: "x" * 10_000,
    lambda: "\x1b[31m\n",
    lambda: {"a": {"b": {}}},
    lambda: True,
)


def a_file_of_a_run(trial: Trial) -> str:
    """Puts something strange into config.json, or in place of another file, and reads the run."""
    run = half_done(trial)
    if trial.number % 2:
        content = json.loads((run / "config.json").read_text())
        group = content
        while True:
            name = trial.random.choice([*group])
            if not isinstance(group[name], dict):
                break
            group = group[name]
        group[name] = trial.random.choice(STRANGE)()
        (run / "config.json").write_text(json.dumps(content))
    else:
        name = trial.random.choice(["config.json", "metrics.jsonl", "data.json", "checkpoints"])
        shutil.rmtree(run / name) if name == "checkpoints" else (run / name).unlink()
        trial.random.choice(REPLACEMENTS)(run / name)
    module = [*READERS][trial.number % len(READERS)]
    arguments = [each.replace("RUN", str(run)) for each in READERS[module]]
    arguments = [each.replace("OUT", str(trial.folder)) for each in arguments]
    return asked(trial, module, arguments)


REPLACEMENTS: tuple[Callable[[Path], object], ...] = (
    lambda path: path.mkdir(),
    lambda path: os.mkfifo(path),
    lambda path: path.symlink_to(path.name),
    lambda path: path.symlink_to("/dev/zero"),
    lambda path: path.write_text("[" * 100_000),
    lambda path: path.write_text('{"step": 1e999, "format": 3}\n'),
    lambda path: path.write_text("null\n" * 1_000),
    lambda path: path.write_bytes(b"\xff\xfe\x00" * 1_000),
    lambda path: path.write_text(""),
)


def a_file_among_images(trial: Trial) -> str:
    """Puts something strange into a folder of images, which is shown and prepared."""
    images = noise_images(trial.folder / "images", 12)
    good = (images / "00.png").read_bytes()
    strange: tuple[Callable[[Path], object], ...] = (
        *REPLACEMENTS,
        lambda path: path.write_bytes(good[: len(good) // 2]),
        lambda path: path.write_bytes(good[:16] + b"\x7f\xff\xff\xff" * 2 + good[24:]),
        lambda path: path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(200)),
        lambda path: path.write_bytes(b"RIFF\xff\xff\xff\xffWEBPVP8L" + bytes(200)),
        lambda path: path.write_bytes(b"BM" + bytes(8) + b"\xff" * 60),
    )
    names = [b"a.png", b"-.png", b"\xff.png", b"a\nb.png", b"\x1b[2J.jpg", b"..png", b"x.PNG"]
    place = os.path.join(os.fsencode(images), trial.random.choice(names))
    strange[trial.number % len(strange)](Path(os.fsdecode(place)))
    source = f"folder:{images}"
    if trial.number % 2:
        arguments = [f"--source={source}", "--size=4", f"--out={trial.folder / 'set'}"]
        return asked(trial, PREPARE, arguments)
    arguments = [*PLAIN, f"--config.data.source={source}", f"--out={trial.folder / 'a.png'}"]
    return asked(trial, SHOW, arguments)


ENVIRONMENTS = (
    {"HOME": ""},
    {"HOME": "/nowhere", "XDG_CACHE_HOME": ""},
    {"XDG_CACHE_HOME": "/proc"},
    {"JAX_COMPILATION_CACHE_DIR": "/proc/cache"},
    {"TMPDIR": "/nowhere"},
    {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    {"COLUMNS": "1", "TERM": "dumb"},
    {"JAX_PLATFORMS": "nothing"},
    {"JAX_PLATFORMS": "cuda"},
    {"JAX_NUM_CPU_DEVICES": "3"},
    {"JAX_NUM_CPU_DEVICES": "0"},
    {"JAX_NUM_CPU_DEVICES": "x"},
    {"SLURM_STEP_NUM_TASKS": "2"},
    {"GLIBC_TUNABLES": "x"},
)


def an_environment(trial: Trial) -> str:
    """Trains two steps in an environment that is not as usual."""
    own = ENVIRONMENTS[trial.number]
    named = " ".join(f"{name}={value}" for name, value in own.items())
    done = subprocess.run(
        [sys.executable, "-m", TRAIN, f"--workdir={trial.run}", *PLAIN, "--config.total_steps=2"],
        env=os.environ | own,
        capture_output=True,
        text=True,
        timeout=PATIENCE * processes.slowness(),
        check=False,
    )
    try:
        return f"{named}: {answered(Ended(done.returncode, done.stdout, done.stderr))}"
    except Exception as error:
        raise type(error)(f"{named}: {error}") from None


FAULTS = (
    Fault("a flag has a value without sense", a_flag, 30, 400, (TAGGER,)),
    Fault("a field of the config has a value without sense", a_field, 6, 300),
    Fault("a file of a run is something else", a_file_of_a_run, 6, 90, (HALF,)),
    Fault("a file among images is something else", a_file_among_images, 6, 56),
    Fault("the environment is unusual", an_environment, 0, len(ENVIRONMENTS)),
)
