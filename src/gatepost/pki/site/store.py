"""Store a site's records in the configuration store, and the sealed keys of its authorities.

Used by `pki.site.site` and `pki.site.membership` alone. Records are documents, so every change of them has an
author, a note and a place in the history; certificates and keys are content beside them. Nodes that share a store have
the site's records in common; each has a membership of its own there, under its node's name.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gatepost.decoding import converted
from gatepost.pki.certificates.vault import Vault, VaultError
from gatepost.pki.site.profile import Signer
from gatepost.pki.site.records import IssuedServer, Membership, Node, SiteAuthority, SiteError, SiteState, Token

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatepost.settings.model import Server
    from gatepost.store.changes import ConfigStore


type Record = SiteAuthority | Node | Token | IssuedServer | Membership

AUTHORITY: Final = "site_authority"
NODE: Final = "site_node"
TOKEN: Final = "site_token"  # noqa: S105 - a kind of record
ISSUED: Final = "site_issued"
MEMBERSHIP: Final = "site_membership"
KINDS: Final = (AUTHORITY, NODE, TOKEN, ISSUED, MEMBERSHIP)
"""The kinds of record, as the history names them."""

_NO_VAULT: Final = "keys of a site are stored only sealed: set store.master_key (docs/certificates.md)"
_UNREADABLE: Final = "is stored in a form that this version does not know"


class SiteStore:
    """store: of the gateway. vault: seals keys; None if no master key is set, then nothing is signed.

    server: this node, for who wants its membership. name: under which its membership is kept: the node's own where
    several share the store.
    """

    def __init__(self, store: ConfigStore, vault: Vault | None, server: Server | None = None) -> None:
        self.store = store
        self._vault = vault
        self._server = server
        self.name = server.node_name if server is not None and store.is_shared else MEMBERSHIP

    @contextmanager
    def apart(self) -> Iterator[SiteStore]:
        """The same over a connection of its own, for another thread. Raises StoreFailure."""
        with closing(self.store.another()) as store:
            yield SiteStore(store, self._vault, self._server)

    def state(self) -> SiteState:
        """All records of the site. What is read later may be newer than its version: who changes it says `expected`.

        Raises SiteError.
        """
        version, _ = self.store.load(AUTHORITY)
        authorities = sorted(
            self._all(AUTHORITY, SiteAuthority).values(), key=lambda authority: (-authority.signs_from, authority.id)
        )
        return SiteState(
            version,
            tuple(authorities),
            self._all(NODE, Node),
            self._all(TOKEN, Token),
            self._all(ISSUED, IssuedServer),
        )

    def members(self) -> dict[str, float] | None:
        """When the site's nodes joined, by name, seconds since 1970; None where its authority is not in this store.

        Raises SiteError.
        """
        nodes = self._all(NODE, Node)
        return {name: node.joined for name, node in nodes.items()} if self._all(AUTHORITY, SiteAuthority) else None

    def membership(self) -> Membership | None:
        """The membership of this node, None if it is in no site. Raises SiteError."""
        return self.memberships().get(self.kept_under())

    def memberships(self) -> dict[str, Membership]:
        """The memberships of all nodes that share this store, by the names under which they are kept.

        Raises SiteError.
        """
        return self._all(MEMBERSHIP, Membership)

    def kept_under(self) -> str:
        """The name of this node's membership: its own, or another until the next renewal if the data were moved here.

        A gateway of one node keeps it under `MEMBERSHIP`, one of several under the node's name. Raises SiteError.
        """
        known = self.memberships()
        if self.name in known or self._server is None:
            return self.name
        moved = {MEMBERSHIP} if self.store.is_shared else set(known)
        hostname = self._server.hostname
        return next((name for name in sorted(moved & set(known)) if known[name].node == hostname), self.name)

    def sharing(self) -> frozenset[str]:
        """The host names of the nodes of this node's site that share its store. Raises SiteError."""
        member = self.membership()
        if member is None or not self.store.is_shared:
            return frozenset()
        return frozenset(other.node for other in self.memberships().values() if other.site == member.site)

    def apply(
        self,
        records: Mapping[tuple[str, str], Record | None],
        *,
        author: str,
        note: str = "",
        expected: int | None = None,
        content: Mapping[str, bytes | None] | None = None,
    ) -> None:
        """Keep records by kind and name, None to forget one; all or none. Raises as `ConfigStore.apply`."""
        document: dict[str, dict[str, Any]] = {}
        for (kind, name), record in records.items():
            document.setdefault(kind, {})[name] = None if record is None else msgspec.to_builtins(record)
        self.store.apply(document, author=author, note=note, expected=expected, content=content or {})

    def content(self, place: str) -> bytes:
        """The content of a place, b"" if there is none."""
        return self.store.content(place) or b""

    def sealed(self, secret: bytes, place: str) -> bytes:
        """A key as it may be stored at `place`. Raises SiteError."""
        if self._vault is None:
            raise SiteError(_NO_VAULT)
        return self._vault.seal(secret, place)

    def opened(self, place: str) -> bytes:
        """The key that lies at `place`. Raises SiteError."""
        sealed = self.content(place)
        if not sealed:
            raise SiteError(f"{place}: the key is not kept")
        if self._vault is None:
            raise SiteError(_NO_VAULT)
        try:
            return self._vault.open(sealed, place)
        except VaultError as failure:
            raise SiteError(str(failure)) from failure

    def certificate_pem(self, authority: SiteAuthority) -> bytes:
        """The root itself. Raises SiteError."""
        result = self.content(place_of(authority.id, "certificate"))
        if not result:
            raise SiteError(f"the certificate of the authority {authority.id} is not in the store")
        return result

    def signer(self, authority: SiteAuthority, now: float) -> Signer:
        """The signer of an authority. Raises SiteError."""
        key = load_pem_private_key(self.opened(place_of(authority.id, "key")), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise SiteError(f"the key of the authority {authority.id} {_UNREADABLE}")
        return Signer(x509.load_pem_x509_certificate(self.certificate_pem(authority)), key, now)

    def _all[R: Record](self, kind: str, record: type[R]) -> dict[str, R]:
        _, document = self.store.load(kind)
        try:
            return {name: converted(table, record) for name, table in document.get(kind, {}).items()}
        except msgspec.ValidationError as error:
            raise SiteError(f"a record of kind {kind} {_UNREADABLE}: {error}") from error


def membership_places(name: str) -> tuple[str, str, str]:
    """The places in the store of a membership's sealed key, certificate and roots. name: under which it is kept."""
    place = MEMBERSHIP if name == MEMBERSHIP else f"{MEMBERSHIP}/{name}"
    return f"{place}/key", f"{place}/certificate", f"{place}/roots"


def place_of(authority: str, what: str) -> str:
    """The place of an authority's content in the store."""
    return f"{AUTHORITY}/{authority}/{what}"
