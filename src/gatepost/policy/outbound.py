"""What a next hop must achieve, decided before a socket is opened, and whether it did, decided before mail is sent.

`policy.route` asks `required` and joins by `both` what several ask for; `outbound.hop` asks `judge`; trace, DSN and
pages print `describe`. Pure: facts in, values out. A message is never sent below its requirement: what falls short
waits, and says what was expected and presented.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from gatepost.connectors.values import Mode, ProfileName, RevocationCheck, TlsSettings
from gatepost.policy.facts import HopFacts
from gatepost.policy.requirement import (
    Achieved,
    Authenticated,
    Cleartext,
    Encrypted,
    Identity,
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

__all__ = [
    "HopFacts",
    "both",
    "deferral",
    "describe",
    "describe_achieved",
    "expired",
    "judge",
    "rehearsed",
    "required",
    "with_tls",
]

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


def with_tls(requirement: Requirement, asking: tuple[Source, ...]) -> Requirement:
    """A requirement together with TLS, whoever asks for it: mail flow rules, the organization whose mail it is.

    They name no profile: that of the way holds.
    """
    return both(requirement, Encrypted(asking, requirement.profile)) if asking else requirement


def both(one: Requirement, other: Requirement) -> Requirement:
    """The conjunction: what meets it meets each of the two, whoever asks; the sources of both are told.

    Where one of them is only opportunistic it asks for nothing beside the other, and its sources go. Of profiles,
    versions and revocation checks the stricter counts. Commutative but for the order of sources, associative,
    idempotent.
    """
    profile = min(one.profile, other.profile, key=_STRICTEST_FIRST.index)
    match one, other:
        case Opportunistic(), Opportunistic():
            cleartext = max(one.cleartext, other.cleartext, key=_CLEARTEXT.index)
            return Opportunistic(_merged(one.sources, other.sources), cleartext, profile)
        case (Opportunistic(), asking) | (asking, Opportunistic()):
            return replace(asking, profile=profile)
        case (Encrypted() | Authenticated()) as first, (Encrypted() | Authenticated()) as second:
            return _both_encrypted(first, second, profile)
        case _:
            assert_never(one)


_STRICTEST_FIRST = tuple(ProfileName)
_CLEARTEXT = (Cleartext.AFTER_FAILED_HANDSHAKE, Cleartext.ONLY_IF_NOT_OFFERED, Cleartext.NEVER)
_REVOCATION = tuple(RevocationCheck)


def _both_encrypted(one: Encrypted | Authenticated, other: Encrypted | Authenticated, profile: str) -> Requirement:
    sources = _merged(one.sources, other.sources)
    version = max(one.min_version, other.min_version)
    proofs = [each for each in (one, other) if isinstance(each, Authenticated)]
    if not proofs:
        return Encrypted(sources, profile, version)
    revocation = max((each.revocation for each in proofs), key=_REVOCATION.index)
    first, *also = _identities([identity for each in proofs for identity in each.identities])
    return Authenticated(sources, first.names, first.anchors, profile, version, revocation, tuple(also))


def _identities(asked: list[Identity]) -> list[Identity]:
    """All proofs that are asked for, each once, in one order; a bare chain goes where a name is asked of it as well."""
    named = {identity.anchors for identity in asked if identity.names}
    return sorted({identity for identity in asked if identity.names or identity.anchors not in named})


def _merged(one: tuple[Source, ...], other: tuple[Source, ...]) -> tuple[Source, ...]:
    return tuple(dict.fromkeys((*one, *other)))


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
        named = all(
            identity.anchors == requirement.anchors and _bears(leaf, identity.names)
            for identity in requirement.identities
        )
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
    asked = _asked(requirement, beyond_encryption=True)
    detail = f"Expected: {requirement.min_version} or newer. Presented: {version}. Set by {asked}."
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
    for identity in requirement.identities:
        if identity.anchors != requirement.anchors:
            return _unjudged(requirement, facts, f" by {identity.anchors or 'the trust anchors of the server'}")
        if not _bears(leaf, identity.names):
            detail = f"{_presented(identity.names, leaf)} The certificate is for {describe_names(leaf)}."
            return Shortfall(ResultType.CERTIFICATE_HOST_MISMATCH, _VALIDATE, "SubjectMismatch", detail)
    return None


def _untrusted(requirement: Authenticated, facts: HopFacts) -> Shortfall:
    """Why the chain will not do. A chain that nobody judged is not trusted."""
    chain = facts.chain
    if chain is None:
        return _unjudged(requirement, facts)
    result, word = _UNTRUSTED.get(chain.status, _UNTRUSTED[ChainStatus.INVALID])
    return Shortfall(result, _VALIDATE, word, f"{_presented(requirement.names, chain.leaf)} {chain.detail}".rstrip())


def _unjudged(requirement: Authenticated, facts: HopFacts, by: str = "") -> Shortfall:
    asked = _asked(requirement, beyond_encryption=True)
    detail = f"The certificate of {_peer(facts)} was not judged{by}. A trusted one is required by {asked}."
    return Shortfall(ResultType.VALIDATION_FAILURE, _VALIDATE, "CertificateInvalid", detail)


def _trusted_leaf(facts: HopFacts) -> CertificateFacts | None:
    return facts.chain.leaf if facts.chain and facts.chain.trusted else None


def _bears(leaf: CertificateFacts, names: tuple[str, ...]) -> bool:
    """Whether the certificate bears one of the names, if there are any."""
    return not names or any(matches(name, leaf) for name in names)


def _presented(names: tuple[str, ...], leaf: CertificateFacts | None) -> str:
    """Expected and presented, in the form of Exchange's last error (exchange.md section 7.3), with both thumbprints."""
    expected = f"Expected Subject: {' or '.join(names)}. " if names else ""
    if leaf is None:
        return f"{expected}Presented Subject: none."
    thumbprint = f"Thumbprint: {leaf.sha1.upper()} (SHA-256 {leaf.sha256.upper()})."
    return f"{expected}Presented Subject: {leaf.subject}. Issuer: {leaf.issuer}. {thumbprint}"


def _peer(facts: HopFacts) -> str:
    return facts.host if facts.host == facts.address else f"{facts.host} ({facts.address})"


def _asked(requirement: Requirement, *, beyond_encryption: bool = False) -> str:
    """Who asks, as the end of a sentence: "connector 'out'", "organization 'contoso'", "default".

    beyond_encryption: leave out who can ask for TLS and nothing more, a rule and an organization.
    """
    asking = [one for one in requirement.sources if not beyond_encryption or one.kind not in _ENCRYPTION_ONLY]
    return " and ".join(f"{one.kind} {one.name!r}" if one.name else one.kind for one in asking or requirement.sources)


_ENCRYPTION_ONLY = {"rule", "organization"}


def describe(requirement: Requirement) -> str:
    """The requirement as the trace prints it: "opportunistic", "encrypted", "authenticated(*.b.example)"."""
    match requirement:
        case Opportunistic():
            return "opportunistic"
        case Encrypted():
            return "encrypted"
        case Authenticated():
            names = " and ".join(",".join(one.names) for one in requirement.identities if one.names)
            return f"authenticated({names})" if names else "authenticated"
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
