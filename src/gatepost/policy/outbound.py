"""What a next hop must achieve, decided before a socket is opened, and whether it did, decided before mail is sent.

`policy.route` asks `required`, `outbound.attempt` asks `judge`; trace, DSN and pages print `describe`. Pure: facts
in, values out. A message is never sent below its requirement: what falls short waits, and says what was expected and
presented.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from gatepost.connectors.values import Mode, TlsSettings
from gatepost.policy.facts import HopFacts
from gatepost.policy.requirement import (
    Achieved,
    Authenticated,
    Cleartext,
    Encrypted,
    MxLevel,
    Opportunistic,
    Shortfall,
    Source,
    TlsLevel,
    Verdict,
)
from gatepost.smtp.replies import Reply
from gatepost.tls.facts import ChainStatus
from gatepost.tls.names import describe_names, matches
from gatepost.tlsrpt.result import ResultType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.connectors.model import Organization, OutboundConnector
    from gatepost.policy.requirement import Requirement
    from gatepost.tls.facts import CertificateFacts

__all__ = ["HopFacts", "deferral", "describe", "describe_achieved", "expired", "judge", "rehearsed", "required"]

_CONNECT = "4.4.317"
_VALIDATE = "4.7.320"
_TITLES = {_CONNECT: "Cannot establish session with remote server", _VALIDATE: "Certificate validation failed"}


def required(
    connector: OutboundConnector | None,
    organization: Organization,
    next_hop_names: tuple[str, ...],
    *,
    profile: str = "default",
) -> Requirement:
    """What the next hop must achieve.

    next_hop_names: what a certificate must bear under `domain-validation` without a tls_domain: the smart host's name,
    or without smart hosts the recipient domain (exchange.md section 16). profile: the server's own TLS profile, for
    whoever names none. A connector in rehearsal demands nothing; see `rehearsed`. ValueError if no name is known for
    `domain-validation`.
    """
    if connector is None or connector.mode is Mode.REHEARSE:
        return _unforced(None, organization, profile)
    return _demand(connector, organization, next_hop_names, profile)


def rehearsed(
    connector: OutboundConnector | None,
    organization: Organization,
    next_hop_names: tuple[str, ...],
    *,
    profile: str = "default",
) -> Requirement | None:
    """What a connector in rehearsal would demand: judged and reported beside what is required. None otherwise."""
    if connector is None or connector.mode is Mode.ENFORCE:
        return None
    return _demand(connector, organization, next_hop_names, profile)


def _demand(
    connector: OutboundConnector, organization: Organization, next_hop_names: tuple[str, ...], profile: str
) -> Requirement:
    sources = (Source("connector", connector.name),)
    wanted = connector.profile or profile
    version = connector.min_tls_version or ""
    match connector.tls_settings:
        case TlsSettings.OPPORTUNISTIC:
            return _unforced(connector, organization, wanted)
        case TlsSettings.ENCRYPTION_ONLY:
            return Encrypted(sources, wanted, version)
        case TlsSettings.CERTIFICATE_VALIDATION:
            return Authenticated(sources, (), connector.trust_anchors, wanted, version, connector.revocation_check)
        case TlsSettings.DOMAIN_VALIDATION:
            names = (connector.tls_domain,) if connector.tls_domain else next_hop_names
            if not names or not all(names):
                # No name would mean any name: Authenticated without names is the weaker certificate-validation.
                raise ValueError(f"connector {connector.name!r} validates the domain, but no name to expect is known")
            return Authenticated(sources, names, connector.trust_anchors, wanted, version, connector.revocation_check)
        case _:
            assert_never(connector.tls_settings)


def _unforced(connector: OutboundConnector | None, organization: Organization, profile: str) -> Requirement:
    """Opportunistic TLS, or encryption where cleartext is never allowed."""
    own = Source("connector", connector.name) if connector else Source("default")
    if connector and connector.cleartext:
        cleartext, source = connector.cleartext, own
    else:
        cleartext, source = organization.cleartext, Source("organization", organization.name)
    if cleartext is Cleartext.NEVER:
        return Encrypted((source,), profile, (connector and connector.min_tls_version) or "")
    return Opportunistic((own,), cleartext, profile)


def judge(requirement: Requirement, facts: HopFacts) -> Verdict:
    """Whether a message under the requirement may be sent over this connection, and if not why."""
    return Verdict(requirement, Achieved(_level(requirement, facts), facts.mx), _shortfall(requirement, facts))


def _level(requirement: Requirement, facts: HopFacts) -> TlsLevel:
    """AUTHENTICATED: a trusted chain, and the name that the requirement wants; if it wants none, a host's own name."""
    if facts.tls is None:
        return TlsLevel.NONE
    leaf = _trusted_leaf(facts)
    if leaf is None:
        return TlsLevel.ENCRYPTED
    if isinstance(requirement, Authenticated):
        named = not requirement.names or _bears(leaf, requirement.names)
    else:
        named = matches(facts.host, leaf)
    return TlsLevel.AUTHENTICATED if named else TlsLevel.ENCRYPTED


