"""The files that a URL of PostgreSQL names: checks before they are used, and the reason why TLS cannot be made of them.

Used by `store.postgres.server` and `store.postgres.connecting`. No text has what is in a file.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from ssl import PROTOCOL_TLS_CLIENT, SSLContext, SSLError
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from gatepost.store.interface import StoreFailure

LINE_OF_PASSFILE: Final = "HOST:PORT:DATABASE:ROLE:PASSWORD"
"""The form of a line."""
FILE_SUMMARY: Final = "a file that store.url names cannot be used"
"""Those faults in words without a name (`StoreFailure.summary`)."""

_PRIVATE: Final = ("passfile", "sslkey")
_TLS: Final = ("sslrootcert", "sslcrl", "sslcert", "sslkey")
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_FIELDS: Final = LINE_OF_PASSFILE.count(":")
_LARGEST: Final = 1 << 20  # octets


def check_private_files(url: str) -> None:
    """Raise StoreFailure if others may read the password or the key, or the file with the password cannot be parsed.

    A file that is not there is no fault yet: whether it is needed shows when the server asks.
    """
    named = dict(parse_qsl(urlsplit(url).query))
    for name in _PRIVATE:
        path = Path(named.get(name, ""))
        try:
            status = path.stat() if name in named else None
        except OSError:
            continue
        mode, owner = (status.st_mode, status.st_uid) if status else (0, 0)
        # As with libpq: the group of a key that is root's may read it, so that an account without rights can use it.
        private = _OTHERS & ~stat.S_IRGRP if name == "sslkey" and owner == 0 else _OTHERS
        if stat.S_ISREG(mode) and mode & private:
            mode = stat.S_IMODE(mode)
            raise _fault(f"{name} {path} has mode {mode:04o}, and others may read it; run: chmod 0600 {path}")
        if name == "passfile" and mode:
            _check_passwords(path, mode)


def _check_passwords(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise _fault(f"passfile {path} is not a file; name the file with the password")
    try:
        with path.open("rb") as file:
            lines = file.read(_LARGEST).decode().splitlines()
    except OSError as error:
        raise _fault(f"passfile {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _fault(f"passfile {path} is not text in UTF-8; its lines are {LINE_OF_PASSFILE}") from error
    for number, line in enumerate(lines, 1):
        written = line.strip().replace("\\\\", "").replace("\\:", "")
        if written and not written.startswith("#") and written.count(":") < _FIELDS:
            raise _fault(f"line {number} of passfile {path} is not {LINE_OF_PASSFILE}; correct it")


def _fault(text: str) -> StoreFailure:
    return StoreFailure(f"store.url: {text}", summary=FILE_SUMMARY)


def tls_file_fault(named: Mapping[str, str]) -> str:
    """A clause with the file of which TLS cannot be made and what helps; "" if the fault is another one.

    named: the parameters of the URL.
    """
    for name in _TLS:
        if name in named and (fault := _unreadable(named[name])):
            return f"{name} {named[name]}: {fault}; name the right file in store.url"
    context = SSLContext(PROTOCOL_TLS_CLIENT)
    for name, kind in (("sslrootcert", "certificate of an authority"), ("sslcrl", "revocation list")):
        try:
            if name in named:
                context.load_verify_locations(named[name])
        except SSLError:
            return f"{name} {named[name]} has no {kind} in PEM; name the right file in store.url"
    return _pair_fault(context, named.get("sslcert", ""), named.get("sslkey", ""))


def _unreadable(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        return str(error.strerror)
    return ""


def _pair_fault(context: SSLContext, chain: str, key: str) -> str:
    if not chain:
        return ""
    try:
        context.load_cert_chain(chain, key or None, password=lambda: "")
    except SSLError as error:
        if not key:
            return f"sslcert {chain} is not a certificate with its private key, in PEM; add &sslkey=/PATH to store.url"
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"the key in sslkey {key} does not belong to the certificate in sslcert {chain}; name its own key"
        return (
            f"sslcert {chain} and sslkey {key} are not a certificate and its private key without a passphrase, in PEM; "
            "name the right files in store.url"
        )
    return ""


def when_ended(chain: str) -> str:
    """The time at which the certificate in a file ended, in ISO 8601; "" if it goes on, or cannot be read."""
    from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415 - dear, and for a failure alone

    try:
        end = load_pem_x509_certificate(Path(chain).read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return ""
    return end.isoformat() if end < datetime.now(UTC) else ""
