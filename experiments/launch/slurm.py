"""`ganjax launch <name>[:<preset>]`: trains on nodes of a Slurm cluster, through submitit.

    ganjax launch wgan_gp:celeb_a --nodes=2 --gpus_per_node=8 --hours=24 \\
        --slurm.partition=gpu --slurm.account=vision --slurm.qos=high --slurm.constraint=h100 \\
        --slurm.mem=200G --setup='module load cuda' --workdir=/shared/runs/wgan_gp_celeb_a

The job has a process for all GPUs of a node. --slurm.<option>=<value> gives any option of sbatch,
and --setup a line of shell before the run; both may be repeated. --print shows the script and
queues nothing. All other flags are those of `ganjax train`, which are checked before the job is
queued. The job's outputs are written to --logs. Shortly before its time is over, or when it is
preempted, the job saves and returns to the queue. `--cluster=local` runs the same on this machine,
without Slurm. It needs pip install 'ganjax[launch]'.

A process for each GPU, which JAX finds by Slurm's variables, needs no launcher:

    srun --nodes=2 --ntasks-per-node=8 --gpus-per-node=8 ganjax train wgan_gp:celeb_a \\
        --distributed=slurm --workdir=/shared/runs/a
"""

import contextlib
import math
import os
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from ganjax import cli, shared_flags
from ganjax import main as ganjax_main
from ganjax.errors import UserError
from ganjax.runtime.limits import LARGEST

if TYPE_CHECKING:
    import submitit
    from submitit.helpers import DelayedSubmission

# Above the well-known ports, and below those of outgoing connections on Linux (from 32,768 on).
FIRST_PORT, LAST_PORT = 20_000, 32_767
# The beginning of flags that are options of sbatch.
OPTION = "slurm."
# The options of sbatch that the launcher sets, and how to set them.
OWN = {
    "nodes": "set --nodes",
    "ntasks_per_node": "set --tasks_per_node",
    "ntasks": "set --nodes and --tasks_per_node",
    "gpus_per_node": "set --gpus_per_node",
    "cpus_per_task": "set --cpus_per_task",
    "time": "set --hours",
    "output": "set --logs",
    "error": "set --logs",
    **dict.fromkeys(("array", "open_mode", "signal"), "the launcher needs its own"),
}


def join_flags(environment) -> list[str]:
    """Returns the flags of ganjax.main by which a task of a job joins the others.

    Args:
      environment: submitit's environment of the task, with job_id, hostnames, num_nodes,
        num_tasks and global_rank.
    """
    if environment.num_tasks == 1:
        return ["--distributed=none"]
    host = "localhost" if environment.num_nodes == 1 else environment.hostnames[0]
    port = FIRST_PORT + zlib.crc32(environment.job_id.encode()) % (LAST_PORT - FIRST_PORT + 1)
    return [
        f"--coordinator={host}:{port}",
        f"--num_processes={environment.num_tasks}",
        f"--process_id={environment.global_rank}",
    ]


class Train:
    """The task of a job, which runs ganjax.main in a process of its own.

    Args:
      flags: the flags of ganjax.main.
    """

    def __init__(self, flags: list[str]):
        self.flags = flags
        self._child = None

    def __call__(self) -> None:
        """Trains to the end of the run, or until the run is told to stop.

        Raises:
          subprocess.CalledProcessError: training failed.
        """
        import submitit

        command = [sys.executable, "-m", "ganjax.main", *self.flags]
        command += join_flags(submitit.JobEnvironment())
        # Slurm sends its warning to every process of the job. It is for this one, which then tells
        # the run to save; a run that received it would end unsaved.
        warning = getattr(signal, f"SIG{submitit.JobEnvironment.USR_SIG}")
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [warning])
        try:
            self._child = subprocess.Popen(command)  # It inherits the mask.
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        code = self._child.wait()
        # If another task was told to stop, this one stops too, which is no failure.
        if code not in (0, 128 + signal.SIGTERM):
            raise subprocess.CalledProcessError(code, command)

    def checkpoint(self) -> "DelayedSubmission":
        """Stops the run after saving, and returns the job that submitit queues to continue it.

        submitit calls this before a job is ended, for one task, which stops all of them at the same
        step.
        """
        from submitit.helpers import DelayedSubmission

        if self._child is not None:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):  # It has ended.
                os.kill(self._child.pid, signal.SIGTERM)
                # Not Popen.wait(): this signal handler interrupts `__call__`, whose own wait()
                # holds a lock.
                os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(Train(self.flags))


