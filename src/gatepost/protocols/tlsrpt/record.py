"""Parse the TXT record at _smtp._tls.DOMAIN that names where to send TLS reports (RFC 8460 section 3).

Used by `net.lookups.tlsrpt` and `checks`. Pure text: the caller asks the DNS.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from gatepost.protocols.dns.text_record import RecordError, TextRecord, shown

MAX_ADDRESSES: Final = 10  # of one record that are used

# Addresses are listed with white space around the comma, and an https: one may hold "=".
_RECORD: Final = TextRecord("TLSRPTv1", "rua", r"[\t\x20-\x3a\x3c-\x7e]+")
# "!" must be encoded too (section 3): what comes behind it is no part of an address.
_MAILTO: Final = re.compile(r"mailto:[^\s@!,;<>]{1,64}@[A-Za-z0-9.-]{1,255}(?:\?[^\s!,;]*)?", re.IGNORECASE)
_HTTPS: Final = re.compile(r"https://[^\s!,;/?#]{1,255}(?:[/?][^\s!,;]*)?", re.IGNORECASE)


class TlsRptRecord(msgspec.Struct, frozen=True):
    """rua: URIs "mailto:…" and "https:…", in order, at most ten. ignored: those that no report can be sent to."""

    rua: tuple[str, ...]
    ignored: tuple[str, ...] = ()


def record_name(domain: str) -> str:
    """The owner of the TXT record of `domain`."""
    return f"_smtp._tls.{domain}"


def parse_record(records: Sequence[Sequence[bytes]]) -> TlsRptRecord | RecordError | None:
    """Parse the TXT records of _smtp._tls.DOMAIN. records: the strings of each.

    None: no record is about TLS reports. An error means that the domain gets none, but meant to.
    Raises ValueError if a record is no sequence of strings, in octets.
    """
    value = _RECORD.value(records)
    return _addresses(value) if isinstance(value, str) else value


def _addresses(rua: str) -> TlsRptRecord | RecordError:
    first, *others = rua.split(",")
    message = [first.rstrip(" \t"), *(part.strip(" \t") for part in others)]
    usable = [candidate for candidate in message if _MAILTO.fullmatch(candidate) or _HTTPS.fullmatch(candidate)]
    if not usable:
        return RecordError(f'"{shown(rua.encode())}" has no address of the kinds mailto: and https:')
    kept = tuple(usable[:MAX_ADDRESSES])
    return TlsRptRecord(
        kept, tuple(shown(address.encode()) for address in message if address not in kept)[:MAX_ADDRESSES]
    )
