"""Compare two requirements: stronger, weaker, or neither, for a next hop and for an inbound connector.

Called by `analysis.rehearsal.blast_radius`. Pure. Each demand is a row of figures; one is stronger only if no figure is
smaller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, assert_never

from gatepost.policy.connectors.tls_rules import limits_of
from gatepost.policy.connectors.values import Cleartext, ConnectorType, Mode, ProfileName, RevocationCheck
from gatepost.policy.decisions.requirement import Authenticated, Encrypted, Opportunistic
from gatepost.protocols.tls.limits import GROUPS, NO_LIMITS, SUITES

if TYPE_CHECKING:
    from gatepost.policy.connectors.records import InboundConnector
    from gatepost.policy.decisions.requirement import Requirement
    from gatepost.protocols.tls.limits import TlsLimits


def _excluded(limits: TlsLimits) -> tuple[frozenset[str], frozenset[str]]:
    """The groups and suites that limits exclude: more are stronger, others neither stronger nor weaker."""
    return frozenset(GROUPS).difference(limits.allowed_groups), frozenset(SUITES).difference(limits.allowed_suites)


type Change = Literal["", "weaker", "stronger", "other"]

type _Figures = tuple[tuple[Any, ...], tuple[Any, ...]]
"""The figures of a demand: those that compare, greater is stronger; and those that are only equal or not."""

_CLEARTEXT = (Cleartext.AFTER_FAILED_HANDSHAKE, Cleartext.ONLY_IF_NOT_OFFERED, Cleartext.NEVER)
_PROFILES = tuple(reversed(ProfileName))
_REVOCATION = tuple(RevocationCheck)
_UNDEMANDING: _Figures = ((False, False, False, "", 0, *_excluded(NO_LIMITS)), ((), NO_LIMITS))


def outbound_change(before: Requirement | None, after: Requirement | None) -> Change:
    """Compare the protection of outbound mail. None: a mailbox here, which needs none."""
    if before is None or after is None:
        return "" if before is after else "other"
    return _compared(_figures(before), _figures(after))


def inbound_change(before: InboundConnector | None, after: InboundConnector | None) -> Change:
    """Compare the demands on senders. None: no connector, so nothing is demanded."""
    return _compared(_demand(before), _demand(after))


def _compared(before: _Figures, after: _Figures) -> Change:
    pairs = list(zip(before[0], after[0], strict=True))
    less, more = any(new < old for old, new in pairs), any(new > old for old, new in pairs)
    if less and more:
        return "other"
    if less or more:
        return "weaker" if less else "stronger"
    return "" if before[1] == after[1] else "other"


def _figures(requirement: Requirement) -> _Figures:
    profile = _PROFILES.index(ProfileName(requirement.profile))
    match requirement:
        case Opportunistic():
            return (0, _CLEARTEXT.index(requirement.cleartext), profile, "", 0, *_excluded(NO_LIMITS)), ((), NO_LIMITS)
        case Encrypted():
            excluded = _excluded(requirement.limits)
            figures = (1, len(_CLEARTEXT), profile, requirement.min_version, 0, *excluded)
            return figures, ((), requirement.limits)
        case Authenticated():
            level = 3 if requirement.names or requirement.dane else 2
            revocation = _REVOCATION.index(requirement.revocation)
            excluded = _excluded(requirement.limits)
            figures = (level, len(_CLEARTEXT), profile, requirement.min_version, revocation, *excluded)
            return figures, (requirement.proofs, requirement.limits)
        case _:
            assert_never(requirement)


def _demand(connector: InboundConnector | None) -> _Figures:
    if connector is None or connector.mode is Mode.REHEARSE:
        return _UNDEMANDING
    partner = connector.connector_type is ConnectorType.PARTNER
    certificate = partner and connector.restrict_domains_to_certificate
    address = partner and connector.restrict_domains_to_ip_addresses
    floor = max(connector.min_tls_version or "", "TLSv1.3" if connector.profile is ProfileName.MODERN else "")
    revocation = _REVOCATION.index(connector.revocation_check) if certificate else 0
    limits = limits_of(connector)
    bound = (
        (connector.tls_sender_certificate_name, connector.match_common_name, connector.trust_anchors)
        if certificate
        else (),
        frozenset(connector.sender_ip_addresses) if address else (),
    )
    return (
        connector.require_tls or certificate,
        certificate,
        address,
        floor,
        revocation,
        *_excluded(limits),
    ), (bound if certificate or address else (), limits)
