"""A Slurm of one node, this machine, for tests: its daemons and their files are in one folder."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from processes import free_port

# Where Debian has daemons, which is not on everybody's path.
PATH = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
DAEMONS = ("munged", "slurmctld", "slurmd")
# Without cgroups, which containers seldom have, and without accounting, which needs a database.
CONFIG = """\
ClusterName=test
SlurmctldHost={name}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
NodeName={name} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def is_installed() -> bool:
    """Returns whether all programs of a Slurm of one node are there."""
    return all(shutil.which(name, path=PATH) for name in (*DAEMONS, "sbatch"))


@contextlib.contextmanager
def running():
    """Starts the daemons, and yields the environment in which Slurm's commands reach them."""
    name = socket.gethostname().partition(".")[0]
    with tempfile.TemporaryDirectory(prefix="slurm-") as made, contextlib.ExitStack() as stack:
        folder = Path(made)  # Its path is short, as the path of a socket has to be.
        for each in ("state", "spool"):
            (folder / each).mkdir()
        key = folder / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        config = folder / "slurm.conf"
        text = CONFIG.format(
            name=name,
            user=getpass.getuser(),
            folder=folder,
            ports=(free_port(), free_port()),
            cpus=os.cpu_count(),
        )
        config.write_text(text)
        environment = os.environ | {"SLURM_CONF": str(config), "PATH": PATH}
        of_munge = {
            "key-file": key,
            "socket": folder / "munge.socket",
            "pid-file": folder / "m.pid",
        }
        of_munge |= {"log-file": folder / "munged.log", "seed-file": folder / "seed"}
        commands = [
            ["munged", "--foreground", "--force", *(f"--{k}={v}" for k, v in of_munge.items())],
            ["slurmctld", "-D", "-c", "-L", folder / "slurmctld.log"],
            ["slurmd", "-D", "-c", "-N", name, "-L", folder / "slurmd.log"],
        ]
        for command in commands:
            program = shutil.which(command[0], path=PATH)
            log = stack.enter_context((folder / f"{command[0]}.out").open("w"))
            daemon = subprocess.Popen(
                [program, *command[1:]], env=environment, stdout=log, stderr=subprocess.STDOUT
            )
            stack.callback(_end, daemon)
        _wait_for_node(environment, folder)
        yield environment


def _end(daemon: subprocess.Popen) -> None:
    daemon.terminate()
    try:
        daemon.wait(timeout=20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _wait_for_node(environment: dict[str, str], folder: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], env=environment, capture_output=True, text=True
        )
        if found.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    logs = "\n".join(f"{log}:\n{log.read_text()[-2000:]}" for log in sorted(folder.glob("*.log")))
    raise TimeoutError(f"sinfo: {found.stdout}{found.stderr}\n{logs}")
