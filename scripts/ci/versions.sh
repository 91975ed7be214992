#!/usr/bin/env bash
# Tests on the supported Pythons that are not the one of .venv, each in an environment of its own made from the lock.
#   scripts/ci/versions.sh [MARKS]      which tests, as for `pytest -m`
set -euo pipefail
cd "$(dirname "$0")/../.."
marks=${1:-}
main=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
none=1
for version in 3.11 3.12 3.13; do
  [ "$version" != "$main" ] || continue
  # On the PATH, or where pyenv keeps them; a shim of pyenv's may stand for nothing, so each is tried.
  python=
  while read -r candidate; do
    if "$candidate" -c 'import ensurepip' 2>/dev/null; then python=$candidate; fi
  done < <(command -v "python$version"; find "${PYENV_ROOT:-$HOME/.pyenv}/versions" -path "*/$version.*/bin/python$version" 2>/dev/null)
  if [ -z "$python" ]; then
    echo "SKIPPED Python $version: not installed here"
    continue
  fi
  none=
  echo "==> Python $version (${SECONDS}s)"
  make --no-print-directory "VENV=build/venv-$version" "PYTHON=$python" "MARKS=$marks" "JUNIT=junit-$version.xml" test
done
[ -z "$none" ] || exit 77
