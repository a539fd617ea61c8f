#!/bin/bash
# Runs once, when db1 makes its data: the roles, their passwords, and who may come in. Only TLS, only with a password.
set -euo pipefail
psql --no-psqlrc --set=ON_ERROR_STOP=1 --username=postgres --file=/etc/gatepost/roles.sql postgres
psql --no-psqlrc --set=ON_ERROR_STOP=1 --username=postgres \
    --set=gateway="$(cat /var/run/postgresql-secrets/gateway_password)" --set=admin="$(cat /var/run/postgresql-secrets/admin_password)" \
    --set=worker="$(cat /var/run/postgresql-secrets/worker_password)" \
    --set=replication="$(cat /var/run/postgresql-secrets/replication_password)" postgres <<'SQL'
ALTER ROLE gatepost PASSWORD :'gateway';
ALTER ROLE gatepost_worker PASSWORD :'worker';
ALTER ROLE gatepost_admin PASSWORD :'admin';
CREATE ROLE replication LOGIN REPLICATION PASSWORD :'replication';
SELECT pg_create_physical_replication_slot('db2');
SQL
cat >"$PGDATA/pg_hba.conf" <<'HBA'
local   all         postgres                        peer
hostssl gatepost    gatepost,gatepost_worker,gatepost_admin all scram-sha-256
hostssl replication replication              all    scram-sha-256
HBA
