#!/bin/bash
# Starts PostgreSQL in its container, primary or standby, with TLS. Called by compose.yaml as root; the image's own
# script changes to the account postgres.
set -euo pipefail
data=/var/lib/postgresql/data
secrets=/var/run/postgresql-secrets
install --directory --mode 0700 --owner postgres --group postgres "$secrets"
install --mode 0600 --owner postgres --group postgres /run/secrets/* "$secrets"

if [ "$1" = standby ] && [ ! -s "$data/PG_VERSION" ]; then
    install --directory --mode 0700 --owner postgres --group postgres "$data"  # a new volume may be root's
    PGPASSWORD=$(cat "$secrets/replication_password")
    export PGPASSWORD
    # --write-recovery-conf puts the way to the primary into the data directory, password included (mode 0600).
    # The slot is there already, so that this can be tried again.
    # HOME: the library looks there for a client certificate, and may not look into root's.
    HOME=/var/lib/postgresql setpriv --reuid=postgres --regid=postgres --init-groups pg_basebackup --pgdata="$data" --wal-method=stream \
        --checkpoint=fast --write-recovery-conf --slot=db2 \
        --dbname="host=db1 user=replication sslmode=verify-full sslrootcert=/run/secrets/database_ca application_name=db2"
    unset PGPASSWORD
fi

exec docker-entrypoint.sh postgres \
    -c ssl=on -c "ssl_cert_file=$secrets/database_chain" -c "ssl_key_file=$secrets/database_key" \
    -c wal_level=replica -c hot_standby=on -c max_slot_wal_keep_size=10GB \
    -c synchronous_commit=on -c password_encryption=scram-sha-256
