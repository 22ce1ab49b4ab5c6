#!/usr/bin/env bash
# A run on one node of Slurm or on many, which goes on by itself when it was preempted.
#
#   sbatch --nodes=2 launch/slurm.sh --config configs/byol_imagenet.py
#
#SBATCH --job-name=ssljax
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
#SBATCH --signal=B:TERM@300
set -euo pipefail

# What a site changes: how Python is found, and where runs lie for all nodes.
ACTIVATE="${ACTIVATE:-.venv/bin/activate}"
WORKDIR="${WORKDIR:-runs/$SLURM_JOB_NAME-$SLURM_JOB_ID}"

cd "${SLURM_SUBMIT_DIR:-.}"
if [ -f "$ACTIVATE" ]; then
  # shellcheck disable=SC1090
  source "$ACTIVATE"
fi

# SIGTERM comes 300 seconds before the time is up, and to jobs that are preempted: the
# run saves and ends, and is queued again; the same line continues it.
stopped=false
# shellcheck disable=SC2329 # the trap calls it
stop() {
  stopped=true
  kill -TERM "$run" 2>/dev/null || true
}
trap stop TERM

# One process a node, with all of its GPUs. JAX reads from Slurm's own variables who the
# others are. A process that dies ends the others.
srun --kill-on-bad-exit=1 python -m ssljax --workdir "$WORKDIR" "$@" &
run=$!
code=0
wait "$run" || code=$?
if "$stopped"; then
  wait "$run" || code=$? # the first wait ended at the signal
  scontrol requeue "$SLURM_JOB_ID"
elif [ "$code" -ne 0 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "${RETRIES:-3}" ] &&
  [ -d "$WORKDIR/checkpoints" ]; then
  scontrol requeue "$SLURM_JOB_ID" # a node was lost: from the last checkpoint on
fi
exit "$code"
