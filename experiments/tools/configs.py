"""Shipped configs by name, as experiments and benchmarks take them."""

import runpy

from ml_collections import ConfigDict

from experiments.tools.design import ROOT
from ganjax.errors import UserError

FOLDER = ROOT / "configs"


def named(name: str) -> ConfigDict:
    """What configs/<name>.py gives.

    Args:
      name: of the file, without .py, with :<preset> behind it if wanted.

    Raises:
      UserError: there is no such file or preset.
    """
    file, _, preset = name.partition(":")
    path = FOLDER / f"{file}.py"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.py")))
        raise UserError(f"--config={name}: configs/ has no {file}.py, but {known}")
    try:
        return runpy.run_path(str(path))["get_config"](preset)
    except ValueError as error:
        raise UserError(f"--config={name}: {error}") from None
