"""The published certificate table for machines: JSON with stable keys, and the version of its content.

Used by `pki.certificates.forms`. Times are RFC 3339 text in UTC, null where there is none; digests are lower-case
hexadecimal. docs/certificates.md describes the keys.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from gatepost.protocols.tls.profile import profile_record
from gatepost.times import rfc3339

if TYPE_CHECKING:
    from gatepost.pki.certificates.columns import Columns
    from gatepost.pki.certificates.published import Authority, Row, Table


FORMAT: Final = 1
"""Grows when a key changes its meaning or goes; new keys come without it."""

_VERSION_DIGITS: Final = 16


def written(seconds: float) -> str:
    """A time as RFC 3339 writes it, to the second; "" for 0."""
    return rfc3339(seconds) if seconds else ""


def version_of(table: Table) -> str:
    """The version of a table, which changes only with its content: the beginning of the SHA-256 of the content."""
    content = json.dumps(_content(table), sort_keys=True, ensure_ascii=True).encode("ascii")
    return hashlib.sha256(content).hexdigest()[:_VERSION_DIGITS]


def table_record(table: Table) -> dict[str, Any]:
    """The document."""
    head = {"format": FORMAT, "version": version_of(table), "changed": _time(table.changed)}
    return head | _content(table)


def _content(table: Table) -> dict[str, Any]:
    return {
        "hostname": table.hostname,
        "certificates": [_row(row) for row in table.rows],
        "left_out": table.left_out,
        "authorities": [_authority(authority) for authority in table.authorities],
        "crl_endpoints": list(table.endpoints("crl")),
        "ocsp_endpoints": list(table.endpoints("ocsp")),
        "aia_endpoints": list(table.endpoints("aia")),
        "firewall": [{"host": row.host, "port": row.port, "for": list(row.purposes)} for row in table.firewall],
        "tls": profile_record(table.profile),
    }


def _row(row: Row) -> dict[str, Any]:
    return (
        {
            "state": str(row.state),
            "root_issuer": row.root or None,
            "root_missing": row.missing or None,
            "current_from": _time(row.valid_from),
            "current_until": _time(row.valid_until),
            "current_planned": _time(row.planned),
        }
        | _columns(row.columns)
        | {"tlsa": list(row.tlsa), "path": list(row.path)}
    )


def _authority(authority: Authority) -> dict[str, Any]:
    return {
        "type": "root" if authority.is_root else "intermediate",
        "sent": authority.sent,
        "states": [str(state) for state in authority.states],
    } | _columns(authority.columns)


def _columns(columns: Columns) -> dict[str, Any]:
    facts = columns.facts
    return {
        "name": columns.name,
        "names": list(columns.names),
        "subject": facts.subject,
        "organization": columns.organization,
        "organization_unit": columns.organization_unit,
        "issuer": facts.issuer,
        "serial": facts.serial,
        "key": facts.key,
        "key_bits": columns.bits or None,
        "signature_algorithm": columns.signature,
        "not_before": _time(facts.not_before),
        "not_after": _time(facts.not_after),
        "ski": columns.ski,
        "aki": columns.aki,
        "sha1": facts.sha1,
        "sha256": facts.sha256,
        "spki_sha256": facts.spki_sha256,
        "spki_pin": columns.pin,
        "crl": list(columns.crl),
        "ocsp": list(columns.ocsp),
        "aia": list(columns.issuers),
    }


def _time(seconds: float) -> str | None:
    return written(seconds) or None
