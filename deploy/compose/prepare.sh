#!/bin/sh
# Makes the secrets of compose.yaml: passwords, the master key, an authority for the database, and a certificate for mail
# that nobody trusts, for a trial. What is there stays. Keep copies of master.key and the passwords elsewhere.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets
cd secrets

random() { head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n'; }

for name in database replication gateway worker admin; do
    [ -e "$name.password" ] || random >"$name.password"
done
[ -e master.key ] || head -c 32 /dev/urandom >master.key
for name in gateway worker admin; do
    role=gatepost
    [ "$name" = gateway ] || role=gatepost_$name
    [ -e "$name.pgpass" ] || printf '*:*:*:%s:%s\n' "$role" "$(cat "$name.password")" >"$name.pgpass"
done

if [ ! -e database-ca.pem ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=gatepost database" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout database-ca.key -out database-ca.pem
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=db1" -keyout database.key -out database.csr
    printf 'subjectAltName=DNS:db1,DNS:db2\nextendedKeyUsage=serverAuth\n' >database.ext
    openssl x509 -req -in database.csr -CA database-ca.pem -CAkey database-ca.key -days 825 -extfile database.ext \
        -out database.pem
    rm database.csr database.ext
fi
if [ ! -e mail.pem ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj "/CN=mx.gatepost.example" \
        -addext "subjectAltName=DNS:mx.gatepost.example,DNS:mx1.gatepost.example,DNS:mx2.gatepost.example,DNS:mx3.gatepost.example" \
        -keyout mail.key -out mail.pem
fi
chmod 0644 database-ca.pem database.pem mail.pem

# The gateway's account in its container reads these. The databases read theirs as root.
if [ "$(id -u)" = 0 ]; then
    chown 10001:10001 master.key gateway.pgpass worker.pgpass admin.pgpass mail.key
else
    echo "run as root, or: sudo chown 10001:10001 $(pwd)/master.key $(pwd)/gateway.pgpass $(pwd)/worker.pgpass $(pwd)/admin.pgpass $(pwd)/mail.key" >&2
fi
