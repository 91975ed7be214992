#!/usr/bin/env bash
# Builds the images and tests them and the whole stack on the Docker engine of this machine.
# Without an engine it says SKIPPED and ends with 77, or with 1 if GRODT_REQUIRE_DOCKER=1. Without a container registry
# the images of others are replaced by stand-ins from Debian's packages (scripts/standin-images.sh), which it says.
#   scripts/test-docker.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "$0")/.."

if ! docker version >/dev/null 2>&1; then
  echo "SKIPPED test-docker: no Docker engine answers"
  [ -z "${GRODT_REQUIRE_DOCKER:-}" ] || exit 1
  exit 77
fi

step() { printf '==> %s (%ss)\n' "$*" "$SECONDS"; }

step "lint: hadolint, trivy (misconfiguration, secrets), compose"
.tools/bin/hadolint Dockerfile tests/docker/standins/Dockerfile
.tools/bin/trivy config --quiet --exit-code 1 --severity HIGH,CRITICAL --skip-check-update --skip-dirs .venv --skip-dirs .tools --skip-dirs build .
.tools/bin/trivy fs --quiet --exit-code 1 --scanners secret --skip-dirs .venv --skip-dirs .tools --skip-dirs build --skip-dirs data .
.tools/bin/caddy validate --config configs/Caddyfile --adapter caddyfile 2>/dev/null
docker compose -f docker-compose.yml -f docker-compose.dev.yml config --quiet

if ! docker pull --quiet "$(sed -n 's/^ARG PYTHON_IMAGE=//p' Dockerfile)" >/dev/null 2>&1; then
  step "SKIPPED the images of others: no registry answers; stand-ins take their place, Grafana has none"
  set -a
  # shellcheck source=/dev/null  # it prints assignments
  . <(scripts/standin-images.sh)
  set +a
fi
step "images"
scripts/images.sh

step "tests"
GRODT_TEST_DOCKER=1 .venv/bin/python -m pytest tests/docker -p no:randomly -p no:xdist -v -rs "$@"
step "done"
