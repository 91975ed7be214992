#!/usr/bin/env bash
# Branch coverage of the compiled and the interpreted run together: numba hides compiled lines from the tracer.
# Run `make test COVERAGE=1` first; this adds the interpreted run, combines and judges.
set -euo pipefail
cd "$(dirname "$0")/.."
py=.venv/bin/python
NUMBA_DISABLE_JIT=1 "$py" -m coverage run -m pytest -q -n 2 -m "not slow and not browser and not postgres" \
  tests/unit tests/properties tests/parity tests/oracle
"$py" -m coverage combine --quiet
"$py" -m coverage report --fail-under=85
