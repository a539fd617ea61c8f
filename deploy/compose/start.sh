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

# Data of a version without a role for workers: it is made while no server runs, and a standby has it from its primary.
# `gatepost store prepare` gives it its rights.
if [ -s "$data/PG_VERSION" ] && ! grep --quiet gatepost_worker "$data/pg_hba.conf"; then
    if [ -e "$data/standby.signal" ] || setpriv --reuid=postgres --regid=postgres --init-groups postgres --single -j -D "$data" \
        -c password_encryption=scram-sha-256 -c synchronous_commit=local gatepost >/dev/null <<SQL
DO \$\$ BEGIN
    IF to_regrole('gatepost_worker') IS NULL THEN
        CREATE ROLE gatepost_worker LOGIN PASSWORD '$(cat "$secrets/worker_password")';
        GRANT CONNECT ON DATABASE gatepost TO gatepost_worker;
        ALTER ROLE gatepost_worker IN DATABASE gatepost SET search_path = gatepost;
    END IF;
END \$\$;

SQL
    then
        sed -i 's/^\(hostssl gatepost  *gatepost\),gatepost_admin /\1,gatepost_worker,gatepost_admin /' "$data/pg_hba.conf"
    else
        echo "start.sh: the role gatepost_worker could not be made; nodes that need it will say so" >&2
    fi
fi

exec docker-entrypoint.sh postgres \
    -c ssl=on -c "ssl_cert_file=$secrets/database_chain" -c "ssl_key_file=$secrets/database_key" \
    -c wal_level=replica -c hot_standby=on -c max_slot_wal_keep_size=10GB \
    -c synchronous_commit=on -c password_encryption=scram-sha-256
