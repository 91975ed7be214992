#!/usr/bin/env bash
# A throw-away PostgreSQL for the contract tests, on loopback; needs root and the package postgresql.
#   scripts/postgres-for-tests.sh start    prints its URL
#   scripts/postgres-for-tests.sh stop     stops it and deletes it
set -euo pipefail
bin=$(find /usr/lib/postgresql -path '*/bin/initdb' 2>/dev/null | sort -V | tail -1 | xargs -r dirname)
home=${TMPDIR:-/tmp}/grodt-postgres-for-tests
port=${GRODT_TEST_POSTGRES_PORT:-54329}

case ${1:-} in
  start)
    if [ -z "$bin" ]; then
      echo "PostgreSQL is not installed: apt-get install postgresql" >&2
      exit 1
    fi
    if [ ! -d "$home/data" ]; then
      install -d -o postgres -m 700 "$home"
      runuser -u postgres -- "$bin/initdb" -D "$home/data" -A trust -U postgres \
        -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
    fi
    if ! runuser -u postgres -- "$bin/pg_ctl" -D "$home/data" status >/dev/null; then
      runuser -u postgres -- "$bin/pg_ctl" -D "$home/data" -w -l "$home/log" \
        -o "-p $port -k $home -c listen_addresses=127.0.0.1 -c fsync=off" start >/dev/null
    fi
    echo "postgresql://postgres@127.0.0.1:$port/postgres"
    ;;
  stop)
    if [ -d "$home/data" ]; then
      runuser -u postgres -- "$bin/pg_ctl" -D "$home/data" -m immediate stop >/dev/null || true
      rm -rf "$home"
    fi
    ;;
  *)
    echo "usage: $0 start|stop" >&2
    exit 2
    ;;
esac