def _shortfall(requirement: Requirement, facts: HopFacts) -> Shortfall | None:
    match requirement:
        case Opportunistic():
            return (
                None if facts.tls or _may_be_clear(requirement.cleartext, facts) else _unencrypted(requirement, facts)
            )
        case Encrypted():
            return _unencrypted(requirement, facts) or _too_old(requirement, facts)
        case Authenticated():
            return (
                _unencrypted(requirement, facts) or _too_old(requirement, facts) or _unauthenticated(requirement, facts)
            )
        case _:
            assert_never(requirement)


def _may_be_clear(cleartext: Cleartext, facts: HopFacts) -> bool:
    match cleartext:
        case Cleartext.ONLY_IF_NOT_OFFERED:
            # A peer that offered STARTTLS, failed, and now offers none is what an attacker would make of it.
            return not facts.starttls_offered and not facts.handshake_error
        case Cleartext.AFTER_FAILED_HANDSHAKE:
            return not facts.starttls_offered or facts.handshake_error != ""
        case Cleartext.NEVER:
            return False
        case _:
            assert_never(cleartext)


def _unencrypted(requirement: Requirement, facts: HopFacts) -> Shortfall | None:
    """Why there is no TLS, None if there is."""
    if facts.tls is not None:
        return None
    peer, ruled_out = _peer(facts), f"Cleartext is ruled out by {_asked(requirement)}"
    if facts.handshake_error:
        detail = f"The TLS handshake with {peer} failed: {facts.handshake_error}. {_offered(requirement)}{ruled_out}."
        return Shortfall(ResultType.VALIDATION_FAILURE, _CONNECT, "TlsHandshakeFailed", detail)
    if facts.starttls_offered:
        detail = f"{peer} offers STARTTLS, but TLS was not begun. {ruled_out}."
        return Shortfall(ResultType.VALIDATION_FAILURE, _CONNECT, "STARTTLS is required to send mail", detail)
    detail = (
        f"Expected: TLS. Presented: no STARTTLS. {ruled_out}; the administrators of {facts.host} must switch TLS on."
    )
    return Shortfall(ResultType.STARTTLS_NOT_SUPPORTED, _CONNECT, "STARTTLS is required to send mail", detail)


def _offered(requirement: Requirement) -> str:
    """What we insisted on in the handshake, beyond the usual: no alert of the peer says it."""
    oldest = "" if isinstance(requirement, Opportunistic) else requirement.min_version
    if oldest:
        return f"Expected: {oldest} or newer. "
    return "" if requirement.profile == "default" else f"Offered: TLS profile {requirement.profile}. "


def _too_old(requirement: Encrypted | Authenticated, facts: HopFacts) -> Shortfall | None:
    """Why the version will not do. The names of versions compare as text in the order of the versions."""
    version = facts.tls.version if facts.tls else ""
    if version >= requirement.min_version:
        return None
    detail = f"Expected: {requirement.min_version} or newer. Presented: {version}. Set by {_asked(requirement)}."
    return Shortfall(ResultType.VALIDATION_FAILURE, _CONNECT, "TlsVersionTooOld", detail)


_UNTRUSTED: Mapping[ChainStatus, tuple[ResultType, str]] = {
    ChainStatus.NO_CERTIFICATE: (ResultType.CERTIFICATE_NOT_TRUSTED, "NoCertificate"),
    # Exchange calls both UntrustedRoot: a self-signed certificate is its own root (exchange.md section 17, O3).
    ChainStatus.SELF_SIGNED: (ResultType.CERTIFICATE_NOT_TRUSTED, "UntrustedRoot"),
    ChainStatus.UNTRUSTED_ROOT: (ResultType.CERTIFICATE_NOT_TRUSTED, "UntrustedRoot"),
    ChainStatus.INCOMPLETE: (ResultType.CERTIFICATE_NOT_TRUSTED, "ChainIncomplete"),
    ChainStatus.EXPIRED: (ResultType.CERTIFICATE_EXPIRED, "CertificateExpired"),
    ChainStatus.NOT_YET_VALID: (ResultType.CERTIFICATE_NOT_TRUSTED, "CertificateNotYetValid"),
    ChainStatus.REVOKED: (ResultType.CERTIFICATE_NOT_TRUSTED, "CertificateRevoked"),
    ChainStatus.REVOCATION_UNKNOWN: (ResultType.VALIDATION_FAILURE, "RevocationUnknown"),
    ChainStatus.WRONG_PURPOSE: (ResultType.CERTIFICATE_NOT_TRUSTED, "CertificateWrongPurpose"),
    ChainStatus.WEAK_KEY: (ResultType.CERTIFICATE_NOT_TRUSTED, "CertificateWeakKey"),
    ChainStatus.WEAK_SIGNATURE: (ResultType.CERTIFICATE_NOT_TRUSTED, "CertificateWeakSignature"),
    ChainStatus.INVALID: (ResultType.VALIDATION_FAILURE, "CertificateInvalid"),
}


