"""`ganjax train <name>[:<preset>]`: trains, or continues training."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from ml_collections import ConfigDict, config_flags

import ganjax
from ganjax import cli, shared_flags
from ganjax.errors import UserError
from ganjax.runtime import compiling, descriptors, platforms
from ganjax.runtime.limits import LARGEST

if TYPE_CHECKING:
    from ganjax.training.start import Start

# The flags by which processes find each other.
OF_SEVERAL = ("distributed", "coordinator", "coordinator_token", "num_processes", "process_id")
# The flags of `_define_start` and `_define_loggers`.
OF_RUNS = (
    "new",
    "init_from",
    "init_players",
    "init_allow",
    "trust",
    "allow_change",
    "from_step",
    "logger",
)
# The largest values of flags.
MOST_PROCESSES, MOST_SECONDS = 65_536, 7 * 24 * 3_600


def define_flags() -> None:
    """Defines this command's flags."""
    shared_flags.define_config()
    shared_flags.define_path("workdir", None, "The run's folder; by default runs/<config name>.")
    _define_start()
    _define_loggers()
    flags.DEFINE_string(
        "distributed",
        None,
        "Where the processes of a run find each other: tpu, slurm, ompi, mpi4py, k8s or auto (the "
        "first of these that is there); none runs alone whatever the environment says.",
    )
    flags.DEFINE_string("coordinator", None, "Instead of --distributed: host:port of process 0.")
    flags.DEFINE_string(
        "coordinator_token",
        None,
        "With --coordinator: a secret of all processes, which turns strangers away; by default "
        "GANJAX_COORDINATOR_TOKEN of the environment, or none.",
    )
    flags.DEFINE_integer(
        "num_processes",
        None,
        "With --coordinator: how many processes there are.",
        upper_bound=MOST_PROCESSES,
    )
    flags.DEFINE_integer("process_id", None, "With --coordinator: which of them this is, from 0.")
    flags.DEFINE_integer(
        "join_timeout",
        300,
        "Seconds to wait for the other processes.",
        lower_bound=1,
        upper_bound=MOST_SECONDS,
    )
    flags.DEFINE_bool(
        "dry_run", False, "Compiles everything, trains nothing, and prints what a run needs."
    )
    flags.DEFINE_integer(
        "devices",
        None,
        "--dry_run: the number of devices to plan for.",
        lower_bound=1,
        upper_bound=platforms.MOST_DEVICES,
    )
    flags.DEFINE_string(
        "accelerator", None, "--dry_run: the accelerator, whose memory must hold the run."
    )


def _define_loggers() -> None:
    """Defines --logger, which is no field of a config, since a run is the same with and without."""
    flags.DEFINE_list(
        "logger",
        [],
        "Services that are told of the run besides TensorBoard, with commas between: wandb, mlflow "
        "or trackio (docs/loggers.md).",
    )


def _define_start() -> None:
    """Defines the flags that say how a run begins or goes on."""
    flags.DEFINE_bool(
        "new",
        False,
        "Begins a run in a folder of its own: runs/wgan_gp, or runs/wgan_gp-2 and so on.",
    )
    shared_flags.define_path(
        "init_from",
        "",
        "Begins with the weights of another run's checkpoint: its folder, or <folder>:<step>, "
        "<folder>:best or <folder>:last; by default the best.",
    )
    flags.DEFINE_enum(
        "init_players",
        "both",
        ["both", "generator"],
        "Which weights --init_from takes: those of both players, or of the generator alone.",
    )
    flags.DEFINE_list(
        "init_allow",
        [],
        "How that run may differ: classes, by which what belongs to classes begins anew; "
        "resolution, by which layers of resolutions that one run lacks begin anew or are left out.",
    )
    shared_flags.define_trust()
    flags.DEFINE_list(
        "allow_change",
        [],
        "Fields that may change from here on in a run that goes on, with commas between, such as "
        "d_optimiser.learning_rate (docs/runs.md).",
    )
    flags.DEFINE_integer(
        "from_step",
        None,
        "Goes on from the checkpoint of this step, and puts later ones aside.",
        lower_bound=0,
        upper_bound=LARGEST,
    )


def default_workdir(config_path: str) -> Path:
    """Returns the folder of a run without --workdir.

    Args:
      config_path: the value of --config: configs/<name>.py, whose runs go to runs/<name>, or
        configs/<name>.py:<preset>, whose runs go to runs/<name>_<preset>.
    """
    path, _, preset = config_path.partition(":")
    return Path("runs") / "_".join(filter(None, (Path(path).stem, preset)))


def main(argv: list[str]) -> None:
    """Trains the config that the flags name, or plans its run with --dry_run."""
    del argv
    values = flags.FLAGS
    if not values.dry_run:
        # JAX takes a second to import, and a first program many to compile.
        print(f"ganjax {ganjax.__version__} is starting", flush=True)
    # Imported here, so that a wrong flag is answered, and a Ctrl-C obeyed, at once.
    from ganjax.parallel import distributed, joining

    descriptors.allow_most()
    compiling.keep_programs()
    compiling.trim_memory()
    if values.workdir == "":
        raise UserError("--workdir= is empty: name a folder or leave the flag out")
    if values.dry_run:
        for name in OF_RUNS:
            if values[name].present:
                raise UserError(f"--{name}: --dry_run trains no run; take it away")
        for name in OF_SEVERAL:
            if values[name].present:
                # A token is not printed.
                value = "" if name == "coordinator_token" else f"={values[name].value}"
                raise UserError(
                    f"--{name}{value}: --dry_run is one process; take it away, and "
                    "say how many devices there are by --devices"
                )
        from ganjax.planning.dry_run import describe

        print(describe(_config(), devices=values.devices, accelerator=values.accelerator))
        return
    for name in ("devices", "accelerator"):
        if values[name].present:
            raise UserError(
                f"--{name}={values[name].value} plans a run, it starts none: add --dry_run, or "
                "take it away"
            )
    joining.join(
        values.distributed,
        values.coordinator,
        values.num_processes,
        values.process_id,
        values.join_timeout,
        token=values.coordinator_token,
    )
    # Imported after joining, before which nothing may use JAX.
    from ganjax.training.loop import train
    from ganjax.training.start import new_folder

    named = config_flags.get_config_filename(values["config"])
    folder = Path(values.workdir or default_workdir(named))
    start = _start()
    with distributed.exiting_on_error(), contextlib.ExitStack() as stack:
        if start.new:
            folder = stack.enter_context(new_folder(folder))
        train(_config(), folder, start=start, loggers=values.logger)


def _start() -> "Start":
    """Returns how the flags say that the run begins or goes on."""
    from ganjax.training.start import Start

    values = flags.FLAGS
    return Start(
        new=values.new,
        init_from=values.init_from,
        init_players=values.init_players,
        init_allow=tuple(values.init_allow),
        trust=values.trust,
        allow_change=tuple(values.allow_change),
        from_step=values.from_step,
    )


def _config() -> ConfigDict:
    """Returns the config of the file and the flags."""
    from ganjax.training.epochs import prefer

    config = flags.FLAGS.config
    prefer(config, config_flags.get_override_values(flags.FLAGS["config"]))
    return config


if __name__ == "__main__":
    cli.run(main, define_flags, required="config", check=cli.check_config)
