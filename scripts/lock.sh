#!/usr/bin/env bash
# Re-makes the four hash-pinned locks from pyproject.toml, and those of the benchmarks' peers and of the
# programs that judge the project; needs uv on the PATH
# (or UV=/path/to/uv).
# The locks name packages and hashes only, never where they come from.
#   scripts/lock.sh              keep the pinned versions that still fit
#   scripts/lock.sh --upgrade    take the newest versions that fit
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-uv}
everything=$(mktemp)
trap 'rm -f "$everything"' EXIT

build=$(sed -n 's/^requires = \[\(.*\)\]$/\1/p' pyproject.toml | tr -d '"' | tr ',' '\n')
compile() { # output, further arguments
  local output=$1
  shift
  printf '%s\n' "$build" |
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
      --output-file "$output" "$@" pyproject.toml -
}

cp requirements-dev.lock "$everything" 2>/dev/null || true
# One resolution of everything first: the four locks then agree on every version they share.
compile "$everything" --extra dev --extra research --extra live --extra ray "$@"
compile requirements.lock --constraint "$everything"
compile requirements-research.lock --extra research --constraint "$everything"
compile requirements-ray.lock --extra ray --constraint "$everything"
compile requirements-dev.lock --extra dev --extra research --extra ray --constraint "$everything"

# The peers we are measured against live in an environment of their own and share nothing with the four.
"$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
  --output-file benchmarks/requirements.lock "$@" benchmarks/requirements.txt

# Nor do the programs that lint, scan, and stand in for a pipeline.
"$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
  --no-strip-extras --output-file scripts/ci-tools.lock "$@" scripts/ci-tools.txt

if grep -n '://' requirements*.lock benchmarks/requirements.lock scripts/ci-tools.lock; then
  echo "a lock names a host; it must hold names and hashes only" >&2
  exit 1
fi
wc -l requirements*.lock benchmarks/requirements.lock scripts/ci-tools.lock
