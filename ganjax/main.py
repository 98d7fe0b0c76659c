"""`python -m ganjax.main --config=configs/<name>.py[:<preset>]`: trains, or goes on training."""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from ganjax import cli
from ganjax.errors import UserError


def define_flags() -> None:
    """Defines this command's flags; not on import, where another command's would clash."""
    cli.define_config()
    flags.DEFINE_string("workdir", None, "The run's folder; by default runs/<config name>.")


def default_workdir(config_path: str) -> Path:
    """runs/<name> for configs/<name>.py, runs/<name>_<preset> for a preset."""
    path, _, preset = config_path.partition(":")
    return Path("runs") / "_".join(filter(None, (Path(path).stem, preset)))


def main(argv: list[str]) -> None:
    """Trains what the flags name."""
    del argv
    # Imported here, so that a wrong flag is answered, and a Ctrl-C obeyed, at once.
    from ganjax.train import train

    cli.cache_compilations()
    named = config_flags.get_config_filename(flags.FLAGS["config"])
    folder = flags.FLAGS.workdir
    if folder == "":
        raise UserError("--workdir= is empty: name a folder or leave the flag out")
    train(flags.FLAGS.config, folder or default_workdir(named))


if __name__ == "__main__":
    cli.run(main, define_flags, required="config", check=cli.check_config)
