"""Predict what happens to a message on each kind of TLS failure.

Called by `policy.decisions.explain`. Each kind is a connection as it would look, put to the very functions that judge
real ones (`policy.decisions.outbound.judge`, `deferral`, `expired`): what is said here is what will happen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatepost.policy.connectors.values import RevocationCheck
from gatepost.policy.decisions.facts import HopFacts
from gatepost.policy.decisions.outbound import deferral, expired, judge
from gatepost.policy.decisions.requirement import Authenticated, MxLevel, Opportunistic, Requirement, offered
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict, TlsFacts
from gatepost.protocols.tls.limits import NO_LIMITS, TlsLimits
from gatepost.protocols.tls.profile import PROFILES, Profile, iana_name
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.protocols.smtp.replies import Reply


_NOTHING_IN_COMMON = "the next hop has nothing in common with what is offered"
_ELSEWHERE = "somebody-else.example"
_CHAINS = {
    "self-signed": (ChainStatus.SELF_SIGNED, "the certificate is self-signed"),
    "unknown-root": (ChainStatus.UNTRUSTED_ROOT, "the chain ends at a root that is not a trust anchor"),
    "chain-incomplete": (ChainStatus.INCOMPLETE, "the issuer of the certificate was not sent"),
    "expired": (ChainStatus.EXPIRED, "the certificate has expired"),
}


@dataclass(frozen=True, slots=True)
class FailureOutcome:
    """One kind of failure, and what it does.

    kind: "no-starttls", "handshake-fails", "tls-1.1-only", "no-post-quantum", "other-groups", "other-cipher-suites",
    "self-signed", "unknown-root", "chain-incomplete",
    "expired", "revoked", "revocation-unknown", "wrong-name" or "no-requiretls". result: "delivered",
    "delivered-in-clear", "delivered-in-clear-later" (by another attempt, on a fresh connection), "waits" or "fails".
    reply: the last error of a message that waits. returned: what it is returned with, when it expires or at once.
    message: Exchange's word for it, "" if delivered. rehearsed: the last error that it would have, were nothing in
    rehearsal; None if it would be delivered.
    """

    kind: str
    result: str
    reply: Reply | None = None
    returned: Reply | None = None
    message: str = ""
    rehearsed: Reply | None = None

    def record(self) -> dict[str, Any]:
        """For machines."""
        record: dict[str, Any] = {"kind": self.kind, "result": self.result}
        if self.reply is not None and self.returned is not None:
            record |= {"message": self.message, "reply": self.reply.text, "returned": self.returned.text}
        if self.rehearsed is not None:
            record["rehearsed"] = self.rehearsed.text
        return record


def outcomes(requirement: Requirement, rehearsed: Requirement | None, host: str) -> tuple[FailureOutcome, ...]:
    """Predict the result of each kind of failure under a requirement, and under the one in rehearsal.

    host: the next hop's name.
    """
    trials = dict(_failures(rehearsed, host)) if rehearsed is not None else {}
    failure_outcomes = []
    for kind, facts in _failures(requirement, host):
        verdict = judge(requirement, facts)
        trial = judge(rehearsed, trials[kind]).shortfall if rehearsed is not None and kind in trials else None
        would = deferral(trial, trials[kind]) if trial is not None else None
        if verdict.shortfall is None:
            failure_outcomes.append(FailureOutcome(kind, _delivered(facts), rehearsed=would))
            continue
        last = deferral(verdict.shortfall, facts)
        result, returned = ("fails", last) if last.permanent else ("waits", expired(last))
        failure_outcomes.append(FailureOutcome(kind, result, last, returned, verdict.shortfall.message, would))
    return tuple(failure_outcomes)


def _delivered(facts: HopFacts) -> str:
    if facts.tls is not None:
        return "delivered"
    return "delivered-in-clear-later" if facts.handshake_error else "delivered-in-clear"


def _failures(requirement: Requirement, host: str) -> Iterator[tuple[str, HopFacts]]:
    """Each kind of failure as the connection would look: but for that, it is as the requirement wants it."""
    mx = requirement.mx if isinstance(requirement, Authenticated) else MxLevel.NONE
    for kind, facts in _kinds(requirement, host):
        yield kind, replace(facts, mx=mx, requiretls_offered=facts.tls is not None)
    if isinstance(requirement, Authenticated) and requirement.requiretls:
        yield "no-requiretls", replace(_secured(requirement, host, _trusted(requirement, host)), mx=mx)


def _kinds(requirement: Requirement, host: str) -> Iterator[tuple[str, HopFacts]]:
    oldest = _oldest(requirement)
    yield "no-starttls", HopFacts(host, host)
    yield "handshake-fails", HopFacts(host, host, starttls_offered=True, handshake_error="handshake failure")
    if oldest > "TLSv1.1":
        error = f"unsupported protocol version: the next hop has TLSv1.1, {oldest} is the oldest that is offered"
        yield "tls-1.1-only", HopFacts(host, host, starttls_offered=True, handshake_error=error)
    else:
        yield "tls-1.1-only", _secured(requirement, host, _trusted(requirement, host), "TLSv1.1")
    for kind in _beyond_limits(requirement):
        yield kind, HopFacts(host, host, starttls_offered=True, handshake_error=_NOTHING_IN_COMMON)
    for kind, (status, detail) in _CHAINS.items():
        yield kind, _secured(requirement, host, ChainVerdict(status, detail, _leaf(_name(requirement, host))))
    yield "revoked", _secured(requirement, host, _revoked(requirement, host))
    yield "revocation-unknown", _secured(requirement, host, _not_known(requirement, host))
    yield "wrong-name", _secured(requirement, host, ChainVerdict(ChainStatus.TRUSTED, "", _leaf(_ELSEWHERE)))


def _beyond_limits(requirement: Requirement) -> Iterator[str]:
    """The kinds of next hops that can do nothing of what the requirement's limits leave. Others are no case here."""
    if isinstance(requirement, Opportunistic):
        return
    limits = requirement.limits
    if limits.post_quantum:
        yield "no-post-quantum"
    if limits.groups is not None:
        yield "other-groups"
    if limits.suites is not None:
        yield "other-cipher-suites"


