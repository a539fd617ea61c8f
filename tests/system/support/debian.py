"""Which peers this machine has. A test that lacks one is skipped loudly; where CI=true is set it fails instead."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gatepost.net.lookups.unbound import UnboundError, load

MARK = "PEER MISSING"
SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"

# What a test asks for -> the Debian package that brings it ("" = no package does).
_PACKAGES = {
    "postfix": "postfix",
    "exim": "exim4-daemon-light",
    "swaks": "swaks",
    "swaks-tls": "libnet-ssleay-perl",
    "openssl": "openssl",
    "git": "git",
    "ssh-keygen": "openssh-client",
    "msmtp": "msmtp",
    "curl": "curl",
    "nsd": "nsd",
    "unbound": "unbound",
    "libunbound": "libunbound8",
    "pebble": "pebble",
    "promtool": "promtool",
    "dovecot": "dovecot-imapd",
    "dovecot-lmtp": "dovecot-lmtpd",
    "dovecot-submission": "dovecot-submissiond",
    "saslpasswd2": "sasl2-bin",
    "slapd": "slapd",
    "haproxy": "haproxy",
    "rspamd": "rspamd",
    "clamd": "clamav-daemon",
    "ip": "iproute2",
    "softhsm": "softhsm2",
    "pkcs11-provider": "pkcs11-provider",
    "pkcs11-tool": "opensc",
    "p11-kit": "p11-kit",
    "postgresql": "postgresql-17",
    "pgbouncer": "pgbouncer",
    "chromium": "chromium-headless-shell",
    "zsh": "zsh",
    "fish": "fish",
    "root": "",
}


def peers_folder() -> Path:
    """Where scripts/install_peers.sh unpacks what cannot be installed."""
    named = os.environ.get("GATEPOST_PEERS")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gatepost-peers"


def exim_program() -> Path | None:
    """The unpacked Exim, or an installed one."""
    unpacked = peers_folder() / "exim/usr/sbin/exim4"
    if unpacked.exists():
        return unpacked
    installed = shutil.which("exim4", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    return Path(installed) if installed else None


def chromium_program() -> str | None:
    """A Chromium without a window, as Debian has it; an ordinary one will do."""
    names = ("chromium-headless-shell", "chromium")
    return next((found for name in names if (found := shutil.which(name))), None)


def _present(peer: str) -> bool:
    if peer in _FOUND_BY:
        return _FOUND_BY[peer]()
    # sbin is not on every user's PATH.
    return shutil.which(peer, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is not None


def libunbound() -> bool:
    """Whether the library that validates in the gateway can be loaded."""
    try:
        load()
    except UnboundError:
        return False
    return True


def pkcs11_spy() -> Path | None:
    """The PKCS#11 module of OpenSC that writes down every call and passes it on."""
    return next(Path("/usr/lib").glob("*/pkcs11/pkcs11-spy.so"), None)


def p11_kit_server() -> Path:
    """The program that offers a PKCS#11 module on a socket."""
    return Path("/usr/libexec/p11-kit/p11-kit-server")


def p11_kit_client() -> Path | None:
    """The PKCS#11 module that uses what is offered on a socket."""
    return next(Path("/usr/lib").glob("*/pkcs11/p11-kit-client.so"), None)


def _perl_folders() -> list[Path]:
    return [*Path("/usr/lib").glob("*/perl5/*"), Path("/usr/share/perl5"), *Path("/usr/local").glob("lib/*/perl/*")]


# What is no program on the PATH.
_FOUND_BY: dict[str, Callable[[], bool]] = {
    "root": lambda: os.geteuid() == 0,
    "exim": lambda: exim_program() is not None,
    "chromium": lambda: chromium_program() is not None,
    "dovecot-lmtp": lambda: Path("/usr/lib/dovecot/lmtp").exists(),
    "dovecot-submission": lambda: Path("/usr/lib/dovecot/submission").exists(),
    "saslpasswd2": lambda: Path("/usr/sbin/saslpasswd2").exists(),
    "libunbound": libunbound,
    "softhsm": lambda: Path(SOFTHSM).exists() and shutil.which("softhsm2-util") is not None,
    "pkcs11-provider": lambda: any(Path("/usr/lib").glob("*/ossl-modules/pkcs11.so")),
    "pkcs11-tool": lambda: shutil.which("pkcs11-tool") is not None and pkcs11_spy() is not None,
    "p11-kit": lambda: p11_kit_server().exists() and p11_kit_client() is not None,
    "postgresql": lambda: any(Path("/usr/lib/postgresql").glob("*/bin/postgres")),
    "swaks-tls": lambda: any(Path(root, "Net/SSLeay.pm").exists() for root in _perl_folders()),
}


def have(*peers: str) -> bool:
    """Whether all of them are here: "postfix", "exim", "swaks", "swaks-tls", "openssl", "git", "ssh-keygen", "nsd",
    "unbound", "libunbound", "pebble", "promtool", "dovecot", "dovecot-lmtp", "dovecot-submission", "saslpasswd2",
    "slapd", "haproxy", "rspamd", "clamd", "softhsm", "pkcs11-provider", "pkcs11-tool", "p11-kit", "ip", "chromium",
    "postgresql", "pgbouncer", "root".
    """
    return all(_present(peer) for peer in peers)


def need(*peers: str) -> None:
    """Go on if all of them are here; otherwise skip the test loudly, or fail it under CI=true."""
    missing = [peer for peer in peers if not _present(peer)]
    if not missing:
        return
    words = [_PACKAGES[peer] or "root (a mail server starts as root only)" for peer in missing]
    reason = f"{MARK}: {', '.join(words)}"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; .ci/run must install it", pytrace=False)
    pytest.skip(reason)
