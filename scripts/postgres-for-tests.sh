#!/usr/bin/env bash
# A throw-away PostgreSQL 15 for the tests, on a unix socket and a loopback port, in a temporary folder.
#   export GRODT_TEST_POSTGRES_URL=$(scripts/postgres-for-tests.sh start)    prints the URL; again: the same one
#   scripts/postgres-for-tests.sh stop                                       stops it and deletes everything
set -euo pipefail
cd /
bin=/usr/lib/postgresql/15/bin
folder=${TMPDIR:-/tmp}/grodt-postgres-$(id -u)

# PostgreSQL refuses to run as root.
as_owner() { if [ "$(id -u)" -eq 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }

install_if_absent() {
  [ -x "$bin/initdb" ] && return
  if [ "$(id -u)" -ne 0 ]; then
    echo "PostgreSQL 15 is not in $bin; install the package postgresql-15, or run this as root" >&2
    exit 1
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq >&2
  apt-get install -y -qq --no-install-recommends postgresql-15 >&2
}

start() {
  install_if_absent
  if as_owner "$bin/pg_ctl" status -D "$folder/data" >/dev/null 2>&1; then
    cat "$folder/url"
    return
  fi
  rm -rf "$folder"
  mkdir -m 700 "$folder"
  local password port
  password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  echo "$password" >"$folder/password"
  [ "$(id -u)" -ne 0 ] || chown -R postgres: "$folder"
  as_owner "$bin/initdb" -D "$folder/data" -U grodt --auth=scram-sha-256 --pwfile="$folder/password" \
    --encoding=UTF8 --no-locale >"$folder/log" 2>&1 || fail
  for _ in 1 2 3 4 5; do # another program may have the port
    port=$((20000 + RANDOM % 12000))
    if as_owner "$bin/pg_ctl" start -w -D "$folder/data" -l "$folder/server.log" \
      -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories='$folder' -c fsync=off" >>"$folder/log" 2>&1; then
      PGPASSWORD=$password "$bin/createdb" -h "$folder" -p "$port" -U grodt grodt_test
      echo "postgresql://grodt:$password@127.0.0.1:$port/grodt_test" | tee "$folder/url"
      return
    fi
  done
  fail
}

fail() {
  cat "$folder/log" "$folder/server.log" >&2 2>/dev/null || true
  echo "PostgreSQL did not start; its messages are above" >&2
  exit 1
}

stop() {
  as_owner "$bin/pg_ctl" stop -w -m immediate -D "$folder/data" >/dev/null 2>&1 || true
  rm -rf "$folder"
}

case ${1:-} in
  start | stop) "$1" ;;
  *)
    echo "usage: $0 start|stop" >&2
    exit 2
    ;;
esac
