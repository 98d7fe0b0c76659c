"""Launching a run on many devices; each file holds its exact command.

- One node, many GPUs: `python -m ganjax.main --config=...` as it stands: in JAX one process drives
  all devices of its host. `per_gpu.sh` has a process for each instead.
- `slurm.py`: nodes of a Slurm cluster, through submitit.
- `tpu_pod.sh`: all workers of a Cloud TPU pod slice, through gcloud.

Every process is given the same --workdir, on a file system that all reach (NFS, Lustre, Filestore):
each saves its part of a checkpoint there. All that was started is started again after a failure,
and goes on from the last checkpoint.
"""
