"""Find inbound connectors by a client's certificate, and the trust anchors by which it is to be judged. Pure.

Made by `policy.connectors.directory` for one version of the resources. A chain is judged when the handshake ends, while
other sessions wait, in half a millisecond for each set of anchors: where connectors name many, only by those of
connectors that may know the certificate by its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from gatepost.policy.connectors.names import parents
from gatepost.protocols.tls.names import matches, normalise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.policy.connectors.records import InboundConnector, Organization
    from gatepost.protocols.tls.facts import CertificateFacts


_FEW: Final = 20  # sets of trust anchors by which each chain is judged, whatever its name, for what is said of it
_OF_ONE: Final = 10  # sets of one organization for one certificate


class _Entry(Protocol):
    """An inbound connector as a directory has it."""

    @property
    def organization(self) -> Organization: ...

    @property
    def connector(self) -> InboundConnector: ...


class CertificateIndex[E: _Entry]:
    """Connectors by tls_sender_certificate_name."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[str, list[E]] = {}

    def add(self, entry: E) -> None:
        """One more; without a name it is never found."""
        if name := entry.connector.tls_sender_certificate_name:
            self._entries.setdefault(name, []).append(entry)
            if not name.startswith("*."):
                # A certificate for *.b.example bears mail.b.example too.
                self._entries.setdefault(f"?.{name.partition('.')[2]}", []).append(entry)

    def find(self, leaf: CertificateFacts) -> list[E]:
        """Connectors whose name the certificate may bear; each has still to be compared."""
        if not self._entries:
            return []
        entries: dict[int, E] = {}
        for name in (*leaf.dns_names, normalise(leaf.common_name)):
            for key in _keys(name):
                for entry in self._entries.get(key, ()):
                    entries[id(entry)] = entry
        return list(entries.values())


def _keys(name: str) -> Iterator[str]:
    """Yield the keys under which connectors for a certificate's name are found: exact names, then wildcards."""
    bare = name.removeprefix("*.")
    yield name if name == bare else f"?.{bare}"
    for parent in parents(bare):
        yield f"*.{parent}"


class ClientAnchors:
    """The trust anchors that inbound connectors name for themselves."""

    __slots__ = ("_all", "_index")

    def __init__(self) -> None:
        self._all: set[str] = set()
        self._index = CertificateIndex[_Entry]()

    def add(self, entry: _Entry) -> None:
        """Those of one more connector, if it has any."""
        if entry.connector.trust_anchors:
            self._all.add(entry.connector.trust_anchors)
            self._index.add(entry)

    def of(self, leaf: CertificateFacts | None) -> frozenset[str]:
        """The anchors by which a chain is judged. leaf: its first certificate, None if that cannot be read.

        Of few all; else those of connectors whose name it bears, ten of each organization at most, by priority and
        name: nobody makes a handshake long by connectors of his.
        """
        if len(self._all) <= _FEW:
            return frozenset(self._all)
        if leaf is None:
            return frozenset()
        chosen: dict[str, set[str]] = {}
        for entry in sorted(self._index.find(leaf), key=_order):
            anchors = chosen.setdefault(entry.organization.name, set())
            connector = entry.connector
            if len(anchors) < _OF_ONE and matches(
                connector.tls_sender_certificate_name or "", leaf, common_name=connector.match_common_name
            ):
                anchors.add(connector.trust_anchors)
        return frozenset().union(*chosen.values())


def _order(entry: _Entry) -> tuple[int, str]:
    return entry.connector.priority, entry.connector.name
