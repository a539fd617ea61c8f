#!/bin/sh
# Starts deploy/compose.yaml as it stands and sees that it keeps its promises: tests/system/test_compose.py, with real
# containers in a network of their own. Run as root: make deploy-proof.
#
# Images come from Debian's archive and PyPI, not from a registry of images: "debian:trixie-slim" is made by mmdebstrap,
# "postgres:17-trixie" of Debian's packages with what the official image promises (tests/system/containers/postgres), and
# "gatepost" by deploy/Containerfile from what is committed. They are kept in the cache folder; GATEPOST_FRESH names another.
set -eu

home=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
cache=${GATEPOST_FRESH:-${XDG_CACHE_HOME:-$home/.cache}/gatepost-fresh}/containers
podman=$cache/podman
here=$(cd "$(dirname "$0")/.." && pwd)
export PODMAN_IGNORE_CGROUPSV1_WARNING=1

say() { echo "deploy-proof: $*" >&2; }

# Loudly: where CI=true a missing tool is a failure.
give_up() {
    say "PEER MISSING: $*; deploy/compose.yaml was not started"
    [ "${CI:-}" != true ] || exit 1
    exit 0
}

# Podman with images and containers of its own. crun, the usual runtime, starts nothing where cgroups of both kinds are mixed.
write_podman() {
    mkdir -p "$cache/storage" "$cache/networks"
    runtime=
    command -v runc >/dev/null && runtime="--runtime runc"
    printf '#!/bin/sh\nexec podman --root %s/storage --runroot /run/gatepost-proof --network-config-dir %s/networks --cgroup-manager cgroupfs %s "$@"\n' "$cache" "$cache" "$runtime" >"$podman"
    chmod 755 "$podman"
}

# How this machine reaches archives and PyPI, lent to what is built. Not in its place: Debian's package would replace it.
lent() {
    if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
        echo "--volume /etc/ssl/certs/ca-certificates.crt:/run/lent.crt:ro --env PIP_CERT=/run/lent.crt --env SSL_CERT_FILE=/run/lent.crt"
    fi
    [ ! -f /etc/pip.conf ] || echo "--volume /etc/pip.conf:/etc/pip.conf:ro"
    env | grep -E '^(PIP_(INDEX_URL|EXTRA_INDEX_URL|DEFAULT_TIMEOUT)|[A-Za-z]+_(proxy|PROXY))=[^ ]*$' | sed 's/^/--env /' || true
}

# As ours: podman would raise them, which not every root may.
limits() {
    for limit in nofile nproc; do
        most=$(prlimit "--$limit" --noheadings --raw --output HARD | sed 's/unlimited/-1/')
        echo "--ulimit $limit=$most:$most"
    done
}

# NAME FOLDER FILE: unless it is there already from the same files.
build() {
    sum=$(cd "$2" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
    [ "$("$podman" image inspect --format '{{index .Labels "proof"}}' "localhost/$1" 2>/dev/null)" != "$sum" ] || return 0
    say "building $1"
    # shellcheck disable=SC2046  # one argument for each
    "$podman" build --quiet --layers --format docker --network host --pull=never $(limits) $(lent) --label "proof=$sum" \
        --tag "localhost/$1" --file "$3" "$2" >/dev/null
}

[ "$(id -u)" = 0 ] || give_up "root"
for tool in podman podman-compose mmdebstrap unshare git; do
    command -v "$tool" >/dev/null || give_up "$tool"
done
write_podman
work=$(mktemp -d)
tidy() {
    rm -rf "$work"
    for words in "rm --all --force --volumes" "network prune --force" "volume prune --force" "image prune --force"; do
        # shellcheck disable=SC2086  # several words
        "$podman" $words >/dev/null 2>&1 || true
    done
}
trap tidy EXIT
if ! "$podman" image exists localhost/debian:trixie-slim; then
    say "making debian:trixie-slim"
    mmdebstrap --quiet --mode=root --variant=minbase trixie "$work/base.tar" || give_up "Debian's archive"
    "$podman" import --quiet "$work/base.tar" localhost/debian:trixie-slim >/dev/null
    rm "$work/base.tar"
fi
mkdir "$work/gatepost"
git -C "$here" archive HEAD pyproject.toml README.md LICENSE requirements src docs deploy | tar -x -C "$work/gatepost"
build gatepost:latest "$work/gatepost" "$work/gatepost/deploy/Containerfile" || give_up "Debian's archive and PyPI"
build postgres:17-trixie "$here/tests/system/containers/postgres" "$here/tests/system/containers/postgres/Containerfile" || give_up "Debian's archive"
export GATEPOST_PODMAN="$podman"
cd "$here"
unshare --net --mount --propagation private sh -c 'ip link set lo up && exec "$@"' proof \
    .venv/bin/pytest -q -n 0 -o timeout=1500 tests/system/test_compose.py "$@"
