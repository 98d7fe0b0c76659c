"""Checks the flags and the config of a run before it waits in a queue.

    python -m experiments.launch.check --config=configs/wgan_gp.py:celeb_a --config.n_critic=3

It takes the flags of ganjax.main. Like ganjax.main, it answers a wrong name or value or an
impossible config with one line and exit code 2. It cannot check the images and devices of the job.
"""

from absl import flags

from ganjax import cli
from ganjax import main as ganjax_main
from ganjax.training import domain, schema


def main(argv: list[str]) -> None:
    """Builds the algorithm of the config, and trains nothing."""
    del argv
    loaded = schema.load(flags.FLAGS.config)
    loaded.module.build(loaded.config)
    domain.of(loaded).check()


if __name__ == "__main__":
    cli.run(main, ganjax_main.define_flags, required="config", check=cli.check_config)
