"""`python -m ganjax.main --config=configs/<name>.py[:<preset>]`: trains, or goes on training."""

import os
from pathlib import Path

import jax
import platformdirs
from absl import flags
from ml_collections import config_flags

from ganjax import cli
from ganjax.config import ConfigError
from ganjax.train import train


def define_flags() -> None:
    """Defines this command's flags; not on import, where another command's would clash."""
    config_flags.DEFINE_config_file(
        "config", None, "A file of configs/, with :<preset> behind it if wanted.", lock_config=True
    )
    flags.DEFINE_string("workdir", None, "The run's folder; by default runs/<config name>.")


def default_workdir(config_path: str) -> Path:
    """runs/<name> for configs/<name>.py, runs/<name>_<preset> for a preset."""
    path, _, preset = config_path.partition(":")
    return Path("runs") / "_".join(filter(None, (Path(path).stem, preset)))


def main(argv: list[str]) -> None:
    """Trains what the flags name."""
    del argv
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # A resumed or repeated run need not compile again.
        jax.config.update("jax_compilation_cache_dir", platformdirs.user_cache_dir("ganjax"))
    named = config_flags.get_config_filename(flags.FLAGS["config"])
    train(flags.FLAGS.config, flags.FLAGS.workdir or default_workdir(named))


def check_path(argv: list[str]) -> None:
    """Raises ConfigError if --config names no file (ml_collections answers with a page)."""
    for argument in argv:
        name, _, value = argument.lstrip("-").partition("=")
        path = value.partition(":")[0]
        if name == "config" and not Path(path).is_file():
            raise ConfigError(f"--config={value}: there is no file {path!r}")


if __name__ == "__main__":
    cli.run(main, define_flags, required="config", check=check_path)
