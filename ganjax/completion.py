"""`ganjax completion bash|zsh`: prints what makes the shell complete commands, configs and flags.

For bash, which reads the file when `ganjax` is first completed:
    mkdir -p ~/.local/share/bash-completion/completions
    ganjax completion bash > ~/.local/share/bash-completion/completions/ganjax

For zsh, in a folder of fpath:
    ganjax completion zsh > ~/.zsh/completions/_ganjax

The script names the configs, flags and fields of the version that printed it, so that completing
starts no Python.
"""

import importlib
import runpy
import sys
from collections.abc import Iterator, Sequence

import ml_collections
from absl import flags

from ganjax import cli, shipped
from ganjax.commands import COMMANDS, Command
from ganjax.config import ConfigDict

SHELLS = ("bash", "zsh")

# The word under the cursor is taken from the line, since bash would divide it at : and =.
BASH = """\
# Tab completion of ganjax for bash, printed by: ganjax completion bash
_ganjax() {{
  local line=${{COMP_LINE:0:COMP_POINT}}
  local word=${{line##* }} words='' typed
  read -ra typed <<< "$line"
  if [[ ${{#typed[@]}} -lt 2 || ( ${{#typed[@]}} -eq 2 && -n $word ) ]]; then
    words={commands}
  else
    case ${{typed[1]}} in
{cases}
    esac
  fi
  local before=${{word%"${{word##*[:=]}}"}} each
  COMPREPLY=()
  for each in $words; do
    if [[ $each == "$word"* && ( $each != *= || $each != "$word" ) ]]; then
      COMPREPLY+=("${{each#"$before"}}")
    fi
  done
  if [[ ${{COMPREPLY[0]}} == *= ]]; then compopt -o nospace 2> /dev/null; fi
}}
complete -o default -F _ganjax ganjax
"""
BASH_CASE = "      {name}) words={words} ;;"

ZSH = """\
#compdef ganjax
# Tab completion of ganjax for zsh, printed by: ganjax completion zsh
_ganjax() {{
  local -a found
  local added=1
  if compset -P '--*='; then
    _files
    return
  elif (( CURRENT == 2 )); then
    found=({commands})
  else
    case ${{words[2]}} in
{cases}
    esac
  fi
  compadd -S '' -- ${{(M)found:#*=}} && added=0
  compadd -- ${{found:#*=}} && added=0
  (( added )) && _files
}}
if [[ ${{funcstack[1]}} == _ganjax ]]; then _ganjax "$@"; else compdef _ganjax ganjax; fi
"""
ZSH_CASE = "      {name}) found=({words}) ;;"


def define_flags() -> None:
    """Defines this command's flags, of which there are none."""


def script(shell: str) -> str:
    """Returns the script of a shell, "bash" or "zsh"."""
    completed = {
        name: [*_subjects(command), *_flags(command)] for name, command in COMMANDS.items()
    }
    completed["completion"] = list(SHELLS)
    form, case = (BASH, BASH_CASE) if shell == "bash" else (ZSH, ZSH_CASE)
    quoted = (lambda words: f"'{' '.join(words)}'") if shell == "bash" else _each_quoted
    cases = [case.format(name=name, words=quoted(words)) for name, words in completed.items()]
    return form.format(commands=quoted([*COMMANDS, "--version"]), cases="\n".join(cases))


def _each_quoted(words: Sequence[str]) -> str:
    return " ".join(f"'{word}'" for word in words)


def _subjects(command: Command) -> list[str]:
    """Returns the names that a command takes as its first word: its subjects or own commands."""
    entries = {"config": shipped.configs, "sweep": shipped.sweeps}.get(command.subject, list)()
    own = getattr(importlib.import_module(command.module), "COMMANDS", ())
    return [*(entry.name for entry in entries), *own]


def _flags(command: Command) -> Iterator[str]:
    """Yields the flags of a command, with = if they take a value, and those of config fields."""
    others = set(flags.FLAGS)
    importlib.import_module(command.module).define_flags()
    own = sorted(set(flags.FLAGS) - others)
    for name in own:
        flag = flags.FLAGS[name]
        yield f"--{name}" if flag.boolean else f"--{name}="
        delattr(flags.FLAGS, name)
    yield "--help"
    if "config" in own:
        yield from (f"--config.{path}=" for path in _fields())


def _fields() -> list[str]:
    """Returns the dotted names of the fields of all shipped configs."""
    found = set()
    for name in shipped.config_names():
        presets = runpy.run_path(str(shipped.config_file(name)))["get_config"].presets
        for make in presets.values():
            found.update(_paths(make()))
    return sorted(found)


def _paths(group: ConfigDict, at: str = "") -> Iterator[str]:
    for name in group:
        if isinstance(group[name], ml_collections.ConfigDict):
            yield from _paths(group[name], f"{at}{name}.")
        else:
            yield f"{at}{name}"


def main(argv: list[str]) -> None:
    """Prints the script of the shell that the argument names."""
    (shell,) = argv[1:] or ["bash"]
    # The modules of sweeps, whose flags are named too.
    sys.path.insert(0, str(shipped.root()))
    print(script(shell), end="")


if __name__ == "__main__":
    cli.run(main, define_flags, commands=SHELLS, computes=False)
