"""`ganjax COMMAND ...`, which is also `python -m ganjax COMMAND ...`.

Each command is a module that runs by itself as well: `ganjax train wgan_gp --workdir=runs/a` is
`python -m ganjax.main --config=wgan_gp --workdir=runs/a`. Nothing but the command's own module is
imported, so that `ganjax --version` is answered at once.
"""

import difflib
import os
import runpy
import sys
from collections.abc import Sequence
from typing import NamedTuple

import ganjax
from ganjax import shipped
from ganjax.runtime import signals


class Command(NamedTuple):
    """A command.

    Attributes:
      module: the module that runs when the command is called.
      meaning: what it does, for the list of commands.
      subject: the flag that the first word gives, such as "config" where `train wgan_gp` stands for
        `train --config=wgan_gp`; "" if words are the command's own.
    """

    module: str
    meaning: str
    subject: str = ""


COMMANDS = {
    "train": Command("ganjax.main", "trains a config, or continues its run", "config"),
    "configs": Command("ganjax.listing", "lists the configs and sweeps that come with ganjax"),
    "show": Command("ganjax.data.show", "shows the images that a config trains on", "config"),
    "summary": Command("ganjax.summary", "lists the layers of a config's networks", "config"),
    "sample": Command("ganjax.sample", "draws samples of a run, in many ways"),
    "evaluate": Command("ganjax.evaluate", "measures a run's samples, or any images"),
    "tag": Command("ganjax.tag", "finds the tags of images by a run of configs/tagging.py"),
    "compare": Command("ganjax.compare", "draws the curves and samples of runs in a picture"),
    "metrics": Command("ganjax.explain", "explains the metrics that runs log"),
    "prepare": Command("ganjax.data.prepare", "decodes and resizes a set of images once"),
    "sweep": Command("experiments.sweep", "trains the runs of a sweep", "sweep"),
    "report": Command("experiments.report", "reports the results of a sweep", "sweep"),
    "launch": Command("experiments.launch.slurm", "trains a config on a Slurm cluster", "config"),
    "completion": Command("ganjax.completion", "prints the tab completion of bash or zsh"),
}

HELP = ("--help", "-help", "-h", "help")


def usage() -> str:
    """Returns the list of commands."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "usage: ganjax COMMAND ...",
            "",
            *(f"  {name:{width}}  {command.meaning}" for name, command in COMMANDS.items()),
            "",
            "ganjax COMMAND --help explains a command, and ganjax train NAME --help every field of",
            "a config; ganjax --version prints the version. For a start: ganjax train wgan_gp",
        ]
    )


def arguments(command: Command, words: Sequence[str]) -> list[str]:
    """Returns the arguments of a command's module.

    Args:
      command: the command.
      words: what was typed after its name. Where a word names the command's subject, it is the
        first that is no flag and no value of one.
    """
    before = ""
    for at, word in enumerate(words):
        if not word.startswith("-"):
            if command.subject and (not before or "=" in before or before in HELP):
                return [*words[:at], f"--{command.subject}={word}", *words[at + 1 :]]
            break
        before = word
    return list(words)


def main() -> None:
    """Runs the command that `sys.argv` names."""
    name, *words = sys.argv[1:] or ["--help"]
    if name == "help" and words:
        name, words = words[0], ["--help", *words[1:]]
    if name in HELP:
        signals.end_with_the_reader()
        print(usage())
    elif name == "--version":
        print(f"ganjax {ganjax.__version__}")
    elif name in COMMANDS:
        command = COMMANDS[name]
        _find_modules(command)
        sys.argv = [f"ganjax {name}", *arguments(command, words)]
        runpy.run_module(command.module, run_name="__main__", alter_sys=True)
    else:
        print(f"ganjax: {_no_command(name)}", file=sys.stderr)
        sys.exit(2)


def _no_command(name: str) -> str:
    """Returns what is said of a word in the place of a command's name."""
    close = difflib.get_close_matches(name, COMMANDS, 1)
    if not close and shipped.config_file(name.partition(":")[0]):
        close = [f"ganjax train {name}"]
    mend = f"did you mean {close[0]}?" if close else f"there are {', '.join(COMMANDS)}"
    return f"{name!r} is no command; {mend}"


def _find_modules(command: Command) -> None:
    """Lets the command import modules of the current folder, and experiments/ from any folder.

    The current folder comes last, so that no file in it takes the place of a library's module.
    """
    if command.module.startswith("experiments."):
        sys.path.insert(0, str(shipped.root()))
    if not sys.flags.safe_path:
        sys.path.append(os.getcwd())
