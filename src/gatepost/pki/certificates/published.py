"""The published certificate table: what partners need to demand TLS of us, made of the inventory (S12, S13). Pure.

`pki.certificates.forms` gathers what it is made of; `published_json`, `published_html`, `published_atom` and
`bundle` show it. Nothing in it is typed by anybody, nothing depends on the clock but the choice among several
certificates of an authority: the same inventory makes the same table, octet for octet, on every node.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.net.certificate import MALFORMED, parse, quietly
from gatepost.net.path import climb
from gatepost.pki.certificates.columns import Columns, columns
from gatepost.pki.certificates.entry import Entry, Purpose, State, entry_of
from gatepost.protocols.tls.names import matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gatepost.pki.certificates.inventory import Listed
    from gatepost.protocols.tls.profile import Profile
    from gatepost.store.changes import Change


MAX_ROWS: Final = 50
"""Certificates of one state that are shown, the newest ones."""

_MAX_EVENTS: Final = 100
_SHOWN: Final = (State.CURRENT, State.NEXT, State.DEPRECATED)
_PORTS: Final = {"http": 80, "https": 443}
_POLICY_LABEL: Final = "mta-sts."


@dataclass(frozen=True, slots=True)
class Row:
    """A certificate that is presented, will be, or was.

    path: SHA-256 thumbprints of the authorities above it, the root last if it was found. root: that one's name, "" if
    it was not found; then missing names the issuer that was not. tlsa: TLSA records for its mail hosts, as a zone file
    has them. Times in seconds since 1970, 0.0 for not (yet): valid_from, valid_until: presented; planned: will be.
    """

    state: State
    columns: Columns
    path: tuple[str, ...]
    root: str
    missing: str
    tlsa: tuple[str, ...]
    valid_from: float
    valid_until: float
    planned: float


@dataclass(frozen=True, slots=True)
class Authority:
    """An intermediate or a root of the rows. sent: in our handshakes, too. states: of the certificates below it."""

    columns: Columns
    is_root: bool
    sent: bool
    states: tuple[State, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A host and port that a partner's firewall must let out. purposes: of "crl", "ocsp", "aia"."""

    host: str
    port: int
    purposes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """A certificate came into a state from another, None if it is new. at, not_after: seconds since 1970."""

    at: float
    state: State
    before: State | None
    name: str
    sha256: str
    issuer: str
    not_after: float


@dataclass(frozen=True, slots=True)
class Table:
    """The whole of it.

    hostname: of the gateway. profile: the TLS that we offer. changed: seconds since 1970, 0.0 if not known. left_out:
    certificates beyond MAX_ROWS. lost: ids of certificates whose chain cannot be read.
    """

    hostname: str
    profile: Profile
    rows: tuple[Row, ...]
    authorities: tuple[Authority, ...]
    events: tuple[Event, ...] = ()
    changed: float = 0.0
    left_out: int = 0
    lost: tuple[str, ...] = ()

    @property
    def roots(self) -> tuple[Authority, ...]:
        """Those that partners must trust."""
        return tuple(authority for authority in self.authorities if authority.is_root)

    @property
    def intermediates(self) -> tuple[Authority, ...]:
        """Those between them and our certificates."""
        return tuple(authority for authority in self.authorities if not authority.is_root)

    def endpoints(self, purpose: str) -> tuple[str, ...]:
        """Every address for a purpose ("crl", "ocsp", "aia") that some certificate names."""
        return tuple(sorted({url for name, url in self._urls() if name == purpose}))

    @property
    def firewall(self) -> tuple[Found, ...]:
        """The hosts and ports that a partner connects to when it checks our certificates."""
        found: dict[tuple[str, int], set[str]] = {}
        for purpose, url in self._urls():
            if place := _place(url):
                found.setdefault(place, set()).add(purpose)
        return tuple(Found(*place, tuple(sorted(purposes))) for place, purposes in sorted(found.items()))

    def _urls(self) -> Iterator[tuple[str, str]]:
        for certificate in (*(row.columns for row in self.rows), *(each.columns for each in self.authorities)):
            for purpose, urls in (("crl", certificate.crl), ("ocsp", certificate.ocsp), ("aia", certificate.issuers)):
                yield from ((purpose, url) for url in urls)


def published(
    listed: Listed,
    roots: Iterable[bytes],
    changes: Sequence[Change] = (),
    *,
    hostname: str,
    profile: Profile,
    now: float,
) -> Table:
    """The table of the server certificates that are next, current or deprecated.

    roots: certificates (DER) among which a root may be found that no chain holds; of several issuers one that is valid
    at `now` is taken. changes: of certificates, newest first.
    """
    known = _by_subject(roots)
    chosen, left_out = _chosen(listed.entries.values())
    rows, lost, above = [], [], _Above()
    for entry in chosen:
        chain = _read(listed.chains.get(entry.id, b""))
        if not chain:
            lost.append(entry.id)
            continue
        path = climb(chain[0], _near(chain, known), now)
        rows.append(_row(entry, [columns(der) for der in path], hostname))
        above.add(entry.state, chain, path)
    changed = max((change.at for change in changes if _is_visible(change)), default=0.0)
    return Table(hostname, profile, tuple(rows), above.authorities(), events(changes), changed, left_out, tuple(lost))


