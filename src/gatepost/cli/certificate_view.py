"""How a certificate is printed: one row of a list, or everything about it, for people and for machines.

Used by the `certificate` commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gatepost.certificates.entry import Origin, Purpose, State
from gatepost.cli.tables import moment, print_table, printable
from gatepost.net.certificate import certificate_facts, quietly
from gatepost.net.path import issuer_places
from gatepost.net.revocation import published

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.certificates.entry import Entry
    from gatepost.certificates.request import Request

__all__ = [
    "certificate_record",
    "chain_records",
    "list_record",
    "print_certificate",
    "print_list",
    "print_requests",
    "request_record",
]

_DAY = 86400.0
_STATES = (State.CURRENT, State.NEXT, State.DEPRECATED, State.RETIRED)
_COLUMNS = ("id", "state", "names", "issuer", "key", "valid_until", "presented", "origin")
_CLIENT_COLUMNS = ("id", "state", "organization", "label", "subject", "issuer", "key", "valid_until", "origin")
_REQUEST_COLUMNS = ("id", "purpose", "organization", "label", "names", "key", "added", "key_is")
_SIDES = {Purpose.SERVER: _COLUMNS, Purpose.CLIENT: _CLIENT_COLUMNS}


def list_record(entry: Entry, now: float) -> dict[str, Any]:
    """A certificate as a list has it: stable keys; times in seconds since 1970, null if not yet or not known."""
    leaf = entry.leaf
    return {
        "id": entry.id,
        "state": str(entry.state),
        "purpose": str(entry.purpose),
        "organization": entry.organization,
        "label": entry.label,
        "names": [*leaf.dns_names, *leaf.ip_addresses],
        "subject": leaf.subject,
        "issuer": leaf.issuer,
        "key": leaf.key,
        "not_before": leaf.not_before,
        "not_after": leaf.not_after,
        "days_left": int((leaf.not_after - now) // _DAY),
        "origin": str(entry.origin),
        "added": entry.added or None,
        "since": entry.since or None,
        "current_from": entry.current_from or None,
        "current_until": entry.current_until or None,
        "switch_at": entry.switch_at or None,
        "replaces": list(entry.replaces),
        "must_staple": entry.must_staple,
    }


def certificate_record(entry: Entry, chain: bytes, now: float) -> dict[str, Any]:
    """Everything about a certificate. chain: PEM, b"" if it is lost."""
    leaf = entry.leaf
    return list_record(entry, now) | {
        "serial": leaf.serial,
        "sha1": leaf.sha1,
        "sha256": leaf.sha256,
        "spki_sha256": leaf.spki_sha256,
        "tlsa": f"3 1 1 {leaf.spki_sha256}",
        "key_is": _key_place(entry),
        "key_file": entry.key_file,
        "chain_file": entry.chain_file,
        "chain": chain_records(chain),
    }


def chain_records(chain: bytes) -> list[dict[str, Any]]:
    """Each certificate of a chain, leaf first, with the addresses that it names."""
    with quietly():
        read = x509.load_pem_x509_certificates(chain) if chain else []
        return [_link_record(one) for one in read]


def _link_record(certificate: x509.Certificate) -> dict[str, Any]:
    facts, places = certificate_facts(certificate.public_bytes(Encoding.DER)), published(certificate)
    return {
        "subject": facts.subject,
        "issuer": facts.issuer,
        "serial": facts.serial,
        "sha256": facts.sha256,
        "key": facts.key,
        "not_before": facts.not_before,
        "not_after": facts.not_after,
        "crl": list(places.crl),
        "ocsp": list(places.ocsp),
        "aia": list(issuer_places(certificate)),
    }


def _key_place(entry: Entry) -> str:
    if entry.key_file:
        return f"in its file {entry.key_file}"
    if entry.state is State.RETIRED or entry.origin in {Origin.SETTINGS, Origin.FILES}:
        return "not kept"
    return "sealed in the store"


def print_list(entries: Sequence[Entry], now: float) -> None:
    """Current beside next and deprecated; client identities in a table of their own."""
    for purpose, columns in _SIDES.items():
        chosen = [one for one in entries if one.purpose is purpose]
        if purpose is Purpose.CLIENT and not chosen:
            continue
        if purpose is Purpose.CLIENT:
            click.echo("\nclient identities")
        chosen.sort(key=lambda one: (_STATES.index(one.state), -one.since))
        print_table(columns, [_row(one, columns, now) for one in chosen])


def request_record(request: Request) -> dict[str, Any]:
    """A request that waits, with stable keys."""
    wish = request.wish
    return {
        "id": request.id,
        "purpose": str(wish.purpose),
        "organization": wish.organization,
        "label": wish.label,
        "names": list(wish.names),
        "key": wish.key,
        "must_staple": wish.must_staple,
        "added": request.added,
        "key_file": request.key_file,
    }


def print_requests(requests: Sequence[Request]) -> None:
    """What waits for its certificate, if anything does."""
    if not requests:
        return
    click.echo("\nrequests that wait for their certificate")
    records = [request_record(one) for one in requests]
    shown = [
        one
        | {
            "names": ", ".join(one["names"]),
            "added": f"{moment(one['added'])[:16]}Z",
            "key_is": one["key_file"] or "sealed",
        }
        for one in records
    ]
    print_table(_REQUEST_COLUMNS, [[str(one[column]) for column in _REQUEST_COLUMNS] for one in shown])


def _row(entry: Entry, columns: Sequence[str], now: float) -> list[str]:
    record = list_record(entry, now)
    shown = record | {
        "state": _state(entry),
        "names": ", ".join(record["names"]) or f"(none) {entry.leaf.subject}",
        "issuer": _common_name(entry.leaf.issuer),
        "subject": _common_name(entry.leaf.subject),
        "valid_until": f"{moment(entry.leaf.not_after)[:10]} ({_left(record['days_left'])})",
        "presented": _presented(entry),
    }
    return [str(shown[column]) for column in columns]


def _state(entry: Entry) -> str:
    if entry.state is State.NEXT and entry.switch_at:
        return f"next (current {moment(entry.switch_at)})"
    return str(entry.state)


def _left(days: int) -> str:
    if days < 0:
        return f"expired {-days} days ago" if days < -1 else "expired"
    return f"{days} day{'' if days == 1 else 's'} left"


def _presented(entry: Entry) -> str:
    begun, ended = (moment(one) and f"{moment(one)[:16]}Z" for one in (entry.current_from, entry.current_until))
    if not begun and not ended:
        return "not recorded yet" if entry.state is State.CURRENT else "never"
    return f"{begun} - {ended}".strip()


def _common_name(name: str) -> str:
    """The CN of a name as RFC 4514 writes it, or all of it."""
    try:
        read = x509.Name.from_rfc4514_string(name)
    except ValueError:
        return name
    found = read.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[-1].value) if found else name


def print_certificate(record: dict[str, Any]) -> None:
    """Everything about a certificate, a line for each field, its chain below."""
    for key, text in _lines(record):
        if text:
            click.echo(f"{key:<15} {printable(text)}")
    for number, link in enumerate(record["chain"], 1):
        click.echo(f"\nchain {number} of {len(record['chain'])}: {printable(link['subject'])}")
        for key in ("issuer", "serial", "key", "sha256"):
            click.echo(f"  {key:<13} {printable(link[key])}")
        click.echo(f"  {'valid':<13} {moment(link['not_before'])} - {moment(link['not_after'])}")
        for key in ("crl", "ocsp", "aia"):
            if link[key]:
                click.echo(f"  {key:<13} {printable(' '.join(link[key]))}")


def _lines(record: dict[str, Any]) -> list[tuple[str, str]]:
    times = [
        (key, moment(record[key] or 0)) for key in ("added", "since", "current_from", "current_until", "switch_at")
    ]
    validity = f"{moment(record['not_before'])} - {moment(record['not_after'])} ({_left(record['days_left'])})"
    plain = [(key, str(record[key])) for key in ("id", "label", "organization", "state", "purpose", "origin")]
    names = [("names", ", ".join(record["names"]))]
    facts = [(key, record[key]) for key in ("subject", "issuer", "serial", "key", "sha1", "sha256", "spki_sha256")]
    ends = [
        ("tlsa", record["tlsa"] if record["purpose"] == Purpose.SERVER else ""),
        ("valid", validity),
        ("must_staple", "yes" if record["must_staple"] else ""),
        ("replaces", ", ".join(record["replaces"])),
        ("private key", record["key_is"]),
        ("chain file", record["chain_file"]),
    ]
    return [*plain, *names, *facts, *ends, *times]
