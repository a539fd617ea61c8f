#!/bin/bash
# What the official image of PostgreSQL documents of its start, as far as deploy/compose.yaml uses it: as the account
# postgres; a new data directory with POSTGRES_INITDB_ARGS and the password of POSTGRES_PASSWORD_FILE; the scripts of
# /docker-entrypoint-initdb.d against a server that listens on the socket alone. Those that cannot be executed are sourced.
set -euo pipefail
if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then  # read by root, whose file it may be
    POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
    export POSTGRES_PASSWORD
    unset POSTGRES_PASSWORD_FILE
fi
if [ "$1" = postgres ] && [ "$(id -u)" = 0 ]; then
    install --directory --mode 0700 --owner postgres --group postgres "$PGDATA"
    chown postgres:postgres /run/postgresql
    export HOME=/var/lib/postgresql
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    # shellcheck disable=SC2086  # several arguments
    initdb --username=postgres --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") ${POSTGRES_INITDB_ARGS:-} >/dev/null
    pg_ctl --wait --options="-c listen_addresses='' -p 5432" start >/dev/null
    for script in /docker-entrypoint-initdb.d/*.sh; do
        # shellcheck disable=SC1090
        if [ -x "$script" ]; then "$script"; elif [ -e "$script" ]; then . "$script"; fi
    done
    pg_ctl --mode=fast --wait stop >/dev/null
fi
[ "$1" != postgres ] || set -- "$@" -c listen_addresses='*'
exec "$@"
