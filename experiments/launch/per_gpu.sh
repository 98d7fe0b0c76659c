#!/usr/bin/env bash
# Trains on this node with one process for each GPU. One process for all GPUs, by python -m
# ganjax.main --config=..., needs no launcher; several help if the host's Python is the bottleneck,
# because each process reads its own part of the data.
#
#   experiments/launch/per_gpu.sh 8 --config=configs/wgan_gp.py:celeb_a
#
# PORT is the coordinator's port, by default a free one. Ctrl-C or SIGTERM stops all processes at the
# same step, after saving. If one process dies the others end too; the same command goes on from the
# last checkpoint.
set -euo pipefail

if [[ $# -lt 2 || ! $1 =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: per_gpu.sh PROCESSES --config=FILE [flags of ganjax.main]" >&2
  exit 2
fi
count=$1
shift

# Takes only GPUs that are assigned to this job.
IFS=, read -ra gpus <<< "${CUDA_VISIBLE_DEVICES:-$(seq -s, 0 $((count - 1)))}"
if [[ ${#gpus[@]} -lt $count ]]; then
  echo "per_gpu.sh: $count processes, but CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES" >&2
  exit 2
fi

python=${PYTHON:-python}
free='import socket; s = socket.create_server(("", 0)); print(s.getsockname()[1])'
port=${PORT:-$("$python" -c "$free")}

children=()
# Telling one process is enough: it tells the others, and a second signal would quit unsaved.
trap 'kill -TERM "${children[0]-}" 2>/dev/null || true' TERM INT

for ((i = 0; i < count; i++)); do
  # Each has a process group of its own, so that Ctrl-C at the terminal reaches only this script.
  CUDA_VISIBLE_DEVICES=${gpus[i]} setsid "$python" -m ganjax.main "$@" \
    --coordinator="localhost:$port" --num_processes="$count" --process_id="$i" &
  children+=("$!")
done

status=0
for child in "${children[@]}"; do
  code=0
  wait "$child" || code=$?
  # A trapped signal ends the wait before the child has ended.
  while kill -0 "$child" 2>/dev/null; do
    code=0
    wait "$child" || code=$?
  done
  ((status)) || status=$code
done
exit "$status"
