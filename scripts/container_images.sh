#!/bin/sh
# Makes images without a registry of images, and prints the command that knows them: podman with a store of its own.
#
#   scripts/container_images.sh             debian:trixie-slim, of Debian's archive (mmdebstrap)
#   scripts/container_images.sh gatepost    that, and gatepost by deploy/Containerfile, of what is committed
#   scripts/container_images.sh gatepost@v0.1.0   the same of an earlier commit, as gatepost:v0.1.0
#   scripts/container_images.sh postgres    that, and postgres:17-trixie of Debian's packages with what the official image
#                                           promises (tests/system/containers/postgres)
#
# Run as root. They are kept in the cache folder; GATEPOST_FRESH names another. Ends with 3 if a tool or an archive is missing.
set -eu

home=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
cache=${GATEPOST_FRESH:-${XDG_CACHE_HOME:-$home/.cache}/gatepost-fresh}/containers
podman=$cache/podman
here=$(cd "$(dirname "$0")/.." && pwd)
export PODMAN_IGNORE_CGROUPSV1_WARNING=1

say() { echo "container_images: $*" >&2; }

missing() {
    say "PEER MISSING: $*"
    exit 3
}

# Podman with images and containers of its own. crun, the usual runtime, starts nothing where cgroups of both kinds are
# mixed. A build is lent how this machine reaches archives and PyPI: not in its place, Debian's package would replace it.
# Its limits are ours: podman would raise them, which not every root may.
write_podman() {
    mkdir -p "$cache/storage" "$cache/networks"
    runtime=
    command -v runc >/dev/null && runtime="--runtime runc"
    {
        printf '#!/bin/sh\nset -eu\nreal=%s\ncache=%s\nruntime="%s"\n' "$(command -v podman)" "$cache" "$runtime"
        cat <<'END'
lent() {
    if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
        echo "--volume /etc/ssl/certs/ca-certificates.crt:/run/lent.crt:ro --env PIP_CERT=/run/lent.crt --env SSL_CERT_FILE=/run/lent.crt"
    fi
    [ ! -f /etc/pip.conf ] || echo "--volume /etc/pip.conf:/etc/pip.conf:ro"
    env | grep -E '^(PIP_(INDEX_URL|EXTRA_INDEX_URL|DEFAULT_TIMEOUT)|[A-Za-z]+_(proxy|PROXY))=[^ ]*$' | sed 's/^/--env /' || true
}
limits() {
    for limit in nofile nproc; do
        most=$(prlimit "--$limit" --noheadings --raw --output HARD | sed 's/unlimited/-1/')
        echo "--ulimit $limit=$most:$most"
    done
}
if [ "${1:-}" = build ]; then
    shift
    # shellcheck disable=SC2046  # one argument for each
    set -- build --network host --pull=never $(limits) $(lent) "$@"
fi
# shellcheck disable=SC2086  # several words
exec "$real" --root "$cache/storage" --runroot /run/gatepost-proof --network-config-dir "$cache/networks" --cgroup-manager cgroupfs $runtime "$@"
END
    } >"$podman.new"
    chmod 755 "$podman.new"
    mv "$podman.new" "$podman"
}

# NAME FOLDER FILE: unless it is there already from the same files.
build() {
    sum=$(cd "$2" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
    [ "$("$podman" image inspect --format '{{index .Labels "proof"}}' "localhost/$1" 2>/dev/null)" != "$sum" ] || return 0
    say "building $1"
    "$podman" build --quiet --layers --format docker --label "proof=$sum" --tag "localhost/$1" --file "$3" "$2" >/dev/null 9>&-
}

[ "$(id -u)" = 0 ] || missing "root"
for tool in podman mmdebstrap git; do
    command -v "$tool" >/dev/null || missing "$tool"
done
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9 # who wants the same image at the same time waits for it, and finds it built
write_podman
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! "$podman" image exists localhost/debian:trixie-slim; then
    say "making debian:trixie-slim"
    mmdebstrap --quiet --mode=root --variant=minbase trixie "$work/base.tar" || missing "Debian's archive"
    "$podman" import --quiet "$work/base.tar" localhost/debian:trixie-slim >/dev/null
fi
for image in "$@"; do
    case $image in
    gatepost | gatepost@*)
        commit=${image#gatepost} commit=${commit#@}
        rm -rf "$work/gatepost"
        mkdir "$work/gatepost"
        git -C "$here" archive "${commit:-HEAD}" pyproject.toml README.md LICENSE requirements src docs deploy | tar -x -C "$work/gatepost"
        build "gatepost:${commit:-latest}" "$work/gatepost" "$work/gatepost/deploy/Containerfile" || missing "Debian's archive and PyPI"
        ;;
    postgres)
        build postgres:17-trixie "$here/tests/system/containers/postgres" "$here/tests/system/containers/postgres/Containerfile" || missing "Debian's archive"
        ;;
    esac
done
echo "$podman"
