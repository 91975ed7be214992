#!/usr/bin/env bash
# Builds stand-ins for the images docker-compose.yml names, from Debian's packages, where no container registry can be
# had (tests/docker/standins/Dockerfile). Prints the variables that make the compose file use them. Grafana has none:
# no package ships it.
set -euo pipefail
cd "$(dirname "$0")/.."
arguments=(--network host)
for name in postgres prometheus alertmanager caddy; do
  context=()
  [ "$name" != caddy ] || context=(--build-context "tools=.tools/bin")
  docker build --quiet "${arguments[@]}" "${context[@]}" --target "$name" --tag "grodt-standin/$name" tests/docker/standins >&2
done
cat <<'END'
GRODT_POSTGRES_IMAGE=grodt-standin/postgres
GRODT_PROMETHEUS_IMAGE=grodt-standin/prometheus
GRODT_ALERTMANAGER_IMAGE=grodt-standin/alertmanager
GRODT_PROXY_IMAGE=grodt-standin/caddy
END
