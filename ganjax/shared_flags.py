"""The flags that several commands share."""

import math
import os
import sys
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from ganjax import config_file
from ganjax.errors import UserError
from ganjax.runtime import storage
from ganjax.runtime.limits import LARGEST

# The folder of pictures in that of a run.
SAMPLES = "samples"
# The help of --which.
WHICH = (
    "The checkpoint: best, by config.evaluation.best (the last where that is none), last, or "
    "the number of a step."
)


def path(text: str) -> Path:
    """Returns the path that a text names, where a leading ~ stands for the user's home."""
    return Path(text).expanduser()


class _PathParser(flags.ArgumentParser):
    """Parses a path, whose leading ~ the shell leaves as it is after --flag=."""

    syntactic_help = "a path"

    def parse(self, argument: str) -> str:
        """Returns the path with the user's home in place of a leading ~."""
        return os.path.expanduser(argument)


def define_path(
    name: str, default: str | None, help_text: str, values: flags.FlagValues = flags.FLAGS
) -> None:
    """Defines a flag that names a file or folder; its value is a text, without ~."""
    flags.DEFINE(_PathParser(), name, default, help_text, flag_values=values)


class _ShareParser(flags.FloatParser):
    """Parses a share of a whole, where absl's own bounds let nan through."""

    def __init__(self):
        super().__init__(lower_bound=0.0, upper_bound=1.0)

    def convert(self, argument: Any) -> float:
        """Returns the number, or raises a ValueError if it is none."""
        value = super().convert(argument)
        if math.isnan(value):
            raise ValueError(f"{argument} is not {self.syntactic_help}")
        return value


def define_share(name: str, default: float, help_text: str) -> None:
    """Defines a flag that holds a number in [0, 1]."""
    flags.DEFINE(_ShareParser(), name, default, help_text, serializer=flags.ArgumentSerializer())


def define_overwrite() -> None:
    """Defines --overwrite, without which a command replaces no file (`check_new`, `free`)."""
    flags.DEFINE_bool(
        "overwrite",
        False,
        "Whether files that are there already are replaced. Without it a name that you give is "
        "refused then, and a number is put to a default one.",
    )


def check_new(name: str, value: str | None, overwrite: bool) -> None:
    """Raises a UserError if the file that a flag names cannot be made, or is there already.

    Args:
      name: the name of the flag.
      value: the path that it names, or None.
      overwrite: the value of --overwrite.
    """
    if value is not None and os.path.lexists(value) and not overwrite:
        raise UserError(
            f"--{name}={value} is there already: add --overwrite to replace it, or name another"
        )
    if value is not None:
        try:
            storage.check_takes_files(Path(value).parent)
        except OSError as error:
            raise UserError(
                f"--{name}={value}: no file can be made there ({error.strerror}); name another"
            ) from None


def check_writable(folder: Path) -> None:
    """Raises a UserError if the folder of a run, into which a command writes by default, is there
    but cannot be written.
    """
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise UserError(f"{folder} cannot be written; say by --out where the picture goes")


def free(default: Path, overwrite: bool) -> Path:
    """Returns the path at which a command writes by default.

    Args:
      default: the path, to whose name a number is put if it is there already.
      overwrite: the value of --overwrite, which keeps the name as it is.
    """
    return default if overwrite else storage.free(default)


def sample_path(folder: Path, name: str, run: Any) -> Path:
    """Returns where a picture goes by default, in the folder of the run that it shows.

    Args:
      folder: the run's folder.
      name: the beginning of the picture's name.
      run: the `ganjax.analysis.trained.Trained`, or None if the picture shows no one checkpoint.
    """
    words = [name]
    if run is not None:
        words.append(f"step_{run.step:08d}")
        if run.config.num_seeds > 1:
            words.append(f"seed_{run.seed}")
    return folder / SAMPLES / f"{'_'.join(words)}.png"


def told(path: Path, out: str | None) -> str:
    """Returns the line that says where a command has written.

    What belongs to no run goes to the current folder by default, and how to choose another is said.

    Args:
      path: where it has written.
      out: the value of --out.
    """
    here = out is None and path.parent == Path()
    return f"{path} (in this folder; --out=<path> takes another)" if here else str(path)


def define_config(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines --config, which names a config file, and --config.<field>, which sets its fields.

    A flag that changes the kind of a part, such as --config.discriminator.network=mlp, gives it the
    fields and defaults of that kind, to which the other flags are then applied in any order.

    Args:
      values: the set of flags to which they are added.
    """
    config_flags.DEFINE_config_file(
        "config",
        None,
        "The name of a shipped config or the path of a config file, followed by :<preset> if "
        "wanted. --config.<field>=<value> sets a field, and --config=<name> --help lists them.",
        flag_values=values,
        lock_config=True,
    )
    values["config"].parser = _ConfigParser()


class _ConfigParser(flags.ArgumentParser):
    """Makes the config that a file describes ready for the flags that set its fields."""

    def parse(self, argument: str) -> Any:
        """Returns the config, with the kinds of parts that the command line names.

        Raises:
          UserError: the file makes no config, or a flag sets a field that it does not have.
        """
        # Imported here, so that commands without a config start at once.
        from ganjax import field_flags
        from ganjax.config import take_kinds

        config = config_file.load_named(argument)
        config.lock()
        changes = field_flags.given(flags.FLAGS.read_flags_from_files(sys.argv, force_gnu=False))
        take_kinds(config, changes)
        for path, value in changes.items():
            field_flags.check(config, path, value)
        return config


def define_seed_index() -> None:
    """Defines --seed_index, which selects one of a run's several seeds."""
    flags.DEFINE_integer(
        "seed_index",
        0,
        "Which of the run's config.num_seeds seeds, from 0.",
        lower_bound=0,
        upper_bound=LARGEST,
    )


def define_trust() -> None:
    """Defines --trust, without which a run executes no code but ganjax's."""
    flags.DEFINE_bool(
        "trust",
        False,
        "Whether the run's config.json may name code that is not ganjax's, such as an algorithm of "
        "your own (docs/security.md).",
    )