def _chosen(entries: Iterable[Entry]) -> tuple[list[Entry], int]:
    """Those that are shown, current ones first, the newest first in each state; and how many more there are."""
    servers = [entry for entry in entries if entry.purpose is Purpose.SERVER]
    chosen, left_out = [], 0
    for state in _SHOWN:
        ranked = sorted(
            (server for server in servers if server.state is state), key=lambda server: (-_since(server), server.id)
        )
        chosen += ranked[:MAX_ROWS]
        left_out += len(ranked[MAX_ROWS:])
    return chosen, left_out


def _since(entry: Entry) -> float:
    return entry.current_until if entry.state is State.DEPRECATED else entry.current_from or entry.added


def _read(pem: bytes) -> list[bytes]:
    """The certificates of a chain, DER; [] if it cannot be read."""
    try:
        with quietly():
            result = [certificate.public_bytes(Encoding.DER) for certificate in x509.load_pem_x509_certificates(pem)]
        for certificate in map(parse, result):
            _ = (
                certificate.subject,
                certificate.issuer,
            )  # are only read when they are asked for, and everything below does
    except MALFORMED:  # CertificateError is one of them
        return []
    return result


def _by_subject(certificates: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    result: dict[bytes, list[bytes]] = {}
    for der in certificates:
        result.setdefault(parse(der).subject.public_bytes(), []).append(der)
    return result


def _near(chain: Sequence[bytes], known: Mapping[bytes, Sequence[bytes]]) -> list[bytes]:
    """A chain, and what of the known ones may be above it by their names: each signature that is tried takes time."""
    result = list(dict.fromkeys(chain))
    for der in result:  # grows while it is walked through
        result += [
            candidate for candidate in known.get(parse(der).issuer.public_bytes(), ()) if candidate not in result
        ]
    return result


def _row(entry: Entry, path: Sequence[Columns], hostname: str) -> Row:
    leaf, top = path[0], path[-1]
    return Row(
        entry.state,
        leaf,
        path=tuple(above.facts.sha256 for above in path[1:]),
        root=top.name if top.self_issued else "",
        missing="" if top.self_issued else top.facts.issuer,
        tlsa=_tlsa(leaf, hostname),
        valid_from=entry.current_from,
        valid_until=entry.current_until if entry.state is State.DEPRECATED else 0.0,
        planned=entry.switch_at if entry.state is State.NEXT else 0.0,
    )


def _tlsa(leaf: Columns, hostname: str) -> tuple[str, ...]:
    """A record for each mail host that it names (RFC 7672 section 3.1.1); a wildcard stands for our own name alone."""
    facts = leaf.facts
    hosts = [name for name in facts.dns_names if not name.startswith(("*.", _POLICY_LABEL))]
    if hostname not in hosts and matches(hostname, facts):
        hosts.insert(0, hostname)
    return tuple(f"_25._tcp.{host}. IN TLSA 3 1 1 {facts.spki_sha256}" for host in hosts)


def _place(url: str) -> tuple[str, int] | None:
    """Host and port of an address; None for one that nobody can call."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme.lower(), 0)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None


@dataclass(slots=True)
class _Above:
    """Gathers the authorities of the rows, each once."""

    _seen: dict[bytes, set[State]] = field(default_factory=dict)
    _sent: set[bytes] = field(default_factory=set)

    def add(self, state: State, chain: Sequence[bytes], path: Sequence[bytes]) -> None:
        """chain: what is sent, leaf first. path: leaf to root, as far as it is known."""
        self._sent.update(chain)
        own = path[:1] if columns(path[0]).self_issued else []  # it is its own authority
        for der in (*own, *chain[1:], *path[1:]):
            self._seen.setdefault(der, set()).add(state)

    def authorities(self) -> tuple[Authority, ...]:
        """Roots first, those of current certificates before others, then by name."""
        authorities = [
            Authority(
                authority, authority.self_issued, der in self._sent, tuple(state for state in _SHOWN if state in states)
            )
            for der, states in self._seen.items()
            for authority in [columns(der)]
        ]
        return tuple(sorted(authorities, key=_rank))


def _rank(one: Authority) -> tuple[object, ...]:
    return not one.is_root, _SHOWN.index(one.states[0]), one.columns.name, one.columns.facts.sha256


# what happened


def events(changes: Iterable[Change]) -> tuple[Event, ...]:
    """The events of server certificates that partners see, newest first; at most a hundred."""
    listed = []
    for change in changes:
        after = _server(change.name, change.after)
        before = _server(change.name, change.before)
        if after is None or (before is not None and before.state is after.state):
            continue
        leaf = after.leaf
        name = leaf.common_name or next(iter((*leaf.dns_names, *leaf.ip_addresses)), leaf.subject)
        was = before.state if before is not None else None
        listed.append(Event(change.at, after.state, was, name, leaf.sha256, leaf.issuer, leaf.not_after))
    return tuple(listed[:_MAX_EVENTS])


def _server(number: str, document: dict[str, Any] | None) -> Entry | None:
    """A server certificate as a change has it; None if it is none, or of another version of gatepost."""
    if document is None:
        return None
    try:
        entry = entry_of(number, document)
    except ValueError:
        return None
    return entry if entry.purpose is Purpose.SERVER else None


def _is_visible(change: Change) -> bool:
    """Whether the table is another one by it."""
    return _shown(_server(change.name, change.before)) != _shown(_server(change.name, change.after))


def _shown(entry: Entry | None) -> tuple[object, ...]:
    if entry is None:
        return ()
    return entry.leaf.sha256, entry.state, entry.current_from, entry.current_until, entry.switch_at
