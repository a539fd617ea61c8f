"""The result of an attempted session under each policy of its domain, for TLS reports (RFC 8460 section 4).

Called by `mail.outbound.sessions`. Pure. Every policy is judged by itself on what the connection showed, whichever of
them let the mail go: with DANE and MTA-STS both are reported, and a policy in testing fails though mail went. What only
a connector or a rule of ours asks for is no policy of the domain, but for mandatory DANE, which has a result type.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from gatepost.policy.connectors.values import SmtpDaneMode
from gatepost.policy.decisions.outbound import judge
from gatepost.policy.decisions.published import NOTHING, Published, StsFound, by_dane, by_mta_sts
from gatepost.policy.decisions.requirement import Authenticated, Encrypted, Requirement, Shortfall, Source
from gatepost.protocols.dane.tlsa import Records, TlsaLookup, TlsaStatus
from gatepost.protocols.mtasts.policy import StsMode, StsPolicy
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import AppliedPolicy, FailureDetail, PolicyType, TlsSession, applied, detail
from gatepost.values import replace

if TYPE_CHECKING:
    from gatepost.policy.decisions.facts import HopFacts
    from gatepost.protocols.tlsrpt.tally import Result


_TLS = Encrypted((Source("default"),))
_ACTIVE = {StsMode.ENFORCE, StsMode.TESTING}


class Seen(msgspec.Struct, frozen=True):
    """The facts that a report gives of a failed session besides its cause. address, sending_address: without port.

    helo: as the peer's greeting names it. "" for what is not known.
    """

    address: str = ""
    helo: str = ""
    sending_address: str = ""


def attempted(domain: str, requirement: Requirement, facts: HopFacts, published: Published, seen: Seen) -> TlsSession:
    """A connection on which TLS was, or could have been, begun.

    domain: whose mail it is. requirement: by which its certificates were judged. facts: of the connection; `dane` must
    be judged if TLS is up and there are usable TLSA records, else nothing is said of them.
    """
    results = [
        *_by_dane(published.dane, facts, seen),
        *_by_mta_sts(published.sts, _by_own_anchors(requirement, facts), seen),
    ]
    if not results and not _has_policy(published):
        results = [(applied(PolicyType.NONE, domain), _failure(judge(_TLS, facts).shortfall, facts.host, seen))]
    return TlsSession(domain, tuple(results))


def barred(domain: str, host: str, shortfall: Shortfall, published: Published | None) -> TlsSession | None:
    """A host that nobody connected to, by what the DNS or a policy says of it; None if no policy forbade it.

    host: "" where not even the MX hosts are known.

    What only could not be looked up is no policy failure, and need not be reported (section 4.3.4).
    """
    known = published or NOTHING
    match shortfall.result_type:
        case ResultType.DNSSEC_INVALID | ResultType.DANE_REQUIRED:
            base = known.dane.base if known.dane and known.dane.base else host or domain
            records = _texts(known.dane.records) if known.dane else ()
            policy = applied(PolicyType.TLSA, base, records)
        case ResultType.VALIDATION_FAILURE if (
            known.sts and known.sts.policy and shortfall == by_mta_sts(known.sts, host)
        ):
            policy = _sts(known.sts.domain, known.sts.policy)
        case _:
            return None
    return TlsSession(domain, ((policy, _failure(shortfall, host, Seen())),))


def not_fetched(sts: StsFound | None) -> Result | None:
    """The failure to get the domain's MTA-STS policy, None if there was none. A kept policy that applies is named."""
    if sts is None or sts.failure is None:
        return None
    policy = _sts(sts.domain, sts.policy) if sts.policy else applied(PolicyType.STS, sts.domain)
    return policy, detail(sts.failure)


def _has_policy(published: Published) -> bool:
    """Whether the domain publishes a policy that applies, judged or not, or may do so."""
    dane, sts = published.dane, published.sts
    by_tlsa = dane is not None and dane.status not in {TlsaStatus.NONE, TlsaStatus.INSECURE}
    return by_tlsa or (sts is not None and sts.policy is not None and sts.policy.mode in _ACTIVE)


def _by_dane(lookup: TlsaLookup | None, facts: HopFacts, seen: Seen) -> list[Result]:
    shortfall = by_dane(SmtpDaneMode.OPPORTUNISTIC, lookup, facts.host)
    if lookup is None or shortfall is None:
        return []
    if isinstance(shortfall, Shortfall):  # the message goes all the same, by "TLS-Required: No"
        if shortfall.result_type is not ResultType.DNSSEC_INVALID:
            return []
        return [(applied(PolicyType.TLSA, lookup.base or facts.host), _failure(shortfall, facts.host, seen))]
    if isinstance(shortfall, Authenticated) and facts.tls is not None and facts.dane is None:
        return []  # nobody held the certificate against the records
    failure = _failure(judge(shortfall, facts).shortfall, facts.host, seen)
    if failure is None and isinstance(shortfall, Encrypted):
        # Mail may go by RFC 7672 section 2.2, but the records are of no use, and their owner should know.
        failure = replace(_located(ResultType.TLSA_INVALID, facts.host, seen), reason="TlsaUnusable")
    return [(applied(PolicyType.TLSA, lookup.base or facts.host, _texts(lookup.records)), failure)]


def _by_mta_sts(known: StsFound | None, facts: HopFacts, seen: Seen) -> list[Result]:
    shortfall = by_mta_sts(known, facts.host)
    if known is None or known.policy is None or shortfall is None:
        return []
    if isinstance(shortfall, Shortfall):
        return [(_sts(known.domain, known.policy), _failure(shortfall, facts.host, seen))]
    if facts.tls is not None and facts.chain is None:
        return []  # nobody judged the certificate by the server's own anchors
    return [(_sts(known.domain, known.policy), _failure(judge(shortfall, facts).shortfall, facts.host, seen))]


def _by_own_anchors(requirement: Requirement, facts: HopFacts) -> HopFacts:
    """The facts with the chain as the server's own trust anchors judge it, which is what MTA-STS asks for."""
    anchors = requirement.anchors if isinstance(requirement, Authenticated) else ()
    chain = facts.chain if not anchors or anchors[0] == "" else dict(facts.chains).get("")
    return replace(facts, chain=chain, chains=())


def _failure(shortfall: Shortfall | None, host: str, seen: Seen) -> FailureDetail | None:
    if shortfall is None or shortfall.result_type is None:
        return None
    return replace(_located(shortfall.result_type, host, seen), reason=_word(shortfall.message))


def _located(result: ResultType, host: str, seen: Seen) -> FailureDetail:
    return detail(result, mx_host=host, address=seen.address, helo=seen.helo, sending_address=seen.sending_address)


def _word(message: str) -> str:
    """The cause, unless the result type says it already in other words."""
    return "" if " " in message else message


@lru_cache(maxsize=256)
def _sts(domain: str, policy: StsPolicy) -> AppliedPolicy:
    return applied(PolicyType.STS, domain, policy.lines, policy.mx)


@lru_cache(maxsize=256)
def _texts(records: Records) -> tuple[str, ...]:
    """Records as RFC 6698 section 2.2 writes them, whole; those that cannot be used as far as they are kept."""
    usable = (f"{tlsa.usage:d} {tlsa.selector:d} {tlsa.matching:d} {tlsa.data.hex()}" for tlsa in records.usable)
    return (*usable, *(rejected.record for rejected in records.unusable))
