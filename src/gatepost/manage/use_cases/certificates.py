"""The certificates of a gateway as every interface shows them: all of them, one in full, and who changed what.

Times are seconds since 1970 UTC. No private key is in anything here. What changes them is in `certificate_import`,
`certificate_requests`, `certificate_removal` and, for their lifecycle, `changeover_steps`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from msgspec import Meta

from gatepost.analysis.checks.gates import MAX_TEXT, GateReport, gates_record
from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.declaration import Cli, Items, Visibility, use_cases
from gatepost.manage.use_cases.inventory import choose_certificate, history, inventory_of, listed_certificates
from gatepost.manage.use_cases.paging import Paging, page_of
from gatepost.manage.use_cases.presentation_places import missing_file
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.net.certificate import certificate_facts, quietly
from gatepost.net.path import issuer_places
from gatepost.net.revocation import published
from gatepost.pki.certificates.entry import Entry, Origin, PendingRequest, Purpose, State
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.context import Context, Gateway
    from gatepost.store.changes import Change


type CertificateNumber = Annotated[
    str,
    Meta(description="Id, the beginning of a SHA-256 thumbprint, or label."),
    Cli(argument=True, metavar="ID"),
]
type Reason = Annotated[str, Meta(max_length=1000), Cli(metavar="REASON")]
type Note = Annotated[str, Meta(max_length=1000), Cli(help="Reason, recorded in the history.")]

_DAY = 86400.0


class CertificateSummary(msgspec.Struct):
    """One of our certificates. Times: seconds since 1970, null if not yet or not known.

    state: next, current, deprecated or retired. purpose: server or client. since: in this state. current_from,
    current_until: presented. switch_at: planned. replaces: ids of those whose place it takes, or took. told: partners
    that know of it. forced: why it is to become current whatever the gates say. held: why it did not at its time.
    """

    id: str
    state: str
    purpose: str
    organization: str
    label: str
    names: list[str]
    subject: str
    issuer: str
    key: str
    not_before: float
    not_after: float
    days_left: int
    origin: str
    added: float | None
    since: float | None
    current_from: float | None
    current_until: float | None
    switch_at: float | None
    replaces: list[str]
    must_staple: bool
    common_name: str
    serial: str
    sha1: str
    sha256: str
    spki_sha256: str
    key_file: str
    chain_file: str
    told: list[str]
    forced: str
    held: str


def certificate_of(entry: Entry, now: float | None = None) -> CertificateSummary:
    """Summary of a certificate, without its chain. now: for the days that are left."""
    leaf = entry.leaf
    return copy_fields(
        CertificateSummary,
        entry,
        leaf,
        names=[*leaf.dns_names, *leaf.ip_addresses],
        days_left=int((leaf.not_after - (time.time() if now is None else now)) // _DAY),
        added=entry.added or None,
        since=entry.since or None,
        current_from=entry.current_from or None,
        current_until=entry.current_until or None,
        switch_at=entry.switch_at or None,
    )


class GateCheckFinding(msgspec.Struct):
    """A finding of a gate check. verdict: pass, info, warn, fail, unknown. until: when waiting alone resolves it."""

    gate: str
    verdict: str
    text: str
    evidence: str
    fix: str
    until: float | None


class GateSummary(msgspec.Struct):
    """A look at the gates. light: green, red or unknown. green_at: when waiting alone opens all of them."""

    id: str
    at: float
    seconds: float
    light: str
    fails: int
    warnings: int
    unknown: int
    green_at: float | None
    findings: list[GateCheckFinding]

    @property
    def reasons(self) -> str:
        """Findings that block the switch, in one line: failed ones before unknown ones."""
        stopping = [
            finding for verdict in ("fail", "unknown") for finding in self.findings if finding.verdict == verdict
        ]
        return "; ".join(f"{finding.gate}: {finding.text}" for finding in stopping)[:MAX_TEXT]


class CertificateGates(GateSummary):
    """The same, with the certificate that it is of."""

    certificate: CertificateSummary


def gates_of_report(report: GateReport) -> GateSummary:
    """The report as JSON has it."""
    record = gates_record(report)
    findings = [GateCheckFinding(**finding) for finding in record.pop("findings")]
    return GateSummary(**record, findings=findings)


def certificate_gates(report: GateReport) -> CertificateGates:
    """The same with its certificate."""
    gates = msgspec.structs.asdict(gates_of_report(report))
    return CertificateGates(**gates, certificate=certificate_of(report.entry))


use_case = use_cases(scope=Scope.READ, visibility=Visibility.GATEWAY, tag="certificates")
STATES = (State.CURRENT, State.NEXT, State.DEPRECATED, State.RETIRED)
"""The order in which certificates are listed."""

_NEWEST = 10_000  # changes that are looked through


class CertificateListing(NamedTuple):
    """Everything there is. version: of the configuration. trouble: what is wrong with files of the settings."""

    version: int
    entries: tuple[Entry, ...]
    requests: tuple[PendingRequest, ...]
    directories: tuple[str, ...]
    trouble: tuple[str, ...]


class StoredCertificate(NamedTuple):
    """One certificate. chain: PEM, leaf first, b"" if it is lost. version: of the configuration it is of."""

    entry: Entry
    chain: bytes
    version: int


def certificate_listing(gateway: Gateway) -> CertificateListing:
    """All certificates, requests and directories; those of the settings also if the gateway never ran.

    Raises Refusal (UNREADABLE).
    """
    with inventory_of(gateway, keys=False) as inventory:
        listing = listed_certificates(inventory, gateway, with_chains=False)
        return CertificateListing(
            listing.version,
            tuple(listing.entries.values()),
            tuple(inventory.requests.waiting().values()),
            tuple(str(path) for path in inventory.directories.paths()),
            listing.trouble,
        )


def certificate(gateway: Gateway, number: str) -> StoredCertificate:
    """The one that goes by an id, the beginning of a thumbprint, or a label. Raises Refusal: MISSING, UNREADABLE."""
    with inventory_of(gateway, keys=False) as inventory:
        listing = listed_certificates(inventory, gateway)
    entry = choose_certificate(listing, number)
    return StoredCertificate(entry, listing.chains.get(entry.id, b""), listing.version)


def waiting_with_csr(gateway: Gateway, number: str) -> tuple[PendingRequest, bytes]:
    """A request that waits, and what is sent to the authority (PEM), b"" if it is lost. Raises Refusal (MISSING)."""
    with inventory_of(gateway, keys=False) as inventory:
        request = inventory.requests.waiting().get(number.lower())
        if request is None:
            raise Refusal(RefusalKind.MISSING, f"no request {number!r} waits; its certificate may have come meanwhile")
        return request, inventory.requests.request_pem(request)


def in_order(entries: Sequence[Entry], purpose: Purpose) -> list[Entry]:
    """Those of a purpose: current beside next and deprecated, the newest first in each state."""
    chosen = [entry for entry in entries if entry.purpose is purpose]
    return sorted(chosen, key=lambda entry: (STATES.index(entry.state), -entry.since))


# ------------------------------------------------------------------------------------------------ use cases


class ListCertificates(Paging, kw_only=True):
    """All of them."""


class GetInventory(msgspec.Struct, kw_only=True):
    """All of it."""


class GetCertificate(msgspec.Struct, kw_only=True):
    """The certificate to show."""

    certificate: CertificateNumber


class ListCertificateHistory(Paging, kw_only=True):
    """All of it."""


class CertificateLink(msgspec.Struct):
    """A certificate of a chain. crl, ocsp, aia: addresses that it names."""

    subject: str
    issuer: str
    serial: str
    sha256: str
    key: str
    not_before: float
    not_after: float
    crl: list[str]
    ocsp: list[str]
    aia: list[str]


class CertificateDetail(CertificateSummary):
    """Everything about one. tlsa: data of a TLSA record. key_is: where its private key is. chain: leaf first."""

    tlsa: str
    key_is: str
    chain: list[CertificateLink]


class CertificateRequest(msgspec.Struct):
    """A request that waits for its certificate. purpose: server or client. key: its kind. added: seconds since 1970.

    key_file: where the key waits, empty if it is sealed in the store.
    """

    id: str
    purpose: str
    organization: str
    label: str
    names: list[str]
    key: str
    must_staple: bool
    added: float
    key_file: str


class CertificateInventory(msgspec.Struct):
    """All there is. version: of the configuration. directories: watched. trouble: about files of the settings."""

    version: int
    certificates: list[CertificateSummary]
    requests: list[CertificateRequest]
    directories: list[str]
    trouble: list[str]


class CertificateChange(msgspec.Struct):
    """A change of a certificate, a request or a directory (kind). at: seconds since 1970."""

    version: int
    at: float
    author: str
    kind: str
    id: str
    names: list[str]
    change: str
    note: str


@use_case("GET /certificates")
def list_certificates(context: Context, request: ListCertificates) -> Items[CertificateSummary]:
    """All certificates, client certificates among them."""
    return page_of(certificate_listing(context.gateway).entries, lambda entry: entry.id, request, certificate_of)


@use_case("GET /certificates/{certificate}")
def get_certificate(context: Context, request: GetCertificate) -> CertificateDetail:
    """Everything about a certificate."""
    entry, chain, _ = certificate(context.gateway, request.certificate)
    return certificate_detail(entry, chain, time.time())


@use_case("GET /certificate_inventory")
def get_inventory(context: Context, request: GetInventory) -> CertificateInventory:  # noqa: ARG001 - it is all of it
    """Certificates, requests and watched directories at once, as `gatepost certificate list` has them."""
    listing = certificate_listing(context.gateway)
    return CertificateInventory(
        listing.version,
        [certificate_of(entry) for entry in listing.entries],
        [waiting_request(pending_request) for pending_request in listing.requests],
        list(listing.directories),
        list(listing.trouble),
    )


@use_case("GET /certificate_history")
def list_certificate_history(context: Context, request: ListCertificateHistory) -> Items[CertificateChange]:
    """List changes of certificates, requests and directories, with author and note, the newest first."""
    changes = history(context.gateway, _NEWEST if request.after else request.limit + 1)
    return page_of(changes, lambda change: f"{change.version} {change.kind} {change.name}", request, change_of)


def certificate_detail(entry: Entry, chain: bytes, now: float) -> CertificateDetail:
    """Everything about a certificate. chain: PEM, b"" if it is lost."""
    return CertificateDetail(
        **msgspec.structs.asdict(certificate_of(entry, now)),
        tlsa=f"3 1 1 {entry.leaf.spki_sha256}",
        key_is=key_place(entry),
        chain=chain_links(chain),
    )


def chain_links(chain: bytes) -> list[CertificateLink]:
    """Each certificate of a chain, leaf first, with the addresses that it names; [] for one that cannot be read."""
    try:
        with quietly():
            read = x509.load_pem_x509_certificates(chain) if chain else []
            return [_link(element) for element in read]
    except ValueError:  # a store that was damaged; the rest of what is known of it is still good
        return []


def _link(one: x509.Certificate) -> CertificateLink:
    facts, places = certificate_facts(one.public_bytes(Encoding.DER)), published(one)
    return copy_fields(CertificateLink, facts, places, aia=list(issuer_places(one)))


def key_place(entry: Entry) -> str:
    """Where the private key is, in words."""
    if entry.in_token:
        return f"in the token: {entry.key_file}"
    if entry.key_file:
        is_missing = missing_file(entry) == entry.key_file
        return f"missing: {entry.key_file}" if is_missing else f"in its file {entry.key_file}"
    if entry.state is State.RETIRED or entry.origin in {Origin.SETTINGS, Origin.FILES}:
        return "not kept"
    return "encrypted in the store"


def waiting_request(waiting: PendingRequest) -> CertificateRequest:
    """A request that waits, for machines."""
    return copy_fields(CertificateRequest, waiting, waiting.wish)


def change_of(change: Change) -> CertificateChange:
    """A change of a certificate, a request or a directory, for machines."""
    document = change.after or change.before or {}
    leaf = document.get("leaf", {})
    return copy_fields(
        CertificateChange,
        change,
        kind=change.kind.removeprefix("certificate_"),
        id=change.name,
        names=leaf.get("dns_names") or [leaf["subject"]] if leaf else document.get("names", []),
        change=_what(change.before, change.after),
    )


_ADDED: Final = {
    State.NEXT: "added as next",
    State.CURRENT: "added as current",
    State.DEPRECATED: "added as deprecated",
    State.RETIRED: "added as retired",
}


def _what(before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    if before is None:
        return _ADDED.get(after["state"], "added") if after and "state" in after else "added"
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
    attributes = read.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(attributes[-1].value) if attributes else name
