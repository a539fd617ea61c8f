#!/bin/sh
# Tries what README promises where nothing is installed: a clean Debian 13 with what README names and nothing else, an
# ordinary user, a fresh clone of what is committed here. Run as root, by .ci/run or by hand; it needs mmdebstrap, which it
# installs. The clean system is kept in the cache folder; clone, environment and what the user writes are new on each
# run. Nothing is mounted outside a mount namespace, which ends with the run, as do all its processes.
#
#   scripts/fresh_machine.sh              make demo, then make test
#   scripts/fresh_machine.sh COMMAND…     these commands instead, each an argument: 'make demo' 'make unit'
#   GATEPOST_FRESH=FOLDER                 where the clean system is kept (default: gatepost-fresh in the user's cache folder)
set -eu

suite=trixie
packages=python3,python3-venv,make,git,ca-certificates
home=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
cache=${GATEPOST_FRESH:-${XDG_CACHE_HOME:-$home/.cache}/gatepost-fresh}
root=$cache/$suite
user=newcomer
uid=4242

say() { echo "fresh_machine: $*" >&2; }

# Debian's own archives as this machine has them; folders of the machine's own are none of a fresh one's.
write_sources() {
    for file in /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list /etc/apt/sources.list; do
        [ -s "$file" ] && ! grep -qE '(URIs:|deb).* file:' "$file" || continue
        cp "$file" "$1/$(basename "$file")"
    done
}

# The clean system: made once for a list of packages, and taken into use only when it is whole.
make_root() {
    [ -f "$root/.packages" ] && [ "$(cat "$root/.packages")" = "$packages" ] && return 0
    command -v mmdebstrap >/dev/null || {
        say "installing mmdebstrap"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 mmdebstrap >/dev/null
    }
    say "making a clean Debian ($suite: $packages) in $root"
    mkdir -p "$cache"
    rm -rf "$root" "$root.new" "$cache/sources"
    mkdir "$cache/sources"
    write_sources "$cache/sources"
    # shellcheck disable=SC2046  # one argument for each file
    mmdebstrap --quiet --mode=root --variant=minbase --include="$packages" "$suite" "$root.new" $(find "$cache/sources" -type f)
    chroot "$root.new" useradd --uid "$uid" --shell /bin/sh --no-create-home "$user"
    echo "$packages" >"$root.new/.packages"
    mv "$root.new" "$root"
}

# How this machine reaches package archives: pip's files and the certificates it trusts, which may be its own.
lend() {
    for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt /etc/pip.conf /etc/uv/uv.toml; do
        [ -f "$file" ] || continue
        mkdir -p "$(dirname "$root$file")"
        [ -e "$root$file" ] || : >"$root$file"
        mount --bind "$file" "$root$file"
    done
    for file in .config/pip/pip.conf .config/uv/uv.toml; do
        [ ! -f "$home/$file" ] || install -D -m 644 "$home/$file" "$root/home/$user/$file"
    done
}

# The variables of the same purpose. Anything else of our environment (CI=true before all) stays outside.
settings() {
    env | grep -E '^(PIP_[A-Z_]*|UV_(INDEX|DEFAULT_INDEX|INDEX_URL|NATIVE_TLS)|SSL_CERT_(FILE|DIR)|[A-Za-z]+_(proxy|PROXY))=[^ ]*$' || true
}

# Runs in the namespaces of its own, as their first process: when it ends, so does everything that was started.
inside() {
    for place in home tmp var/tmp dev; do mount -t tmpfs -o mode=755 none "$root/$place"; done
    chmod 1777 "$root/tmp" "$root/var/tmp"
    for device in null zero full random urandom tty; do
        : >"$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    mkdir -m 1777 "$root/dev/shm"
    mkdir "$root/dev/pts"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 none "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    mount -t proc none "$root/proc"
    mkdir "$root/home/$user"
    lend
    git clone --quiet --no-local "$here" "$root/home/$user/gatepost"
    chown -R "$uid:$uid" "$root/home/$user"
    for command in "$@"; do
        say "$user\$ $command"
        # shellcheck disable=SC2046  # one argument for each variable
        chroot --userspec="$uid:$uid" "$root" /usr/bin/env -i HOME="/home/$user" USER="$user" PATH=/usr/local/bin:/usr/bin:/bin \
            $(settings) /bin/sh -c "cd && cd gatepost && $command" </dev/null
    done
}

[ "$(id -u)" = 0 ] || { say "must run as root (it makes a system to change into)"; exit 1; }
here=$(cd "$(dirname "$0")/.." && pwd)
if [ "${1:-}" = --inside ]; then
    shift
    inside "$@"
    exit 0
fi
[ $# -gt 0 ] || set -- 'make demo' 'make test'
make_root
unshare --mount --pid --fork --kill-child --propagation private "$0" --inside "$@"
