#!/usr/bin/env bash
# Builds wheel and sdist from the last commit twice, in different folders, at different times, and compares the bytes.
# dist/ holds them when both builds agree.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$PWD/.venv/bin/python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$("$python" -m hatchling version)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH SETUPTOOLS_SCM_PRETEND_VERSION=$version
for build in first second/deeper; do
  mkdir -p "$work/$build"
  git archive HEAD | tar -x -C "$work/$build"
  [ "$build" = first ] || { find "$work/$build" -exec touch -d 2001-02-03 {} +; umask 077; }
  (cd "$work/$build" && "$python" -m hatchling build -t sdist -t wheel >"$work/log" 2>&1) || { cat "$work/log"; exit 1; }
done
if ! diff <(cd "$work/first/dist" && sha256sum -- *) <(cd "$work/second/deeper/dist" && sha256sum -- *); then
  echo "the two builds differ: something in them depends on when or where they are made" >&2
  exit 1
fi
umask 022
rm -rf dist
cp -r "$work/first/dist" dist
(cd dist && sha256sum -- *)
