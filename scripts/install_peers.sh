#!/bin/sh
# Installs what the system tests run against, on Debian 13: Postfix, Dovecot, swaks, openssl, NSD, Unbound, libunbound,
# Pebble, HAProxy, rspamd, clamd, slapd, promtool, PostgreSQL, PgBouncer, Chromium, zsh, fish, SoftHSM with OpenSSL's PKCS#11 provider;
# and Exim, which cannot be installed beside Postfix and is therefore only unpacked. Run as root, by .ci/run or by hand (make
# peers). Safe to repeat: what is there already is left as it is. No service is started, and nothing is asked.
#
#   GATEPOST_PEERS=FOLDER   where to unpack (default: gatepost-peers in the user's cache folder)
set -eu

packages="make python3 python3-venv ca-certificates git openssh-client openssl postfix swaks libnet-ssleay-perl msmtp curl dovecot-lmtpd dovecot-imapd dovecot-submissiond sasl2-bin nsd unbound libunbound8 pebble procps iproute2 haproxy rspamd clamav-daemon promtool postgresql-17 pgbouncer chromium-headless-shell fonts-dejavu-core zsh fish softhsm2 pkcs11-provider opensc p11-kit slapd ldap-utils"
home=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
peers=${GATEPOST_PEERS:-${XDG_CACHE_HOME:-$home/.cache}/gatepost-peers}
export DEBIAN_FRONTEND=noninteractive

say() { echo "install_peers: $*" >&2; }
installed() { dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed; }

# apt's lists, renewed at most once a run and only when something is to be fetched.
renew_lists() {
    [ -z "${renewed:-}" ] || return 0
    apt-get update -qq
    renewed=yes
}

# Installs those of "$@" that are missing, without starting a service: a temporary policy-rc.d refuses it (exit code 101).
install_missing() {
    missing=
    for package in "$@"; do installed "$package" || missing="$missing $package"; done
    [ -n "$missing" ] || return 0
    renew_lists
    case " $missing " in *" postfix "*) answer_postfix ;; esac
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made_policy=yes
    fi
    say "installing$missing"
    # shellcheck disable=SC2086  # a list of words
    apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 $missing >/dev/null
    if [ -n "${made_policy:-}" ]; then
        rm -f "$policy"
        trap - EXIT
        made_policy=
    fi
}

# The tests bring a configuration of their own; the machine's instance stays without one.
answer_postfix() {
    if command -v debconf-set-selections >/dev/null; then
        echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
    fi
}

# Exim conflicts with every other mail transport agent, but not its libraries: those are installed, itself unpacked.
unpack_exim() {
    [ -x "$peers/exim/usr/sbin/exim4" ] && [ -z "$(unresolved)" ] && return 0
    renew_lists
    # shellcheck disable=SC2046  # a list of words
    install_missing $(apt-cache depends exim4-daemon-light | sed -n 's/^  Depends: \(lib[^ ]*\)$/\1/p')
    say "unpacking Exim into $peers/exim"
    folder=$(mktemp -d)
    chmod 755 "$folder"
    (cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root exim4-daemon-light exim4-base)
    mkdir -p "$peers"
    rm -rf "$peers/exim.new" "$peers/exim"
    for archive in "$folder"/*.deb; do dpkg -x "$archive" "$peers/exim.new"; done
    # The tests start it as root and let it drop what it does not need; a setuid program in a cache folder helps nobody.
    chmod u-s "$peers/exim.new/usr/sbin/exim4"
    mv "$peers/exim.new" "$peers/exim"
    rm -rf "$folder"
    [ -z "$(unresolved)" ] || { say "libraries are missing for Exim: $(unresolved)"; exit 1; }
}

unresolved() { ldd "$peers/exim/usr/sbin/exim4" | sed -n 's/ => not found//p' | tr -d '\n'; }

# The account that Debian's package would make; Exim looks it up by name before it reads its configuration.
make_exim_account() {
    getent passwd Debian-exim >/dev/null && return 0
    useradd --system --user-group --no-create-home --home-dir /var/spool/exim4 --shell /usr/sbin/nologin Debian-exim
}

[ "$(id -u)" = 0 ] || { say "must run as root (it installs Debian packages)"; exit 1; }
command -v apt-get >/dev/null || { say "knows Debian 13 only; install Postfix, Exim, Dovecot, swaks, openssl, NSD, Unbound, Pebble, rspamd, clamd, slapd, promtool, postgresql-17, pgbouncer, softhsm2 with pkcs11-provider and chromium-headless-shell yourself"; exit 1; }
# shellcheck disable=SC2086  # a list of words
install_missing $packages
unpack_exim
make_exim_account
say "postfix, exim, dovecot, swaks, openssl, nsd, unbound, libunbound, pebble, rspamd, clamd, slapd, promtool, PostgreSQL, SoftHSM and Chromium are ready"
