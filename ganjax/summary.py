"""`ganjax summary <name>[:<preset>]`: lists both networks' layers.

Each has the shape of its output and its numbers of parameters, trainable and not. Nothing is
computed, and no images are needed.
"""

from absl import flags

from ganjax import cli, shared_flags
from ganjax.training.schema import LoopConfig, load


def define_flags() -> None:
    """Defines this command's flags."""
    shared_flags.define_config()


def layers(raw) -> str:
    """Returns the layers of a config's networks as text.

    Args:
      raw: the config, as `get_config` of a config file returns it.

    Raises:
      ConfigError: the config cannot be run.
    """
    # Imported here, so that a wrong flag is answered, and a Ctrl-C obeyed, at once.
    import jax

    from ganjax.training import layer_table

    config, module = load(raw)
    algorithm = module.build(_of_any_length(config))
    _, networks = layer_table.trace(algorithm, jax.random.key(0))
    return layer_table.table(networks)


def _of_any_length(config: LoopConfig) -> LoopConfig:
    """Returns a config with a number of steps, since epochs can be counted only by the images."""
    return config if config.total_steps else config.model_copy(update={"total_steps": 1})


def main(argv: list[str]) -> None:
    """Prints the layers of the config that the flags name."""
    del argv
    print(layers(flags.FLAGS.config))


if __name__ == "__main__":
    cli.run(main, define_flags, required="config", check=cli.check_config)
