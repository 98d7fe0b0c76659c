"""What of a run can be refused before it waits in a queue: its flags and its config.

    python -m experiments.launch.check --config=configs/wgan_gp.py:celeb_a --config.n_critic=3

Takes the flags of ganjax.main, and answers a wrong name or value, and a config that cannot be, as
that does: one line, exit code 2. Of the images and devices of the job nothing is known here.
"""

from absl import flags

from ganjax import cli
from ganjax import main as ganjax_main
from ganjax.training import evaluation, schema


def main(argv: list[str]) -> None:
    """Builds what the config names, and trains nothing."""
    del argv
    config, module = schema.load(flags.FLAGS.config)
    module.build(config)
    evaluation.check(config)


if __name__ == "__main__":
    cli.run(main, ganjax_main.define_flags, required="config", check=cli.check_config)
