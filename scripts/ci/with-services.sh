#!/usr/bin/env bash
# Runs a command with every service that tests ask for; what is absent then fails them, where it would skip them.
# PostgreSQL, Chromium and Prometheus are installed (Debian, Ubuntu) unless they are there; needs root, or sudo.
#   scripts/ci/with-services.sh make ci STAGES="test coverage"
set -euo pipefail
cd "$(dirname "$0")/../.."
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
"${as_root[@]}" scripts/ci-packages.sh
GRODT_TEST_POSTGRES_URL=$("${as_root[@]}" scripts/postgres-for-tests.sh start)
trap '"${as_root[@]}" scripts/postgres-for-tests.sh stop' EXIT
export GRODT_TEST_POSTGRES_URL GRODT_REQUIRE_POSTGRES=1 GRODT_REQUIRE_BROWSER=1 GRODT_REQUIRE_MONITORING=1
export GRODT_REQUIRE_TOOLS=1
"$@"
