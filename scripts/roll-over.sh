#!/usr/bin/env bash
# Puts a new image under the API's replicas without losing a request: starts as many new ones, waits until they are
# healthy and ready, then ends the old ones, which finish what they have in work. Run it in the deployment folder.
#   scripts/roll-over.sh NAME@sha256:...
# ROLL_OVER_READY_S: how long a healthy replica may take to become ready (60).
set -euo pipefail
image=${1:?usage: roll-over.sh NAME@sha256:...}
if [[ $image != *@sha256:* && -z ${ROLL_OVER_IMAGE_IS_LOCAL:-} ]]; then
  echo "$image has no digest; a release is named by name@sha256:..." >&2
  exit 2
fi
mapfile -t old < <(docker compose ps -q grodt)
count=${#old[@]}
[ "$count" -gt 0 ] || { echo "no replica runs; docker compose up -d --wait" >&2; exit 2; }

new_replicas() {
  local container
  while read -r container; do
    [[ " ${old[*]} " == *" $container "* ]] || echo "$container"
  done < <(docker compose ps -aq grodt)
}

# Healthy is alive, no more: one whose schema is another, or that is halted, would take requests and fail them.
become_ready() {
  local container end=$((SECONDS + ${ROLL_OVER_READY_S:-60}))
  for container in $(new_replicas); do
    until docker exec "$container" python -m grodtd.health --ready; do
      [ "$SECONDS" -lt "$end" ] || return 1
      sleep 1
    done
  done
}

export GRODT_IMAGE=$image
if ! docker compose up -d --no-deps --no-recreate --wait --scale "grodt=$((2 * count))" grodt || ! become_ready; then
  echo "the new replicas did not become healthy and ready; ending them, the old ones go on" >&2
  for container in $(new_replicas); do docker rm -f "$container" >/dev/null; done
  exit 1
fi
sleep 2 # the proxy looks up names each second: from now on it knows the new ones
for container in "${old[@]}"; do
  docker stop --time 60 "$container" >/dev/null
  docker rm "$container" >/dev/null
done
echo "$count replicas run $image; write GRODT_IMAGE=$image into .env"
