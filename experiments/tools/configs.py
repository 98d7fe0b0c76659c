"""Reading of the config files in configs/ by the names that experiments and benchmarks use."""

from pathlib import Path

from experiments import ROOT
from ganjax import config_file
from ganjax.config import ConfigDict
from ganjax.errors import UserError

FOLDER = ROOT / "configs"


def named(name: str) -> ConfigDict:
    """Reads a shipped config.

    Args:
      name: the name of a file in configs/ without .py, followed by :<preset> for a preset.

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
      preset: the name of a preset, or "" for the default.
      given: the flag as the user gave it, for an error message.

    Raises:
      UserError: there is no such preset, or the file makes no config.
    """
    try:
        return config_file.load(str(path), preset)
    except UserError as error:
        raise UserError(f"{given}: {error}") from None
