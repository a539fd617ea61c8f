"""The TLS requests of a message itself: REQUIRETLS and "TLS-Required: No" (RFC 8689).

`policy.decisions.published` joins it to what else is asked of a host, `policy.decisions.outbound` lets it say what a
connection falls short of. Pure. What the RFC leaves open is decided in docs/requiretls.md.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from gatepost.policy.connectors.values import Cleartext, Mode, RequireTlsMode, RevocationCheck
from gatepost.policy.decisions.requirement import (
    INTERNAL_HOP,
    Authenticated,
    Identity,
    MxLevel,
    Opportunistic,
    Proof,
    Requirement,
    Shortfall,
    Source,
)
from gatepost.protocols.tls.names import is_address_literal
from gatepost.values import replace

if TYPE_CHECKING:
    from gatepost.policy.connectors.records import OutboundConnector
    from gatepost.policy.decisions.facts import HopFacts


# RFC 8689 section 4.2.1 names two statuses.
NEEDED = "5.7.30"
NO_TLS = "5.7.10"

_SOURCE = Source("requiretls")
_NOT_YET = "4.7.10"
_NEEDED_YET = "4.7.30"
_PASSING = {"RevocationUnknown"}


class Asks(StrEnum):
    """The TLS request of one message.

    JOURNAL: a journal copy, which leaves only over TLS to a host that proves its name. NOTICE: as REQUIRED, but a
    message with the null reverse-path is not lost where REQUIRETLS is not offered (RFC 8689 section 5). WAIVED:
    "TLS-Required: No".
    """

    NOTHING = ""
    JOURNAL = "journal"
    REQUIRED = "requiretls"
    NOTICE = "requiretls of a notice"
    WAIVED = "tls-required: no"

    @property
    def demands(self) -> bool:
        """Whether it asks for more than others do."""
        return self in {Asks.REQUIRED, Asks.NOTICE, Asks.JOURNAL}


def asks_of(*, require_tls: bool, tls_required_no: bool, relayed_notice: bool, journal: bool = False) -> Asks:
    """The TLS request of a message. relayed_notice: it has the null reverse-path, and we did not write it."""
    if require_tls:
        return Asks.NOTICE if relayed_notice and not journal else Asks.REQUIRED
    if journal:
        return Asks.JOURNAL
    return Asks.WAIVED if tls_required_no else Asks.NOTHING


def relaxed_by(connector: OutboundConnector | None) -> str:
    """The connector in force that lets REQUIRETLS go where it is not offered, "" if none does."""
    if connector is None or connector.mode is Mode.REHEARSE or connector.requiretls_mode is RequireTlsMode.ENFORCE:
        return ""
    return connector.name


def obeys_cleartext(connector: OutboundConnector | None) -> bool:
    """Whether a connector in force says itself when mail may leave unencrypted."""
    return connector is not None and connector.mode is Mode.ENFORCE and connector.cleartext is not None


def relaxed(requirement: Requirement, *, obey: bool) -> Requirement:
    """A requirement under "TLS-Required: No": TLS that fails does not keep the message (RFC 8689 section 4.2.2).

    obey: whether the cleartext that it names was meant for just this way, as in `obeys_cleartext`. What is demanded
    stays demanded.
    """
    if isinstance(requirement, Opportunistic) and not obey:
        return replace(requirement, cleartext=Cleartext.AFTER_FAILED_HANDSHAKE)
    return requirement


def demand(requirement: Requirement, host: str, *, by_mx: bool, strict: bool) -> Authenticated | Shortfall:
    """The requirement of REQUIRETLS on a host, in addition to `requirement` (RFC 8689 sections 2 and 4.2.1).

    The host proves its name by the TLSA records in the requirement, else by PKIX. by_mx: an MX record names the host,
    so that DNSSEC or MTA-STS must prove it; what an administrator named needs no proof, and what its connector has its
    certificate bear is proof enough. strict: REQUIRETLS must be offered. A Shortfall if nothing could ever prove the
    host: an IP address that no connector has a name for.
    """
    proofs = _proofs(requirement, host, by_mx=by_mx)
    if not proofs:
        return _without_name(
            host, "" if by_mx else "Write its host name, or domain-validation with the name in its certificate. "
        )
    mx = MxLevel.MTA_STS if by_mx else MxLevel.NONE
    return Authenticated(
        (_SOURCE,), proofs, requirement.profile, revocation=RevocationCheck.NONE, mx=mx, requiretls=strict
    )


def _without_name(host: str, advice: str = "") -> Shortfall:
    detail = f"Expected: a host with a name to prove. Presented: {host}, an IP address. {advice}Set by requiretls."
    return Shortfall(None, NO_TLS, "HostHasNoName", detail, "Encryption needed (REQUIRETLS)")


def _proofs(requirement: Requirement, host: str, *, by_mx: bool) -> tuple[Proof, ...]:
    if isinstance(requirement, Authenticated):
        if requirement.dane:
            return requirement.dane
        named = tuple(proof for proof in requirement.proofs if isinstance(proof, Identity) and proof.names)
        if named and not by_mx:
            return named
    return () if is_address_literal(host) else (Identity((host,)),)


def unknown_host(host: str, domain: str, found: str, *, passing: bool) -> Shortfall:
    """Nothing proves that the domain wants its mail at the host. found: what was looked up. passing: not for good."""
    if domain.startswith("["):
        return _without_name(host)
    detail = (
        f"Expected: the MX record of {domain} that names {host} proved by DNSSEC, or the host named by its MTA-STS "
        f"policy in mode enforce. Presented: neither. {found}Set by requiretls."
    )
    status = _NOT_YET if passing else NO_TLS
    return Shortfall(None, status, "HostNotAuthentic", detail, "Encryption needed (REQUIRETLS)")


def settled(requirement: Authenticated, facts: HopFacts, shortfall: Shortfall | None) -> Shortfall | None:
    """The shortfall of a connection, with REQUIRETLS. shortfall: the shortfall of all other requirements.

    For a message with REQUIRETLS an unsuitable host is permanently unfit, unless the fault may pass: the message is
    returned, not kept (RFC 8689 section 4.2.1). An unsuitable node of our own is for its administrators to mend.
    """
    if shortfall is not None:
        passing = facts.passing or shortfall.message in _PASSING or INTERNAL_HOP in requirement.sources
        return shortfall if passing or _SOURCE not in requirement.sources else _for_good(shortfall)
    if facts.mx < requirement.mx:
        detail = f"Expected: {facts.host} known by DNSSEC or MTA-STS. Presented: not known. Set by requiretls."
        return Shortfall(None, NO_TLS, "HostNotAuthentic", detail, "Encryption needed (REQUIRETLS)")
    if requirement.requiretls and not facts.requiretls_offered:
        detail = (
            f"Expected: REQUIRETLS in the reply to EHLO. Presented: none. {facts.host} does not promise to protect the "
            "message on its further way, as its sender asks (RFC 8689)."
        )
        status = _NEEDED_YET if INTERNAL_HOP in requirement.sources else NEEDED
        return Shortfall(None, status, "RequireTlsNotOffered", detail, "REQUIRETLS needed")
    return None


def _for_good(shortfall: Shortfall) -> Shortfall:
    title = (
        f"Encryption needed (REQUIRETLS). {shortfall.title}" if shortfall.title else "Encryption needed (REQUIRETLS)"
    )
    return replace(shortfall, enhanced=NO_TLS, title=title)
