"""Reads the config files of configs/, as experiments and benchmarks name them."""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

from experiments import ROOT
from ganjax.errors import UserError

FOLDER = ROOT / "configs"


def named(name: str) -> ConfigDict:
    """Reads a shipped config.

    Args:
      name: the name of a file of configs/ without .py, with :<preset> after it for a preset.

    Raises:
      UserError: there is no such file or preset.
    """
    file, _, preset = name.partition(":")
    path = FOLDER / f"{file}.py"
    if not path.is_file():
        names = ", ".join(sorted(path.stem for path in FOLDER.glob("*.py")))
        raise UserError(f"--config={name}: configs/ has no {file}.py, but {names}")
    return from_file(path, preset, f"--config={name}")


def from_file(path: Path, preset: str, given: str) -> ConfigDict:
    """Reads a config file.

    Args:
      path: the file.
      preset: one of its presets, "" for the default.
      given: what the user gave, for the error.

    Raises:
      UserError: there is no such preset.
    """
    try:
        return runpy.run_path(str(path))["get_config"](preset)
    except ValueError as error:
        raise UserError(f"{given}: {error}") from None
