"""Requirements of a host from the DANE and MTA-STS data that its domain publishes.

Called by `mail.outbound.published`, which looks it up, before a connection is made. Pure. DANE goes before MTA-STS
where a host has both (RFC 8461 section 2). Failures have Exchange's codes (exchange.md sections 10.1 and 10.2) and the
result types of RFC 8460 section 4.3.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, assert_never

import msgspec

from gatepost.policy.connectors.values import Mode as ConnectorMode
from gatepost.policy.connectors.values import MtaStsMode, RevocationCheck, SmtpDaneMode
from gatepost.policy.decisions.journaling import journal_demand
from gatepost.policy.decisions.outbound import both, describe
from gatepost.policy.decisions.requirement import (
    Authenticated,
    DaneProof,
    Encrypted,
    MxLevel,
    Requirement,
    Shortfall,
    Source,
    StsProof,
)
from gatepost.policy.decisions.requiretls import Asks, demand, obeys_cleartext, relaxed, relaxed_by, unknown_host
from gatepost.protocols.dane.tlsa import TlsaLookup, TlsaStatus
from gatepost.protocols.mtasts.policy import StsMode, StsPolicy
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.values import replace

if TYPE_CHECKING:
    from gatepost.policy.connectors.records import OutboundConnector
    from gatepost.policy.decisions.parties import SenderPart


class Modes(msgspec.Struct, frozen=True):
    """The lookups of a route, and the demands on their results.

    dane_on_trial: the mode of `dane` that a connector in rehearsal would have. asks: the message's own TLS requests.
    relaxed_by: the connector that lets it go where REQUIRETLS is not offered, "" if none does. own_cleartext: the
    connector itself says when mail may leave unencrypted.
    """

    dane: SmtpDaneMode = SmtpDaneMode.OPPORTUNISTIC
    sts: MtaStsMode = MtaStsMode.OPPORTUNISTIC
    dane_on_trial: SmtpDaneMode | None = None
    asks: Asks = Asks.NOTHING
    relaxed_by: str = ""
    own_cleartext: bool = False


def modes(connector: OutboundConnector | None, asks: Asks = Asks.NOTHING) -> Modes:
    """Of a connector, for a message. A connector in rehearsal neither demands nor waives anything."""
    if connector is None:
        return Modes(asks=asks)
    if connector.mode is ConnectorMode.REHEARSE:
        return Modes(dane_on_trial=connector.smtp_dane_mode, asks=asks)
    own = obeys_cleartext(connector)
    return Modes(connector.smtp_dane_mode, connector.mta_sts_mode, None, asks, relaxed_by(connector), own)


def joined_modes(connector: OutboundConnector | None, sender: SenderPart | None, asks: Asks = Asks.NOTHING) -> Modes:
    """Of a route's connector together with what the sender's own would have: the stricter of each counts."""
    own = modes(connector, asks)
    if sender is None:
        return own
    other = modes(sender.connector, asks)
    trials = (mode.dane if mode.dane_on_trial is None else mode.dane_on_trial for mode in (own, other))
    on_trial = own.dane_on_trial is not None or other.dane_on_trial is not None
    return Modes(
        max(own.dane, other.dane, key=_DANE_MODES.index),
        MtaStsMode.OPPORTUNISTIC if MtaStsMode.OPPORTUNISTIC in {own.sts, other.sts} else MtaStsMode.NONE,
        max(trials, key=_DANE_MODES.index) if on_trial else None,
        asks,
        own.relaxed_by if other.relaxed_by else "",
        own.own_cleartext or other.own_cleartext,
    )


_DANE_MODES = (SmtpDaneMode.NONE, SmtpDaneMode.OPPORTUNISTIC, SmtpDaneMode.MANDATORY)


@dataclass(frozen=True, slots=True)
class StsFound:
    """The known MTA-STS policy of a recipient domain.

    policy: None if there is none. id: of the record by which it was fetched. failure, detail: what went wrong now, with
    or without a policy; they do not count in comparisons.
    """

    domain: str
    policy: StsPolicy | None = None
    id: str = ""
    failure: ResultType | None = field(default=None, compare=False)
    detail: str = field(default="", compare=False)


class Published(msgspec.Struct, frozen=True):
    """The DANE and MTA-STS data for one host.

    dane: None if it was not looked up. sts: likewise, and for smart hosts, which no policy covers. testing: what a
    policy in testing would require, or why it would not allow the host; only to be reported. on_trial: why a connector
    in rehearsal would not use the host.
    """

    dane: TlsaLookup | None = None
    sts: StsFound | None = None
    testing: Requirement | Shortfall | None = None
    on_trial: Shortfall | None = None


NOTHING = Published()
"""Nobody looked."""


class Terms(msgspec.Struct, frozen=True):
    """The requirement on a host by all sources, or the reason why it must not be used now.

    published: the DANE and MTA-STS data, with the parts that are only to be reported. mx: how the host's name is known
    to be right. without_requiretls: why a message that asks for REQUIRETLS may go where it is not offered, "" if it may
    not. set_aside: requirements that hold for others, but not for a message that waives them, a sentence each.
    """

    outcome: Requirement | Shortfall
    published: Published
    mx: MxLevel
    without_requiretls: str = ""
    set_aside: tuple[str, ...] = ()


class Naming(msgspec.Struct, frozen=True):
    """The source of a host's name on a route.

    domain: the one whose MX record names it; "" if an administrator does, or the domain is the host itself. authentic:
    DNSSEC proved that record. here: the host is a delivery agent on this machine.
    """

    domain: str = ""
    authentic: bool = False
    here: bool = False


NAMED = Naming()
"""By an administrator."""


def terms(requirement: Requirement, host: str, modes: Modes, published: Published, naming: Naming = NAMED) -> Terms:
    """The terms of one host.

    requirement: of connector and rules. host: as the MX record or the administrator names it. published: `dane` and
    `sts` of it.
    """
    if published.sts is None:
        return _without_policy(requirement, host, modes, published.dane, naming)
    return _terms(requirement, host, modes, published, naming)


@lru_cache(maxsize=512)  # most mail goes where other mail just went; with a policy, `StsFound` says less than it holds
def _without_policy(
    requirement: Requirement, host: str, modes: Modes, dane: TlsaLookup | None, naming: Naming
) -> Terms:
    return _terms(requirement, host, modes, Published(dane), naming)


def _terms(requirement: Requirement, host: str, modes: Modes, published: Published, naming: Naming) -> Terms:
    profile = requirement.profile
    dane = by_dane(modes.dane, published.dane, host, profile)
    sts = by_mta_sts(published.sts, host, profile)
    if isinstance(dane, Authenticated):
        sts = None
    mode = published.sts.policy.mode if published.sts and published.sts.policy else StsMode.NONE
    testing = sts if mode is StsMode.TESTING else None
    enforced = sts if mode is StsMode.ENFORCE else None
    listed = mode is StsMode.ENFORCE and isinstance(by_mta_sts(published.sts, host, profile), Authenticated)
    trial = by_dane(modes.dane_on_trial, published.dane, host, profile) if modes.dane_on_trial else None
    on_trial = trial if isinstance(trial, Shortfall) and not isinstance(dane, Shortfall) else None
    kept = Published(published.dane, published.sts, testing, on_trial)
    mx = MxLevel.DNSSEC if naming.authentic else MxLevel.MTA_STS if listed else MxLevel.NONE
    if modes.asks is Asks.WAIVED:
        return _waived(requirement, modes, (dane, enforced), Terms(requirement, kept, mx))
    joined = Terms(_joined(requirement, dane, enforced), kept, mx)
    return _demanding(joined, host, modes, naming) if modes.asks.demands else joined


def _joined(requirement: Requirement, *asked: Requirement | Shortfall | None) -> Requirement | Shortfall:
    for shortfall in asked:
        if isinstance(shortfall, Shortfall):
            return shortfall
        if shortfall is not None:
            requirement = both(requirement, shortfall)
    return requirement


def _waived(
    requirement: Requirement, modes: Modes, published: tuple[Requirement | Shortfall | None, ...], known: Terms
) -> Terms:
    """The terms of a message with "TLS-Required: No": what the domain publishes does not hold, what we demand does."""
    dane, sts = published
    kept = dane if modes.dane is SmtpDaneMode.MANDATORY else None
    eased = relaxed(requirement, obey=modes.own_cleartext)
    aside = [
        f"TLS-Required: No overrides {name}: {demand.message if isinstance(demand, Shortfall) else describe(demand)}"
        for name, demand in (("DANE", dane if kept is None else None), ("MTA-STS", sts))
        if demand is not None
    ]
    if eased != requirement:
        aside.append("TLS-Required: No lets the message leave unencrypted after a failed TLS handshake")
    return replace(known, outcome=_joined(eased, kept), set_aside=tuple(aside))


def _demanding(joined: Terms, host: str, modes: Modes, naming: Naming) -> Terms:
    """The terms of a message with REQUIRETLS, or of a journal copy. What is unknown about a host now stays so."""
    if isinstance(joined.outcome, Shortfall):
        return joined
    if modes.asks is Asks.JOURNAL:
        unproven = naming.domain if joined.mx is MxLevel.NONE else ""
        wanted = journal_demand(joined.outcome, host, unproven, here=naming.here)
        return replace(joined, outcome=_joined(joined.outcome, wanted))
    if naming.here:
        return replace(joined, without_requiretls="local: the message does not leave this machine")
    if naming.domain and joined.mx is MxLevel.NONE:
        return replace(joined, outcome=_unknown(joined.published, host, naming.domain))
    without = _without_requiretls(modes)
    wanted = demand(joined.outcome, host, by_mx=naming.domain != "", strict=not without)
    return replace(joined, outcome=_joined(joined.outcome, wanted), without_requiretls=without)


def _without_requiretls(modes: Modes) -> str:
    if modes.relaxed_by:
        return f"relaxed: connector {modes.relaxed_by!r} sends where it is not offered"
    if modes.asks is Asks.NOTICE:
        return "relaxed: a notice is not lost where it is not offered (RFC 8689 section 5)"
    return ""


def _unknown(published: Published, host: str, domain: str) -> Shortfall:
    reasons, sts = [], published.sts
    if published.dane is not None:
        reasons.append(f"{published.dane.detail}. ")
    if sts is not None and sts.failure is not None:
        reasons.append(f"MTA-STS: {sts.detail}. ")
    # A policy that could not be fetched may be there in an hour.
    passing = sts is not None and sts.policy is None and sts.failure is not None
    return unknown_host(host, domain, "".join(reasons), passing=passing)


def by_dane(
    mode: SmtpDaneMode, lookup: TlsaLookup | None, host: str, profile: str = "default"
) -> Requirement | Shortfall | None:
    """The requirement of TLSA records (RFC 7672 section 2.2); a Shortfall if the host must not be used now.

    lookup: None if there was no lookup, which is as if DNSSEC proved nothing.
    """
    if mode is SmtpDaneMode.NONE:
        return None
    status = lookup.status if lookup is not None else TlsaStatus.INSECURE
    if lookup is None or status in {TlsaStatus.NONE, TlsaStatus.INSECURE}:
        return _required(host, lookup) if mode is SmtpDaneMode.MANDATORY else None
    if status is TlsaStatus.FAILED:
        return dnssec_failed(lookup.detail) if lookup.bogus else tlsa_unknown(lookup.detail)
    source = (Source("dane", lookup.base),)
    if status is TlsaStatus.USABLE:
        proof = DaneProof(lookup.records, lookup.names)
        return Authenticated(source, (proof,), profile, revocation=RevocationCheck.NONE)
    return _required(host, lookup) if mode is SmtpDaneMode.MANDATORY else Encrypted(source, profile)


def _required(host: str, lookup: TlsaLookup | None) -> Shortfall:
    why = lookup.detail if lookup is not None else "there was no lookup"
    detail = f'Expected: DANE at {host}, by smtp_dane_mode = "mandatory". Found: {why}.'
    return Shortfall(ResultType.DANE_REQUIRED, "4.7.323", "DaneRequired", detail)


def dnssec_failed(detail: str) -> Shortfall:
    """The DNS holds what DNSSEC proves to be wrong, or somebody on the way changed it."""
    return Shortfall(ResultType.DNSSEC_INVALID, "4.7.324", "DnssecInvalid", f"{detail}.")


def tlsa_unknown(detail: str) -> Shortfall:
    """Whether there are TLSA records is not known.

    Whoever stops the answer must not switch DANE off by it (RFC 7672 section 2.1.3).
    """
    why = f"Its TLSA records cannot be looked up: {detail}."
    return Shortfall(ResultType.VALIDATION_FAILURE, "4.4.312", "TlsaLookupFailed", why, "DNS query failed")


def by_mta_sts(known: StsFound | None, host: str, profile: str = "default") -> Requirement | Shortfall | None:
    """The requirement of a policy on one of the domain's MX hosts, in any mode (RFC 8461 sections 4.1 and 4.2).

    A Shortfall if it does not allow the host at all; None without a policy, or under one of mode none.
    """
    if known is None or known.policy is None:
        return None
    match known.policy.mode:
        case StsMode.NONE:
            return None
        case StsMode.ENFORCE | StsMode.TESTING:
            if not known.policy.matches(host):
                return _not_listed(known.domain, known.policy, host)
            # Section 4.2 leaves revocation to us: who asks for nothing must not wait for other people's lists.
            proof = StsProof(known.domain, host)
            source = (Source("mta-sts", known.domain),)
            return Authenticated(source, (proof,), profile, revocation=RevocationCheck.NONE)
        case _:
            assert_never(known.policy.mode)


_SHOWN = 5


def _not_listed(domain: str, policy: StsPolicy, host: str) -> Shortfall:
    more = f" and {len(policy.mx) - _SHOWN} more" if len(policy.mx) > _SHOWN else ""
    detail = (
        f"Expected: {', '.join(policy.mx[:_SHOWN])}{more}. Presented: {host}, by the MX records of {domain}. "
        "Its policy and its MX records must agree."
    )
    title = f"MX hosts of {domain} failed MTA-STS validation"
    return Shortfall(ResultType.VALIDATION_FAILURE, "4.4.8", "HostNotInPolicy", detail, title)
