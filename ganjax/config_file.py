"""Config files: they are programs, and an error in one is told by its file and line."""

import contextlib
import os
import runpy
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ganjax import shipped
from ganjax.errors import UserError

GET_CONFIG = "get_config"


def load(file: str, *preset: str) -> ConfigDict:
    """Runs a config file, and returns the config that its `get_config` makes.

    Args:
      file: the path of the file.
      *preset: the name of the preset, if one is asked for.

    Raises:
      UserError: the file has no `get_config`, fails, or makes something else than a config.
    """
    with located(file):
        get_config = runpy.run_path(file).get(GET_CONFIG)
    if not callable(get_config):
        raise UserError(f"{file} has no function {GET_CONFIG}, which returns the config")
    with located(file):
        config = get_config(*preset)
    if not isinstance(config, dict | ConfigDict):
        what = "nothing: is a return missing?" if config is None else f"a {type(config).__name__}"
        raise UserError(f"{file}: its {GET_CONFIG} should return a ConfigDict, and returns {what}")
    return config if isinstance(config, ConfigDict) else ConfigDict(config)


def load_named(named: str) -> ConfigDict:
    """Returns the config that a text names, as the flag --config does.

    Args:
      named: the name of a shipped config or the path of a config file, followed by :<preset> if
        wanted.

    Raises:
      UserError: there is no such config, or its file makes none.
    """
    name, colon, preset = named.partition(":")
    return load(str(find(name)), *([preset] if colon else []))


def find(name: str) -> Path:
    """Returns the config file of a shipped config's name or of a path.

    Raises:
      UserError: there is none.
    """
    file = shipped.config_file(name)
    if file is None:
        raise UserError(
            f"--config={name}: there is no such file; give a path, or the name of a config "
            f"that comes with ganjax: {', '.join(shipped.config_names())}"
        )
    return file


@contextlib.contextmanager
def located(file: str) -> Iterator[None]:
    """Replaces any error by one line that says where in a file it is; a UserError stays as it is.

    Args:
      file: the path of the file, or what else the line should name.

    Raises:
      UserError: the body failed.
    """
    try:
        yield
    except UserError:
        raise
    except SyntaxError as error:
        raise UserError(f"{error.filename}:{error.lineno}: {_described(error)}") from None
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [each for each in frames if os.path.abspath(each.filename) == os.path.abspath(file)]
        where = f"{file}:{own[-1].lineno}" if own else file
        # An assignment to a field that a ConfigDict does not have fails inside its package.
        of_field = isinstance(error, AttributeError | KeyError) and frames[-1].filename.endswith(
            os.path.join("ml_collections", "config_dict", "config_dict.py")
        )
        raise UserError(f"{where}: {no_field(error) if of_field else _described(error)}") from None


def no_field(error: Any) -> str:
    """Returns one line for the error of a ConfigDict that lacks a field.

    That error of ml_collections is an AttributeError around a KeyError around the text.
    """
    while isinstance(error, Exception) and error.args:
        error = error.args[0]
    name, *hints = str(error).replace("'", "").replace('"', "").splitlines() or [""]
    # Where a field is set, the line also says that the config is locked and what else it has.
    name = name.removeprefix("Key ").partition(" does not exist")[0]
    return "; ".join([f"the config has no field {name}", *hints])


def _described(error: BaseException) -> str:
    """Returns an error's type and message."""
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return ": ".join(filter(None, (type(error).__name__, message)))
