#!/usr/bin/env bash
# Runs jobs of the workflow on this machine with act: the workflow's own steps, in a fresh clone, on the host.
#   scripts/ci/act.sh [JOB...]      lint test integration security build
# Actions of others cannot be fetched without their host: each is a stand-in that does nothing, and is listed as SKIPPED.
# The Python of the matrix is what `setup-python` would bring; here python3 of the PATH takes its place.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
jobs=("$@")
[ ${#jobs[@]} -gt 0 ] || jobs=(lint test integration security build)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A stand-in for every action that a workflow names, under the very commit it names.
stand_ins=()
while read -r action; do
  name=${action%@*} folder=$work/actions/${action//[\/@]/_}
  repository=$(cut -d/ -f1-2 <<<"$name")
  mkdir -p "$folder"
  part=${name#"$repository"}
  mkdir -p "$folder$part"
  printf 'name: stand-in\ndescription: does nothing\nruns:\n  using: composite\n  steps:\n    - {run: "echo SKIPPED %s: a stand-in takes its place", shell: bash}\n' \
    "$name" >"$folder$part/action.yml"
  stand_ins+=(--local-repository "$repository@${action#*@}=$folder")
done < <(grep -rhoE 'uses: \S+' .github/workflows | cut -d' ' -f2 | grep -v '^actions/checkout@' | sort -u)

# On a machine where one is root there may be no sudo.
mkdir "$work/bin"
command -v sudo >/dev/null || { printf '#!/bin/sh\nexec "$@"\n' >"$work/bin/sudo"; chmod +x "$work/bin/sudo"; }

git clone --quiet "$root" "$work/clone"
[ ! -d "$root/../shared" ] || ln -s "$(cd "$root/../shared" && pwd)" "$work/shared"
cd "$work/clone"
# Each job is run by itself: what it waits for in the pipeline is run by its own name.
# What the server must have, a laptop may lack: it is skipped here, and said. The clone keeps the workflow as it is.
sed -e '/^    needs: /d' -e 's/^\( *GRODT_REQUIRE_[A-Z]*:\).*/\1 ""/' .github/workflows/ci-cd.yml >"$work/ci-cd.yml"
status=0
for job in "${jobs[@]}"; do
  printf '\n===== act: %s\n' "$job"
  matrix=()
  [ "$job" != test ] || matrix=(--matrix "python:3.11")
  "$root/.tools/bin/act" push --workflows "$work/ci-cd.yml" --job "$job" "${matrix[@]}" "${stand_ins[@]}" \
    --platform ubuntu-24.04=-self-hosted --action-offline-mode --pull=false --env "PATH=$work/bin:$PATH" || status=1
done
exit $status
