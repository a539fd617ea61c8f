"""The certificates of a gateway as every door shows them: all of them, one in full, and who changed what.

Times are seconds since 1970 UTC. No private key is in anything here. What changes them is in `certificate_intake`,
`certificate_requests`, `certificate_removal` and, for their course, `changeover_steps`.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gatepost.manage.use_cases.inventory import choose_certificate, inventory_of, listed_certificates
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.net.certificate import certificate_facts, quietly
from gatepost.net.path import issuer_places
from gatepost.net.revocation import published
from gatepost.pki.certificates.entry import Origin, Purpose, State
from gatepost.settings.roles import ListenerRole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.pki.certificates.entry import Entry
    from gatepost.pki.certificates.request import Request
    from gatepost.store.changes import Change


STATES = (State.CURRENT, State.NEXT, State.DEPRECATED, State.RETIRED)
"""The order in which certificates are listed."""

_DAY = 86400.0
_CHANGES = 500


class Listing(NamedTuple):
    """Everything there is. version: of the configuration. trouble: what is wrong with files of the settings."""

    version: int
    entries: tuple[Entry, ...]
    requests: tuple[Request, ...]
    directories: tuple[str, ...]
    trouble: tuple[str, ...]


class Shown(NamedTuple):
    """One certificate. chain: PEM, leaf first, b"" if it is lost. version: of the configuration it is of."""

    entry: Entry
    chain: bytes
    version: int


def listing(gateway: Gateway) -> Listing:
    """All certificates, requests and directories; those of the settings also if the gateway never ran.

    Raises Refusal (UNREADABLE).
    """
    with inventory_of(gateway, keys=False) as inventory:
        found = listed_certificates(inventory, gateway, with_chains=False)
        return Listing(
            found.version,
            tuple(found.entries.values()),
            tuple(inventory.requests.waiting().values()),
            tuple(str(path) for path in inventory.directories.paths()),
            found.trouble,
        )


def certificate(gateway: Gateway, number: str) -> Shown:
    """The one that goes by an id, the beginning of a thumbprint, or a label. Raises Refusal: MISSING, UNREADABLE."""
    with inventory_of(gateway, keys=False) as inventory:
        found = listed_certificates(inventory, gateway)
    entry = choose_certificate(found, number)
    return Shown(entry, found.chains.get(entry.id, b""), found.version)


def request(gateway: Gateway, number: str) -> tuple[Request, bytes]:
    """A request that waits, and what is sent to the authority (PEM), b"" if it is lost. Raises Refusal (MISSING)."""
    with inventory_of(gateway, keys=False) as inventory:
        found = inventory.requests.waiting().get(number.lower())
        if found is None:
            raise Refusal(Kind.MISSING, f"no request {number!r} waits; its certificate may have come meanwhile")
        return found, inventory.requests.request_pem(found)


def history(gateway: Gateway, limit: int, number: str = "") -> list[Change]:
    """Who changed certificates, requests and directories, the newest first. number: only of this id.

    Of one certificate the newest 500 changes of all are looked through. Raises Refusal (UNREADABLE).
    """
    with inventory_of(gateway, keys=False) as inventory:
        if not number:
            return inventory.history(limit)
        return [one for one in inventory.history(_CHANGES) if one.name == number][:limit]


def in_order(entries: Sequence[Entry], purpose: Purpose) -> list[Entry]:
    """Those of a purpose: current beside next and deprecated, the newest first in each state."""
    chosen = [one for one in entries if one.purpose is purpose]
    return sorted(chosen, key=lambda one: (STATES.index(one.state), -one.since))


def details(gateway: Gateway, _: Principal, number: str) -> dict[str, Any]:
    """`certificate`, for machines. Raises Refusal: MISSING, UNREADABLE."""
    entry, chain, _version = certificate(gateway, number)
    return certificate_record(entry, chain, time.time())


def change_records(gateway: Gateway, _: Principal, limit: int) -> list[dict[str, Any]]:
    """`history`, for machines. Raises Refusal (UNREADABLE)."""
    return [change_record(one) for one in history(gateway, limit)]


def everything(gateway: Gateway, _: Principal) -> Listing:
    """`listing`, for who gives a command. Raises Refusal (UNREADABLE)."""
    return listing(gateway)


# as JSON


def listing_record(found: Listing, now: float) -> dict[str, Any]:
    """The listing. The keys do not change."""
    rows = [list_record(one, now) for one in found.entries]
    return {
        "version": found.version,
        "certificates": [row for row in rows if row["purpose"] == "server"],
        "client_identities": [row for row in rows if row["purpose"] == "client"],
        "requests": [request_record(one) for one in found.requests],
        "directories": list(found.directories),
        "trouble": list(found.trouble),
    }


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


def entry_record(entry: Entry, now: float) -> dict[str, Any]:
    """All that is kept of a certificate but its chain. told: partners that know of it. forced, held: as `Entry`."""
    leaf = entry.leaf
    return list_record(entry, now) | {
        "common_name": leaf.common_name,
        "serial": leaf.serial,
        "sha1": leaf.sha1,
        "sha256": leaf.sha256,
        "spki_sha256": leaf.spki_sha256,
        "key_file": entry.key_file,
        "chain_file": entry.chain_file,
        "told": list(entry.told),
        "forced": entry.forced,
        "held": entry.held,
    }


def certificate_record(entry: Entry, chain: bytes, now: float) -> dict[str, Any]:
    """Everything about a certificate. chain: PEM, b"" if it is lost."""
    return entry_record(entry, now) | {
        "tlsa": f"3 1 1 {entry.leaf.spki_sha256}",
        "key_is": key_place(entry),
        "chain": chain_records(chain),
    }


def chain_records(chain: bytes) -> list[dict[str, Any]]:
    """Each certificate of a chain, leaf first, with the addresses that it names; [] for one that cannot be read."""
    try:
        with quietly():
            read = x509.load_pem_x509_certificates(chain) if chain else []
            return [_link_record(one) for one in read]
    except ValueError:  # a store that was damaged; the rest of what is known of it is still good
        return []


def _link_record(one: x509.Certificate) -> dict[str, Any]:
    facts, places = certificate_facts(one.public_bytes(Encoding.DER)), published(one)
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
        "aia": list(issuer_places(one)),
    }


def key_place(entry: Entry) -> str:
    """Where the private key is, in words."""
    if entry.key_file:
        return f"in its file {entry.key_file}"
    if entry.state is State.RETIRED or entry.origin in {Origin.SETTINGS, Origin.FILES}:
        return "not kept"
    return "sealed in the store"


def request_record(waiting: Request) -> dict[str, Any]:
    """A request that waits, with stable keys."""
    wish = waiting.wish
    return {
        "id": waiting.id,
        "purpose": str(wish.purpose),
        "organization": wish.organization,
        "label": wish.label,
        "names": list(wish.names),
        "key": wish.key,
        "must_staple": wish.must_staple,
        "added": waiting.added,
        "key_file": waiting.key_file,
    }


def change_record(change: Change) -> dict[str, Any]:
    """A change of a certificate, a request or a directory, with stable keys."""
    document = change.after or change.before or {}
    leaf = document.get("leaf", {})
    return {
        "version": change.version,
        "at": change.at,
        "author": change.author,
        "kind": change.kind.removeprefix("certificate_"),
        "id": change.name,
        "names": leaf.get("dns_names") or [leaf["subject"]] if leaf else document.get("names", []),
        "change": _what(change.before, change.after),
        "note": change.note,
    }


def _what(before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    if before is None:
        return f"added as {after['state']}" if after and "state" in after else "added"
    if after is None:
        return "removed"
    if before.get("state") != after.get("state"):
        return f"{before.get('state')} -> {after.get('state')}"
    changed = sorted(key for key in after if after[key] != before.get(key))
    return f"changed {', '.join(changed)}"


def common_name(name: str) -> str:
    """The CN of a name as RFC 4514 writes it, or all of it."""
    try:
        read = x509.Name.from_rfc4514_string(name)
    except ValueError:
        return name
    found = read.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[-1].value) if found else name


def _gone(entry: Entry) -> str:
    """The file of an entry that is not there, "" if both are, or nobody here can tell."""
    for file in (entry.chain_file, entry.key_file):
        with suppress(PermissionError):
            if not Path(file).exists():
                return file
    return ""


def presented_where(gateway: Gateway, entry: Entry) -> tuple[str, ...]:
    """Where a certificate is presented: addresses of listeners, or the outbound connectors that name it.

    () for one that is not current. Raises Refusal (UNREADABLE).
    """
    if entry.state is not State.CURRENT:
        return ()
    if entry.key_file and (gone := _gone(entry)):
        return (f"nowhere: {gone} is missing",)
    if entry.purpose is Purpose.SERVER:
        own = (one for one in gateway.settings.listeners if one.role is not ListenerRole.INTERNAL)
        return tuple(f"{one.role} {one.address}" for one in own)
    owner = gateway.directory().resources.organization(entry.organization)
    return tuple(
        f"connector {one.name}"
        for one in (owner.outbound_connectors if owner else ())
        if one.client_certificate is not None and one.client_certificate.label == entry.label
    )
