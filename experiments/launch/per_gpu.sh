#!/usr/bin/env bash
# Trains on this node with one process for each GPU. (One process for all needs no launcher:
# python -m ganjax.main --config=... drives all GPUs, and is as fast; one for each GPU helps where
# the host's Python, not the GPUs, sets the pace: each process reads its own part of the data.)
#
#   experiments/launch/per_gpu.sh 8 --config=configs/wgan_gp.py:celeb_a
#
# PORT is the coordinator's; by default one that is free. Ctrl-C or SIGTERM stops all at the same
# step, saved. Where one process dies the others end too; the same command goes on from the last
# checkpoint.
set -euo pipefail

if [[ $# -lt 2 || ! $1 =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: per_gpu.sh PROCESSES --config=FILE [flags of ganjax.main]" >&2
  exit 2
fi
count=$1
shift

# GPUs that are assigned to this job keep to it.
IFS=, read -ra gpus <<< "${CUDA_VISIBLE_DEVICES:-$(seq -s, 0 $((count - 1)))}"
if [[ ${#gpus[@]} -lt $count ]]; then
  echo "per_gpu.sh: $count processes, but CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES" >&2
  exit 2
fi

python=${PYTHON:-python}
free='import socket; s = socket.create_server(("", 0)); print(s.getsockname()[1])'
port=${PORT:-$("$python" -c "$free")}

children=()
# One suffices: its process tells the others, and a second signal would quit unsaved.
trap 'kill -TERM "${children[0]-}" 2>/dev/null || true' TERM INT

for ((i = 0; i < count; i++)); do
  # In its own process group: Ctrl-C at the terminal is for this script alone.
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
