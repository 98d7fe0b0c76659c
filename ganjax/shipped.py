"""The configs and sweeps that come with ganjax: where they are, and what they say of themselves.

They are read as text, because to run a config is to import JAX, which takes seconds.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PACKAGE = Path(__file__).resolve().parent
# The folder of an installed package to which setup.py copies configs/ and experiments/.
INSIDE = "_shipped"


class Entry(NamedTuple):
    """A config with its preset, or a sweep.

    Attributes:
      name: what a command calls it, such as "wgan_gp" or "wgan_gp:celeb_a".
      meaning: a line that says what it is.
    """

    name: str
    meaning: str


def root() -> Path:
    """Returns the folder of configs/ and experiments/.

    It is in the package where that was installed from a wheel, and beside it in a checkout.
    """
    inside = _PACKAGE / INSIDE
    return inside if inside.is_dir() else _PACKAGE.parent


def config_file(named: str) -> Path | None:
    """Returns the file of a config, or None if there is none.

    Args:
      named: the path of a file, or the name of a shipped config, such as "wgan_gp".
    """
    return _file(named, "configs")


def sweep_file(named: str) -> Path | None:
    """Returns the file of a sweep, or None if there is none.

    Args:
      named: the path of a file, which may be relative to the folder of experiments/, or the name of
        a shipped sweep, such as "ema_decay".
    """
    beside = root() / named
    return _file(named, "experiments") or (beside if beside.is_file() else None)


def _file(named: str, folder: str) -> Path | None:
    by_name = root() / folder / f"{named}.py"
    shipped = named.isidentifier() and by_name.is_file()
    path = by_name if shipped else Path(named)
    return path if path.is_file() else None


def config_names() -> list[str]:
    """Returns the names of the shipped configs, without presets."""
    return sorted(path.stem for path in (root() / "configs").glob("*.py"))


def sweep_names() -> list[str]:
    """Returns the names of the shipped sweeps, without presets."""
    files = sorted((root() / "experiments").glob("*.py"))
    return [path.stem for path in files if "\nSWEEP = " in path.read_text(encoding="utf-8")]


def configs() -> list[Entry]:
    """Returns every preset of every shipped config: the default, then the others, by config."""
    return [entry for name in config_names() for entry in _presets(name)]


def sweeps() -> list[Entry]:
    """Returns every shipped sweep, without its presets."""
    files = [root() / "experiments" / f"{name}.py" for name in sweep_names()]
    return [Entry(path.stem, _title(_parsed(path))) for path in files]


def _presets(config: str) -> Iterator[Entry]:
    """Yields the presets of a config, each with what stands beside its command in the docstring."""
    module = _parsed(root() / "configs" / f"{config}.py")
    beside = rf"^ *ganjax train ({config}(?::\w+)?) {{2,}}(.+)$"
    meanings = dict(re.findall(beside, ast.get_docstring(module) or "", re.MULTILINE))
    yield Entry(config, _title(module))
    names = [f"{config}:{preset}" for preset in _preset_names(module)[1:]]
    # Those that a comprehension makes are named in the docstring alone.
    names += [each for each in meanings if ":" in each and each not in names]
    for name in names:
        yield Entry(name, meanings.get(name, ""))


def _preset_names(module: ast.Module) -> list[str]:
    """Returns the names in a config file's get_config = presets(...), the default first."""
    for node in module.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "get_config":
            assert isinstance(node.value, ast.Call)
            return [ast.unparse(argument) for argument in node.value.args]
    return []


def _title(module: ast.Module) -> str:
    return (ast.get_docstring(module) or "").partition("\n")[0].rstrip(".")


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
