"""`ganjax sweep <name>[:<preset>]`: trains the runs of a sweep.

    ganjax sweep ema_decay --executor=dry
    ganjax sweep ema_decay
    ganjax sweep ema_decay:smoke     # minutes
    ganjax sweep dcgan_ada_cifar10 --executor=slurm \\
        --slurm=partition=gpu,gpus_per_node=1,cpus_per_task=8,time=1440,array_parallelism=16

If it is repeated, the same command continues runs that were stopped or killed, tries failed ones
again, and leaves finished and diverged ones alone. A run is recognised by a hash of its config.
`ganjax report` reports the results, also while the sweep is running. Both need pip install
'ganjax[experiments]'.
"""

from pathlib import Path
from typing import Any

from absl import flags

from ganjax import cli, shared_flags
from ganjax.errors import UserError


def define_flags() -> None:
    """Defines this command's flags."""
    shared_flags.define_path(
        "sweep",
        None,
        "The name of a shipped sweep (ganjax configs lists them) or the path of a sweep's file, "
        "followed by :smoke or another of its presets if wanted.",
    )
    flags.DEFINE_enum(
        "executor",
        "local",
        ["local", "slurm", "dry"],
        "local trains on this machine and ends when all runs have; slurm queues the runs and does "
        "not wait for them; dry checks every config and trains nothing.",
    )
    shared_flags.define_path(
        "out", None, "The folder of the sweep's runs; runs/<sweep> by default."
    )
    flags.DEFINE_integer(
        "jobs",
        None,
        "local: how many runs train at once; by default one for each GPU or, without a GPU, one "
        "for each core.",
        lower_bound=1,
    )
    flags.DEFINE_list(
        "slurm",
        [],
        "slurm: options of sbatch or parameters of submitit's executor, as name=value separated by "
        "commas: partition=gpu,account=vision,time=1440 (minutes).",
    )


def main(argv: list[str]) -> None:
    """Trains the sweep that the flags name."""
    del argv
    values = flags.FLAGS
    for flag, owner in (("jobs", "local"), ("slurm", "slurm")):
        if values[flag].present and values.executor != owner:
            raise UserError(f"--{flag} is a flag of --executor={owner}; leave it out")
    parameters = dict(_parameter(each) for each in values.slurm)
    try:
        import submitit  # noqa: F401
        from rich.console import Console
        from rich.live import Live
    except ImportError as error:
        raise UserError(f"{error.name} is missing: pip install 'ganjax[experiments]'") from None

    import jax

    from experiments.tools import design, jobs, runs
    from experiments.tools.board import Board

    # This process only plans; accelerators and their memory are for the jobs.
    jax.config.update("jax_platforms", "cpu")

    name, sweep, _ = design.load(values.sweep)
    out = Path(values.out or Path("runs") / name)
    planned = runs.plan(sweep, out)
    board = Board(sweep, planned)
    # A file or a pipe takes lines of any length.
    console = Console() if Console().is_terminal else Console(width=200)
    console.print(f"{sweep.question}\n", highlight=False)
    waiting = [run for run in planned if board.progress(run).state not in runs.OVER]
    if values.executor == "slurm":
        waiting = [run for run in waiting if not jobs.is_queued(run)]
        for run, job in jobs.submit_to_slurm(out, waiting, parameters) if waiting else []:
            console.print(f"{run.label}: job {job}", highlight=False)
    elif values.executor == "local":
        with Live(console=console, auto_refresh=False, transient=True) as live:

            def look():
                if console.is_terminal and board.is_old():
                    live.update(board.table(), refresh=True)

            def say(line):
                console.print(line, highlight=False, soft_wrap=True)

            jobs.run_locally(out, waiting, jobs.places(values.jobs), say, look)
    else:
        for run in planned:
            console.print(
                f"{run.hash}  {board.progress(run).state:9} {run.label}: {run.folder}",
                highlight=False,
                soft_wrap=True,
            )
    console.print(board.table())
    for line in board.failures():
        console.print(line, highlight=False, soft_wrap=True)
    if values.executor == "local":
        left = [run for run in planned if board.progress(run).state not in runs.OVER]
        if left:
            raise SystemExit(1)


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--slurm={text}: write name=value, such as partition=gpu")
    return name, int(value) if value.isdecimal() else value


if __name__ == "__main__":
    cli.run(main, define_flags, required="sweep")
