"""Launchers of a run on many devices, each of which shows its exact command.

- One node with many GPUs needs no launcher: one process of `ganjax train` drives all devices of
  its host. `per_gpu.sh` starts a process for each GPU instead.
- `slurm.py`, which is `ganjax launch`, trains on nodes of a Slurm cluster, through submitit.
- `tpu_pod.sh` trains on all workers of a Cloud TPU pod slice, through gcloud.

Every process must be given the same --workdir, on a file system that all of them reach (NFS,
Lustre, Filestore), since each saves its part of a checkpoint there. After a failure, start all
processes again; the run goes on from its last checkpoint.
"""
