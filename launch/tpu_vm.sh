#!/usr/bin/env bash
# A run on a TPU VM of Google Cloud, on all hosts of its slice.
#
#   launch/tpu_vm.sh --config configs/byol_imagenet.py
#
# The same line continues a run whose slice was preempted. Checkpoints and data lie in a
# bucket, which every host mounts as ~/bucket.
set -euo pipefail

NAME="${NAME:-ssljax}"                            # of the TPU VM
ZONE="${ZONE:-us-central2-b}"
TYPE="${TYPE:-v4-32}"
VERSION="${VERSION:-tpu-ubuntu2204-base}"
SOURCE="${SOURCE:?where to clone ssljax from, a URL of git}"
BUCKET="${BUCKET:?the name of the bucket}"
WORKDIR="${WORKDIR:-bucket/runs/$NAME}" # below the home folder

vm() {
  gcloud compute tpus tpu-vm "$1" "$NAME" --zone="$ZONE" "${@:2}"
}

on_every_host() {
  vm ssh --worker=all --command="$1"
}

state="$(vm describe --format='value(state)' 2>/dev/null || true)"
case "$state" in PREEMPTED | TERMINATED) # such a one never runs again
  vm delete --quiet
  state=""
  ;;
esac
if [ -z "$state" ]; then
  vm create --accelerator-type="$TYPE" --version="$VERSION" --spot
  on_every_host "git clone --depth=1 $(printf %q "$SOURCE") ssljax"
  on_every_host "sudo apt-get install -y gcsfuse"
  on_every_host "cd ssljax && python3 -m venv .venv && .venv/bin/pip install -e '.[tpu]'"
fi
on_every_host "mkdir -p bucket && (mountpoint -q bucket ||
  gcsfuse --implicit-dirs $(printf %q "$BUCKET") bucket)"
on_every_host "ssljax/.venv/bin/ssljax --workdir $(printf '%q ' "$WORKDIR" "$@")"
