#!/usr/bin/env bash
# Puts a new image under the API's replicas without losing a request: starts as many new ones, waits until they are
# healthy, then ends the old ones, which finish what they have in work. Run it in the deployment folder.
#   scripts/roll-over.sh NAME@sha256:...
set -euo pipefail
image=${1:?usage: roll-over.sh NAME@sha256:...}
if [[ $image != *@sha256:* && -z ${ROLL_OVER_IMAGE_IS_LOCAL:-} ]]; then
  echo "$image has no digest; a release is named by name@sha256:..." >&2
  exit 2
fi
mapfile -t old < <(docker compose ps -q grodt)
count=${#old[@]}
[ "$count" -gt 0 ] || { echo "no replica runs; docker compose up -d --wait" >&2; exit 2; }

export GRODT_IMAGE=$image
if ! docker compose up -d --no-deps --no-recreate --wait --scale "grodt=$((2 * count))" grodt; then
  echo "the new replicas did not become healthy; ending them, the old ones go on" >&2
  mapfile -t all < <(docker compose ps -aq grodt)
  for container in "${all[@]}"; do
    [[ " ${old[*]} " == *" $container "* ]] || docker rm -f "$container" >/dev/null
  done
  exit 1
fi
sleep 2 # the proxy looks up names each second: from now on it knows the new ones
for container in "${old[@]}"; do
  docker stop --time 60 "$container" >/dev/null
  docker rm "$container" >/dev/null
done
echo "$count replicas run $image; write GRODT_IMAGE=$image into .env"