def _oldest(requirement: Requirement) -> str:
    """The oldest version that is offered to the next hop."""
    return _offered(requirement)[0].min_version


def _check(requirement: Requirement) -> RevocationCheck:
    """Whether revocation is looked at: only a certificate that proves something can lose it."""
    return requirement.revocation if isinstance(requirement, Authenticated) else RevocationCheck.NONE


def _revoked(requirement: Requirement, host: str) -> ChainVerdict:
    if _check(requirement) is RevocationCheck.NONE:
        return _trusted(requirement, host)
    return ChainVerdict(ChainStatus.REVOKED, "the certificate is revoked", _leaf(_name(requirement, host)))


def _not_known(requirement: Requirement, host: str) -> ChainVerdict:
    if _check(requirement) is not RevocationCheck.HARD_FAIL:
        return _trusted(requirement, host)
    detail = "the revocation of the certificate cannot be checked"
    return ChainVerdict(ChainStatus.REVOCATION_UNKNOWN, detail, _leaf(_name(requirement, host)))


def _trusted(requirement: Requirement, host: str) -> ChainVerdict:
    return ChainVerdict(ChainStatus.TRUSTED, "", _leaf(_name(requirement, host)))


def _name(requirement: Requirement, host: str) -> str:
    """A name that a certificate must bear."""
    return requirement.names[0][0] if isinstance(requirement, Authenticated) and requirement.names else host


def _secured(requirement: Requirement, host: str, chain: ChainVerdict, version: str = "") -> HopFacts:
    """A handshake that keeps the requirement's limits; version: "" for the newest that they allow."""
    profile, limits = _offered(requirement)
    suites = (profile.suites12 if (version or profile.max_version) < "TLSv1.3" else profile.suites13).split(":")
    group = next(iter(limits.allowed_groups), "")
    tls = TlsFacts(version or profile.max_version, iana_name(suites[0]), group, "", resumed=False, server_name=host)
    return HopFacts(host, host, starttls_offered=True, tls=tls, chain=chain)


def _offered(requirement: Requirement) -> tuple[Profile, TlsLimits]:
    limits = NO_LIMITS if isinstance(requirement, Opportunistic) else requirement.limits
    try:
        return offered(requirement), limits
    except ValueError:  # nothing can be negotiated: every connection waits, and these facts are what falls short least
        return PROFILES[requirement.profile], limits


def _leaf(name: str) -> CertificateFacts:
    uris = (name,) if "://" in name else ()
    return CertificateFacts(f"CN={name}", "CN=an authority", "", name, (name,), (), "", "", "", 0.0, 0.0, "", uris)