def define_launch(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of the launcher alone, also those for the options of sbatch in `argv`.

    Args:
      argv: the command's arguments.
      values: the set of flags to which they are added.
    """

    def count(name: str, default: int, least: int, text: str) -> None:
        flags.DEFINE_integer(
            name,
            default,
            text,
            lower_bound=least,
            upper_bound=LARGEST,
            flag_values=values,
        )

    flags.DEFINE_enum(
        "cluster", "slurm", ["slurm", "local"], "Where the job runs.", flag_values=values
    )
    count("nodes", 1, 1, "The number of nodes.")
    count("tasks_per_node", 1, 1, "The number of processes on a node.")
    count("gpus_per_node", 0, 0, "The number of GPUs of a node that its process takes.")
    count("cpus_per_task", 8, 1, "The number of CPU cores of a process.")
    flags.DEFINE_float("hours", 24.0, "The time of the job.", flag_values=values)
    flags.DEFINE_multi_string(
        "setup", [], "A line of shell before the run; may be repeated.", flag_values=values
    )
    flags.DEFINE_bool("print", False, "Show the script, queue nothing.", flag_values=values)
    shared_flags.define_path("logs", "runs/slurm", "The folder of the job's outputs.", values)
    for argument in dict.fromkeys(argv):
        name, equals, _ = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name.startswith(OPTION) and name not in values:
            define = flags.DEFINE_string if equals else flags.DEFINE_bool
            define(name, None, "An option of sbatch.", flag_values=values)


def define_flags() -> None:
    """Defines this command's flags, to which all of `ganjax train` belong."""
    define_launch(sys.argv)
    ganjax_main.define_flags()


def parse(argv: Sequence[str]) -> tuple[flags.FlagValues, list[str]]:
    """Returns the launcher's flags, and the arguments that are those of ganjax.main.

    Raises:
      UserError: no job can be as the flags say.
    """
    values = flags.FlagValues()
    define_launch(argv, values)
    values.set_gnu_getopt()
    _, *rest = values(["launch", *argv], known_only=True)
    for name in values:
        known = name.removeprefix(OPTION).replace("-", "_") if name.startswith(OPTION) else ""
        if known in OWN:
            raise UserError(f"--{name}={values[name].value}: {OWN[known]}")
    if values.cluster == "local":
        of_slurm = [
            name for name in values if name.startswith(OPTION) or name in ("setup", "print")
        ]
        for name in of_slurm:
            if values[name].value:
                raise UserError(f"--{name} with --cluster=local: it has no Slurm; leave it out")
        if values.nodes > 1:
            raise UserError(
                f"--nodes={values.nodes} with --cluster=local: there is one node; leave it at 1, "
                "or use --tasks_per_node"
            )
    if not 1 / 60 <= values.hours < math.inf:
        raise UserError(f"--hours={values.hours}: a job takes a minute, 0.017, at least")
    if values.tasks_per_node > 1 and values.gpus_per_node:
        raise UserError(
            f"--tasks_per_node={values.tasks_per_node} with --gpus_per_node: each process takes "
            "all GPUs of its node; leave it at 1, or use srun with --distributed=slurm"
        )
    return values, rest


def executor(values: flags.FlagValues) -> "submitit.Executor":
    """Returns the executor of the job that the launcher's flags describe."""
    import submitit

    from experiments.launch import sbatch

    logs, minutes = Path(values.logs), round(60 * values.hours)
    if values.cluster == "local":
        local = submitit.LocalExecutor(logs)
        local.update_parameters(
            nodes=1,
            tasks_per_node=values.tasks_per_node,
            gpus_per_node=values.gpus_per_node,
            timeout_min=minutes,
        )
        return local
    parameters: dict[str, Any] = {
        "job_name": "ganjax",
        "nodes": values.nodes,
        "ntasks_per_node": values.tasks_per_node,
        "gpus_per_node": values.gpus_per_node or None,
        "cpus_per_task": values.cpus_per_task,
        "time": minutes,
        "setup": values.setup or None,
    }
    options = [name for name in values if name.startswith(OPTION)]
    given = {name.removeprefix(OPTION).replace("-", "_"): values[name].value for name in options}
    return sbatch.Executor(logs, parameters | given)


def submit(values: flags.FlagValues, rest: list[str]) -> "submitit.Job":
    """Puts a job with the flags of ganjax.main into the queue that `values` describe."""
    return executor(values).submit(Train(rest))


def check() -> None:
    """Raises a UserError if the config is impossible; the job's images are left to the job."""
    from ganjax.training import domain, schema

    loaded = schema.load(flags.FLAGS.config)
    loaded.module.build(loaded.config)
    domain.of(loaded).check()


def main(argv: list[str]) -> None:
    """Queues the run that the flags name, or shows the job's script."""
    del argv
    values, rest = parse(sys.argv[1:])
    try:
        from submitit.core.utils import FailedJobError
    except ImportError as error:
        raise UserError(f"{error.name} is missing: pip install 'ganjax[launch]'") from None
    from experiments.launch import sbatch

    if not values.print and values.cluster == "slurm" and shutil.which("sbatch") is None:
        raise UserError("there is no sbatch here: run it on a login node, or add --cluster=local")
    check()
    if values.print:
        queued = executor(values)
        assert isinstance(queued, sbatch.Executor)  # --print is refused with --cluster=local.
        print(queued.script())
        return
    try:
        job = submit(values, rest)
    except FailedJobError as error:
        raise UserError(f"Slurm refused the job: {sbatch.refusal(error)}") from None
    print(f"job {job.job_id}: {job.paths.stdout}", flush=True)
    if values.cluster == "local":  # The job ends with this process.
        job.wait()
        print(job.stdout())
        if job.exception() is not None:
            print(_last_line(job), file=sys.stderr)
            sys.exit(1)


def _last_line(job: "submitit.Job") -> str:
    """Returns the error of a run that failed, or where to find it."""
    said = [line for line in (job.stderr() or "").splitlines() if line.startswith("ganjax: ")]
    return said[-1] if said else f"job {job.job_id} failed: {job.paths.stderr}"


if __name__ == "__main__":
    cli.run(main, define_flags, required="config", check=cli.check_config, computes=False)
