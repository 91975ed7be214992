#!/usr/bin/env bash
# What machines judge: formatting, lint, types, layers, locks. All of it runs; the first failure is the exit code.
set -uo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
status=0
run() {
  echo "==> $*"
  "$@" || status=1
}
run "$bin/ruff" check .
run "$bin/black" --check --quiet .
run "$bin/isort" --check-only --quiet .
run "$bin/mypy"
run "$bin/lint-imports"
echo "==> locks hold no host"
if grep -n '://' requirements*.lock benchmarks/requirements.lock; then status=1; fi
exit $status
