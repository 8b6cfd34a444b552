#!/usr/bin/env bash
# Start a Python entry point in one or several processes:
#   tools/launch.sh [--nproc=N] [--gpus=LIST] [--timeout=MINUTES] ENTRY ARGS...
# By default there is one process a GPU, or one on a CPU. --nproc N starts N processes a node; on a
# CPU they talk through gloo. In a Slurm allocation of several nodes, each node runs one torchrun.
# A single process needs none. --timeout is the longest wait of a process for another one, which
# ends the job; without it, training, scoring and preparing have waits of their own.
set -euo pipefail
# The signal of Slurm ahead of the end of a job's time ends no launcher: a training takes it. Tasks
# of srun begin with the signals of a login, so they ignore it once more.
trap '' USR1
nproc= gpus= timeout=
while [[ ${1:-} =~ ^--(nproc|gpus|timeout)= ]]; do
  option=${1#--}
  printf -v "${option%%=*}" %s "${option#*=}"
  shift
done
[ -z "$timeout" ] || export WEDEFENSE_TIMEOUT=$timeout
if [ -z "$nproc" ]; then
  # An empty CUDA_VISIBLE_DEVICES hides all GPUs; one that is not set hides none.
  if ! nvidia-smi -L > /dev/null 2>&1 || [ "${CUDA_VISIBLE_DEVICES-all}" = "" ]; then
    nproc=1
  elif [ -n "$gpus" ]; then
    nproc=$(tr -cd '0-9,' <<< "$gpus" | tr , '\n' | grep -c .)
  elif [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then
    nproc=$(tr , '\n' <<< "$CUDA_VISIBLE_DEVICES" | grep -c .)
  else
    nproc=$(nvidia-smi -L | grep -c ^GPU)
  fi
fi
[ -z "$gpus" ] || set -- "$@" --gpus "$gpus"
if [ "${SLURM_NNODES:-1}" -gt 1 ]; then
  # Jobs that share a node need different ports. The restart count keeps a requeued job apart from
  # processes of its first run.
  job_number=${SLURM_JOB_ID//[!0-9]/}
  port=$((20000 + 10#${job_number:-0} % 20000))
  exec srun --ntasks-per-node=1 --nodes="$SLURM_NNODES" --kill-on-bad-exit=1 \
    bash -c "trap '' USR1; exec \"\$@\"" bash \
    torchrun --nnodes="$SLURM_NNODES" --nproc_per_node="$nproc" --max-restarts=0 \
    --rdzv_backend=c10d --rdzv_endpoint="$(hostname):$port" \
    --rdzv_id="$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}" "$@"
fi
if [ "$nproc" = 1 ]; then exec python "$@"; fi
exec torchrun --standalone --nproc_per_node="$nproc" --max-restarts=0 "$@"
