"""Trains on nodes of a Slurm cluster through submitit, with a process for all GPUs of a node.

    pip install -e '.[cuda,launch]'
    python -m experiments.launch.slurm --nodes=2 --gpus_per_node=8 --hours=24 \\
        --slurm.partition=gpu --slurm.account=vision --slurm.qos=high --slurm.constraint=h100 \\
        --slurm.mem=200G --setup='module load cuda' \\
        --config=wgan_gp:celeb_a --workdir=/shared/runs/wgan_gp_celeb_a

--slurm.<option>=<value> gives any option of sbatch, and --setup a line of shell before the run;
both may be repeated. --print shows the script and queues nothing. All other flags are those of
ganjax.main, which are checked before the job is queued (check.py). The job's outputs are written
to --logs. Shortly before its time is over, or when it is preempted, the job saves and returns to
the queue. `--cluster=local` runs the same on this machine, without Slurm.

A process for each GPU, which JAX finds by Slurm's variables, needs no launcher:

    srun --nodes=2 --ntasks-per-node=8 --gpus-per-node=8 python -m ganjax.main \\
        --distributed=slurm --config=configs/wgan_gp.py:celeb_a --workdir=/shared/runs/a
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import submitit
from submitit.core.utils import FailedJobError
from submitit.helpers import DelayedSubmission

from experiments.launch import sbatch
from ganjax import cli

# Above the well-known ports, and below those of outgoing connections on Linux (from 32,768 on).
FIRST_PORT, LAST_PORT = 20_000, 32_767
# The beginning of flags that are options of sbatch.
OPTION = "--slurm."
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

    def checkpoint(self) -> DelayedSubmission:
        """Stops the run after saving, and returns the job that submitit queues to continue it.

        submitit calls this before a job is ended, for one task, which stops all of them at the same
        step.
        """
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):  # It has ended.
                os.kill(self._child.pid, signal.SIGTERM)
                # Not Popen.wait(): this signal handler interrupts `__call__`, whose own wait()
                # holds a lock.
                os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(Train(self.flags))


def executor(args: argparse.Namespace) -> submitit.Executor:
    """Returns the executor of the job that the launcher's flags describe."""
    if args.cluster == "local":
        local = submitit.LocalExecutor(args.logs)
        local.update_parameters(
            nodes=1,
            tasks_per_node=args.tasks_per_node,
            gpus_per_node=args.gpus_per_node,
            timeout_min=round(60 * args.hours),
        )
        return local
    parameters = {
        "job_name": "ganjax",
        "nodes": args.nodes,
        "ntasks_per_node": args.tasks_per_node,
        "gpus_per_node": args.gpus_per_node or None,
        "cpus_per_task": args.cpus_per_task,
        "time": round(60 * args.hours),
        "setup": args.setup or None,
    }
    return sbatch.Executor(args.logs, parameters | args.slurm)


def submit(args: argparse.Namespace, flags: list[str]) -> submitit.Job:
    """Puts a job with the flags of ganjax.main into the queue that `args` describe."""
    return executor(args).submit(Train(flags))


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


def _options(texts: list[str]) -> dict[str, str | bool]:
    """Returns the options of sbatch that flags --slurm.<option>=<value> give.

    Raises:
      ValueError: the launcher sets the option itself.
    """
    options = {}
    for text in texts:
        name, equals, value = text.removeprefix(OPTION).partition("=")
        name = name.replace("-", "_")
        if name in OWN:
            raise ValueError(f"{text}: {OWN[name]}")
        options[name] = value if equals else True
    return options


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Splits arguments into the launcher's flags and those of ganjax.main."""
    # No flag of ganjax.main may be taken for the abbreviation of one of the launcher.
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0], allow_abbrev=False)
    parser.add_argument("--cluster", default="slurm", choices=("slurm", "local"))
    parser.add_argument("--nodes", type=_positive, default=1)
    parser.add_argument("--tasks_per_node", type=_positive, default=1, help="processes")
    parser.add_argument("--gpus_per_node", type=int, default=0)
    parser.add_argument("--cpus_per_task", type=_positive, default=8)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--setup", action="append", default=[], help="a line of shell")
    parser.add_argument("--print", action="store_true", help="show the script, queue nothing")
    parser.add_argument("--logs", type=cli.path, default=Path("runs/slurm"))
    options = [each for each in argv if each.startswith(OPTION)]
    args, flags = parser.parse_known_args([each for each in argv if each not in options])
    try:
        args.slurm = _options(options)
    except ValueError as error:
        parser.error(str(error))
    of_slurm = [*options, *(["--setup"] * bool(args.setup)), *(["--print"] * args.print)]
    if args.cluster == "local" and of_slurm:
        parser.error(f"{of_slurm[0]} with --cluster=local: it has no Slurm; leave it out")
    if not args.hours >= 1 / 60:
        parser.error(f"--hours={args.hours}: a job takes a minute, 0.017, at least")
    if args.cluster == "local" and args.nodes > 1:
        parser.error(
            f"--nodes={args.nodes} with --cluster=local: there is one node; leave it at 1, or use "
            "--tasks_per_node"
        )
    if args.tasks_per_node > 1 and args.gpus_per_node:
        parser.error(
            f"--tasks_per_node={args.tasks_per_node} with --gpus_per_node: each process takes all "
            "GPUs of its node; leave it at 1, or use srun with --distributed=slurm"
        )
    if args.gpus_per_node < 0:
        parser.error(f"--gpus_per_node={args.gpus_per_node}: 0 is none")
    if not any(flag == "--config" or flag.startswith("--config=") for flag in flags):
        parser.error("--config is missing: name a file of configs/")
    return args, flags


def check(flags: list[str]) -> None:
    """Exits with a message if ganjax.main would refuse the flags."""
    command = [sys.executable, "-m", "experiments.launch.check", *flags]
    if code := subprocess.run(command).returncode:
        sys.exit(code)


def main() -> None:
    args, flags = parse(sys.argv[1:])
    if args.print:
        check(flags)
        queued = executor(args)
        assert isinstance(queued, sbatch.Executor)  # --print is refused with --cluster=local.
        print(queued.script())
        return
    if args.cluster == "slurm" and shutil.which("sbatch") is None:
        sys.exit("there is no sbatch here: run it on a login node, or add --cluster=local")
    check(flags)
    try:
        job = submit(args, flags)
    except FailedJobError as error:
        sys.exit(f"Slurm refused the job: {sbatch.refusal(error)}")
    print(f"job {job.job_id}: {job.paths.stdout}", flush=True)
    if args.cluster == "local":  # The job ends with this process.
        job.wait()
        print(job.stdout())
        if job.exception() is not None:
            print(_last_line(job), file=sys.stderr)
            sys.exit(1)


def _last_line(job: submitit.Job) -> str:
    """Returns the error of a run that failed, or where to find it."""
    said = [line for line in (job.stderr() or "").splitlines() if line.startswith("ganjax: ")]
    return said[-1] if said else f"job {job.job_id} failed: {job.paths.stderr}"


if __name__ == "__main__":
    main()
