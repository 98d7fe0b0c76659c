#!/usr/bin/env bash
# Trains on all workers of a Cloud TPU pod slice.
#
#   export TPU_NAME=ganjax TPU_ZONE=us-central2-b
#   experiments/launch/tpu_pod.sh create v4-32            # gcloud's accelerator type
#   experiments/launch/tpu_pod.sh install REPOSITORY_URL  # on every worker, into ~/ganjax
#   experiments/launch/tpu_pod.sh train --config=configs/wgan_gp.py:celeb_a --workdir=/mnt/runs/a
#   experiments/launch/tpu_pod.sh delete
#
# --workdir and the data must be on a file system that all workers mount (Filestore, NFS). `train`
# returns when the run has ended; after a preemption, or when a worker failed, call it again. If the
# workers cannot join, each of them fails; none trains alone. DRY=1 prints the gcloud commands.
set -euo pipefail

usage() {
  echo "usage: TPU_NAME=NAME TPU_ZONE=ZONE tpu_pod.sh create TYPE | install URL | train FLAGS | delete" >&2
  exit 2
}

[[ $# -ge 1 && -n ${TPU_NAME:-} && -n ${TPU_ZONE:-} ]] || usage
action=$1
shift

gcloud_tpu() {
  local command=(gcloud compute tpus tpu-vm "$@" --zone="$TPU_ZONE")
  if [[ -n ${DRY:-} ]]; then
    printf '%q ' "${command[@]}"
    echo
  else
    "${command[@]}"
  fi
}

on_all_workers() {
  gcloud_tpu ssh "$TPU_NAME" --worker=all --command="$1"
}

case $action in
  create)
    [[ $# -eq 1 ]] || usage
    gcloud_tpu create "$TPU_NAME" --accelerator-type="$1" --version="${TPU_IMAGE:-tpu-ubuntu2204-base}"
    ;;
  install)
    [[ $# -eq 1 ]] || usage
    # The images of TPU VMs have Ubuntu 22.04, whose Python is too old for ganjax.
    on_all_workers "git clone $(printf '%q' "$1") ganjax && python3 -m pip install --user uv && \
python3 -m uv venv --python 3.12 ganjax/.venv && \
python3 -m uv pip install --python ganjax/.venv/bin/python -e './ganjax[tpu]'"
    ;;
  train)
    [[ $# -ge 1 ]] || usage
    on_all_workers "cd ganjax && .venv/bin/python -m ganjax.main --distributed=tpu $(printf '%q ' "$@")"
    ;;
  delete)
    [[ $# -eq 0 ]] || usage
    gcloud_tpu delete "$TPU_NAME" --quiet
    ;;
  *) usage ;;
esac
