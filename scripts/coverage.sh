#!/usr/bin/env bash
# Branch coverage of the compiled and the interpreted run together: numba hides compiled lines from the tracer.
# Run `make test COVERAGE=1` first; this adds the interpreted run, combines, and judges (tests/coverage-floors.yaml).
#   scripts/coverage.sh [--update]      --update writes what was measured as the new floors
set -euo pipefail
cd "$(dirname "$0")/.."
py=.venv/bin/python
compgen -G '.coverage.*' >/dev/null || { echo "there is no measured run; make test COVERAGE=1 first" >&2; exit 1; }
NUMBA_DISABLE_JIT=1 "$py" -m coverage run -m pytest -q -n "$(nproc)" --dist worksteal -m "not slow and not browser and not postgres" \
  tests/unit tests/properties tests/parity tests/oracle
"$py" -m coverage combine --quiet
mkdir -p build/ci
"$py" -m coverage report
"$py" -m coverage json --quiet -o build/ci/coverage.json
"$py" scripts/ci/coverage_floors.py build/ci/coverage.json "$@"