def _unauthenticated(requirement: Authenticated, facts: HopFacts) -> Shortfall | None:
    """Why the peer is not who it must be. The chain comes first: a name in an untrusted certificate means nothing."""
    leaf = _trusted_leaf(facts)
    if leaf is None:
        return _untrusted(requirement, facts)
    if not requirement.names or _bears(leaf, requirement.names):
        return None
    detail = f"{_presented(requirement, leaf)} The certificate is for {describe_names(leaf)}."
    return Shortfall(ResultType.CERTIFICATE_HOST_MISMATCH, _VALIDATE, "SubjectMismatch", detail)


def _untrusted(requirement: Authenticated, facts: HopFacts) -> Shortfall:
    """Why the chain will not do. A chain that nobody judged is not trusted."""
    chain = facts.chain
    if chain is None:
        detail = (
            f"The certificate of {_peer(facts)} was not judged. A trusted one is required by {_asked(requirement)}."
        )
        return Shortfall(ResultType.VALIDATION_FAILURE, _VALIDATE, "CertificateInvalid", detail)
    result, word = _UNTRUSTED.get(chain.status, _UNTRUSTED[ChainStatus.INVALID])
    return Shortfall(result, _VALIDATE, word, f"{_presented(requirement, chain.leaf)} {chain.detail}".rstrip())


def _trusted_leaf(facts: HopFacts) -> CertificateFacts | None:
    return facts.chain.leaf if facts.chain and facts.chain.trusted else None


def _bears(leaf: CertificateFacts, names: tuple[str, ...]) -> bool:
    return any(matches(name, leaf) for name in names)


def _presented(requirement: Authenticated, leaf: CertificateFacts | None) -> str:
    """Expected and presented, in the form of Exchange's last error (exchange.md section 7.3), with both thumbprints."""
    expected = f"Expected Subject: {' or '.join(requirement.names)}. " if requirement.names else ""
    if leaf is None:
        return f"{expected}Presented Subject: none."
    thumbprint = f"Thumbprint: {leaf.sha1.upper()} (SHA-256 {leaf.sha256.upper()})."
    return f"{expected}Presented Subject: {leaf.subject}. Issuer: {leaf.issuer}. {thumbprint}"


def _peer(facts: HopFacts) -> str:
    return facts.host if facts.host == facts.address else f"{facts.host} ({facts.address})"


def _asked(requirement: Requirement) -> str:
    """Who asks, as the end of a sentence: "connector 'out'", "organization 'contoso'", "default"."""
    return " and ".join(f"{one.kind} {one.name!r}" if one.name else one.kind for one in requirement.sources)


def describe(requirement: Requirement) -> str:
    """The requirement as the trace prints it: "opportunistic", "encrypted", "authenticated(*.b.example)"."""
    match requirement:
        case Opportunistic():
            return "opportunistic"
        case Encrypted():
            return "encrypted"
        case Authenticated():
            return f"authenticated({','.join(requirement.names)})" if requirement.names else "authenticated"
        case _:
            assert_never(requirement)


_MX_NAMES = {MxLevel.NONE: "none", MxLevel.MTA_STS: "mta-sts", MxLevel.DNSSEC: "dnssec"}
_TLS_NAMES = {TlsLevel.NONE: "none", TlsLevel.ENCRYPTED: "encrypted", TlsLevel.AUTHENTICATED: "authenticated"}


def describe_achieved(achieved: Achieved) -> str:
    """Both ladders as the trace prints them, MX before TLS: "none/authenticated"."""
    return f"{_MX_NAMES[achieved.mx]}/{_TLS_NAMES[achieved.tls]}"


def deferral(shortfall: Shortfall, facts: HopFacts) -> Reply:
    """The reply that is kept as a queued message's last error, in the form of exchange.md section 7.3."""
    text = (
        f"{_TITLES[shortfall.enhanced]} [Message={shortfall.message} {shortfall.detail}]"
        f" [LastAttemptedServerName={facts.host}] [LastAttemptedIP={facts.address}]"
    )
    return Reply(450, shortfall.enhanced, (_reply_text(text),))


def expired(last: Reply) -> Reply:
    """The permanent twin of a deferral, for the DSN when a message expires: 450 4.7.320 becomes 550 5.7.320."""
    lines = last.lines or ("",)
    return Reply(
        550, f"5{last.enhanced[1:]}" if last.enhanced else "5.4.7", (f"Message expired, {lines[0]}", *lines[1:])
    )


def _reply_text(text: str) -> str:
    """Text that a reply may hold: printable US-ASCII, whatever stands in a certificate."""
    return "".join(char if " " <= char <= "~" else "?" for char in text)
