"""TLS contexts and trust anchors of the sending side, cached until the configuration changes.

Used by `mail.outbound.hop`. One context for each offer (versions, groups, suites), set of anchors, client certificate
and wish for a stapled OCSP response: sessions are resumed only within a context, so that none is resumed under other
rules than those it was made under.
"""

from __future__ import annotations

import logging
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gatepost.mail.outbound.failure import HopFailed, local_fault
from gatepost.net import chain
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.engine import ClientContext, client_context
from gatepost.net.identity import IdentityError, ServerIdentity
from gatepost.net.shortage import shortage
from gatepost.policy.connectors.client_certificate import ClientCertificate
from gatepost.policy.connectors.values import RevocationCheck
from gatepost.policy.decisions.requirement import Authenticated, Requirement, offered
from gatepost.protocols.tls.profile import Profile, classical_only

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.policy.connectors.records import OutboundConnector
    from gatepost.protocols.tls.facts import ChainVerdict, TlsFacts


_KEPT = 200

_log = logging.getLogger(__name__)

type ClientIdentity = Callable[[str, str, float], ServerIdentity]
type PairReader = Callable[[str, str], ServerIdentity]


class OurCertificate(msgspec.Struct, frozen=True):
    """A client certificate for next hops that ask for one. organization: owner of its connector and of its label.

    Both "" for `NODE_CERTIFICATE`.
    """

    organization: str
    named: ClientCertificate
    connector: str = ""

    def __str__(self) -> str:
        """As an administrator knows it."""
        named = f"{self.named.label!r}" if self.named.label else f"{self.named.chain} with {self.named.key}"
        return f"{named} of connector {self.connector!r}" if self.connector else named


NODE_CERTIFICATE = OurCertificate("", ClientCertificate(label="node"))
"""The certificate by which other nodes of the site know this one; see `ClientContexts.identity`."""


def our_certificate(connector: OutboundConnector | None, organization: str) -> OurCertificate | None:
    """The client certificate of a connector of an organization, None if it names none."""
    if connector is None or connector.client_certificate is None:
        return None
    return OurCertificate(organization, connector.client_certificate, connector.name)


def _no_identity(organization: str, label: str, now: float) -> ServerIdentity:
    del now
    raise IdentityError(f"there is no inventory here to look for {label!r} of {organization}")


def _read_pair(chain: str, key: str) -> ServerIdentity:
    return ServerIdentity(Path(chain).read_bytes(), Path(key).read_bytes())


class ClientContexts:
    """anchors: of requirements that name none: "system", a file or a directory. clock: seconds since 1970.

    load: reads trust anchors by such a name; a drill puts its own in the place of all. Raises AnchorsError. staple:
    every server is asked for an OCSP response, not only where the requirement makes something of it. identity: finds
    the client certificate of an organization by its label, as it is now, and that of `NODE_CERTIFICATE`; raises
    IdentityError. pair: that of the files of a chain and a key; raises OSError or IdentityError.
    """

    def __init__(
        self,
        anchors: str,
        clock: Callable[[], float],
        load: Callable[[str], TrustAnchors] = TrustAnchors.load,
        *,
        staple: bool = False,
        identity: ClientIdentity = _no_identity,
        pair: PairReader = _read_pair,
    ) -> None:
        self._anchors = anchors
        self._identity = identity
        self._pair = pair
        self._clock = clock
        self._staple = staple
        self._context = lru_cache(_KEPT)(_make_context)
        self._trust = lru_cache(_KEPT)(partial(_load_anchors, load))

    def clear(self) -> None:
        """Read certificates, keys and anchors again when they are next needed."""
        self._context.cache_clear()
        self._trust.cache_clear()

    def context(
        self, requirement: Requirement, certificate: OurCertificate | None, *, classical: bool = False
    ) -> ClientContext:
        """The TLS context for a requirement. Raises HopFailed if our own certificate cannot be used.

        classical: without the post-quantum groups, where `has_classical` says that this may be.
        """
        staple = self._staple or revocable(requirement)
        try:
            ours = self._ours(certificate) if certificate else None
            named = self._named(requirement)
            return self._context(_offered(requirement), named, ours, staple=staple, classical=classical)
        except (OSError, IdentityError) as error:
            _log.error("client certificate: %s", error)
            raise HopFailed(local_fault(f"the client certificate {certificate} cannot be used: {error}")) from error

    def judge(self, requirement: Requirement, facts: TlsFacts, anchors: str) -> ChainVerdict | None:
        """The peer's chain held against anchors, "" for the server's own; None if it need not be known and cannot be.

        Raises HopFailed if the requirement needs anchors that cannot be read.
        """
        trusted = self._trusted(anchors or self._anchors)
        if isinstance(trusted, AnchorsError):
            if not required_anchors(requirement):
                return None
            sources = ", ".join(map(str, requirement.sources))
            raise HopFailed(local_fault(f"the trust anchors of {sources} cannot be read: {trusted}"))
        return chain.judge(facts.peer_chain, trusted, now=self._clock(), purpose="server")

    def _trusted(self, name: str) -> TrustAnchors | AnchorsError:
        try:
            return self._trust(name)
        except AnchorsError as short:
            return short

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds since 1970 UTC, by which chains are judged."""
        return self._clock

    def _ours(self, certificate: OurCertificate) -> ServerIdentity:
        """Raises OSError or IdentityError."""
        named = certificate.named
        if named.label:
            return self._identity(certificate.organization, named.label, self._clock())
        return self._pair(named.chain, named.key)

    def _named(self, requirement: Requirement) -> tuple[str, ...]:
        return tuple(name or self._anchors for name in required_anchors(requirement) or ("",))


def required_anchors(requirement: Requirement) -> tuple[str, ...]:
    """The trust anchors that a requirement wants the peer's chain to reach; () if it wants none."""
    return requirement.anchors if isinstance(requirement, Authenticated) else ()


def has_classical(requirement: Requirement) -> bool:
    """Whether a peer that leaves a post-quantum key share unanswered may be offered none: not where one is demanded."""
    try:
        return classical_only(offered(requirement)) is not None
    except ValueError:  # `ClientContexts.context` says what is wrong
        return False


def _offered(requirement: Requirement) -> Profile:
    try:
        return offered(requirement)
    except ValueError as error:
        sources = ", ".join(map(str, requirement.sources))
        raise HopFailed(local_fault(f"the requirements of {sources} leave nothing to negotiate: {error}")) from error


def revocable(requirement: Requirement) -> bool:
    """Whether a trusted chain is looked for among the revoked ones before it counts."""
    if not isinstance(requirement, Authenticated) or not requirement.anchors:
        return False
    return requirement.revocation is not RevocationCheck.NONE


def _make_context(
    chosen: Profile,
    anchors: tuple[str, ...],
    certificate: ServerIdentity | None,
    *,
    staple: bool,
    classical: bool,
) -> ClientContext:
    del anchors  # part of what tells contexts apart: see the module
    if classical:
        chosen = classical_only(chosen) or chosen
    if certificate is None:
        return client_context(chosen, ask_for_staple=staple)
    return client_context(chosen, identity=certificate, ask_for_staple=staple)


def _load_anchors(load: Callable[[str], TrustAnchors], spec: str) -> TrustAnchors | AnchorsError:
    """The failure is a value too, so that it is kept, and logged once rather than for each connection.

    Raises AnchorsError for what passes by itself (`net.shortage`), and is not kept.
    """
    try:
        return load(spec)
    except AnchorsError as error:
        _log.error("trust anchors: %s", error)
        if shortage(error):
            raise
        return error
