"""submitit's executor of Slurm with any option of sbatch, and what Slurm says of a job."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import submitit

# The most times that a job that ran out of time returns to the queue.
MOST_REQUEUES = 100


class Executor(submitit.SlurmExecutor):
    """submitit's executor of Slurm, which takes any option of sbatch.

    It also exists on a machine without Slurm, where it can show the script of a job.

    Args:
      folder: where submitit's files and the outputs of jobs go.
      parameters: options of sbatch by name with underscores, whose values are texts, or True for
        an option without a value; and parameters of submitit's executor that are no texts.
    """

    def __init__(self, folder: Path, parameters: Mapping[str, Any]):
        super().__init__(folder, max_num_timeout=MOST_REQUEUES)
        # Texts are sbatch's own, as of mem, which is a number of gigabytes to submitit.
        known = self._valid_parameters()
        texts = {k: v for k, v in parameters.items() if isinstance(v, str) or k not in known}
        own = {k: v for k, v in parameters.items() if k not in texts}
        if "cpus_per_task" in own:
            # Since Slurm 22.05 srun does not take over this option from sbatch.
            own["srun_args"] = [f"--cpus-per-task={own['cpus_per_task']}"]
        self.update_parameters(**own, additional_parameters=texts)

    @classmethod
    def affinity(cls) -> int:
        """Returns how well this executor suits the machine, for submitit."""
        return 1

    def script(self) -> str:
        """Returns the script that sbatch is given."""
        return self._make_submission_file_text(self._submitit_command_str, "")


def refusal(error: Exception) -> str:
    """Returns in one line what sbatch said of a job that it refused."""
    lines = str(error).strip().splitlines()
    said = [line.removeprefix("sbatch: ") for line in lines if line.startswith("sbatch: ")]
    return "; ".join(line.removeprefix("error: ") for line in said or lines[-1:])
