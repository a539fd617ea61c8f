"""The requirement of a next hop, decided before a socket is opened, and its check before mail is sent.

`policy.decisions.route` asks `required` and joins by `both` what several ask for; `mail.outbound.hop` asks `judge`;
trace, DSN and pages print `describe`. Pure: facts in, values out. A message is never sent below its requirement: what
falls short waits, and says what was expected and presented.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from gatepost.policy.connectors.tls_rules import limits_of
from gatepost.policy.connectors.trust_anchors import anchors_label
from gatepost.policy.connectors.values import Cleartext, Mode, ProfileName, RevocationCheck, TlsSettings
from gatepost.policy.decisions.requirement import (
    Achieved,
    Authenticated,
    DaneProof,
    Encrypted,
    Identity,
    MxLevel,
    Opportunistic,
    Proof,
    Requirement,
    Shortfall,
    Source,
    StsProof,
    TlsLevel,
    Verdict,
    below_floor,
    offered_text,
)
from gatepost.policy.decisions.requiretls import settled
from gatepost.protocols.dane.match import DaneFailure
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict
from gatepost.protocols.tls.limits import NO_LIMITS
from gatepost.protocols.tls.names import describe_names, matches
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatepost.policy.connectors.records import Organization, OutboundConnector
    from gatepost.policy.decisions.facts import HopFacts

# Statuses and their words as Exchange has them (exchange.md sections 7.3, 10.1, 10.2); those of MTA-STS name somebody.
_CONNECT = "4.4.317"
_VALIDATE = "4.7.320"
_VALIDATE_STS = "4.7.5"
_NO_TLS_FOR_DANE = "4.7.321"
_DANE = {
    DaneFailure.TLSA_INVALID: ("4.7.323", "TlsaInvalid"),
    DaneFailure.CERTIFICATE_EXPIRED: ("4.7.322", "CertificateExpired"),
    DaneFailure.CERTIFICATE_HOST_MISMATCH: ("4.7.325", "SubjectMismatch"),
}
_TITLES = {
    _CONNECT: "Cannot establish session with remote server",
    _VALIDATE: "Certificate validation failed",
    _NO_TLS_FOR_DANE: "starttls-not-supported: Destination mail server must support TLS to receive mail",
    "4.7.322": "certificate-expired: Destination mail server's certificate is expired",
    "4.7.323": "tlsa-invalid: The domain failed DANE validation",
    "4.7.324": "dnssec-invalid: Destination domain returned invalid DNSSEC records",
    "4.7.325": "certificate-host-mismatch: Remote certificate MUST have a common name or subject alternative name "
    "matching the hostname (DANE)",
}


def required(
    connector: OutboundConnector | None,
    organization: Organization,
    next_hop_names: tuple[str, ...],
    *,
    profile: str = "default",
) -> Requirement:
    """The requirement on the next hop.

    connector: as `select_outbound` finds it, None for none. next_hop_names: the names of which a certificate must bear
    one under `domain-validation` without a tls_domain: the smart host's name, or without smart hosts the recipient
    domain; lower-case A-labels. profile: the server's own TLS profile, for connectors that name none: "modern",
    "default", "compatible" or "legacy". A connector in rehearsal demands nothing; see `rehearsed`. ValueError if no
    name is known for `domain-validation`.
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
    """The requirement of a connector in rehearsal, judged and reported in addition to `required`. None otherwise."""
    if connector is None or connector.mode is Mode.ENFORCE:
        return None
    return _demand(connector, organization, next_hop_names, profile)


def _demand(
    connector: OutboundConnector, organization: Organization, next_hop_names: tuple[str, ...], profile: str
) -> Requirement:
    sources = (Source("connector", connector.name),)
    wanted = connector.profile or profile
    version, limits = connector.min_tls_version or "", limits_of(connector)
    match connector.tls_settings:
        case TlsSettings.OPPORTUNISTIC:
            return _unforced(connector, organization, wanted)
        case TlsSettings.ENCRYPTION_ONLY:
            return Encrypted(sources, wanted, version, limits)
        case TlsSettings.CERTIFICATE_VALIDATION:
            chain = Identity((), connector.trust_anchors)
            return Authenticated(sources, (chain,), wanted, version, connector.revocation_check, limits=limits)
        case TlsSettings.DOMAIN_VALIDATION:
            names = (connector.tls_domain,) if connector.tls_domain else next_hop_names
            if not names or not all(names):
                # No name would mean any name: Authenticated without names is the weaker certificate-validation.
                raise ValueError(f"connector {connector.name!r} validates the domain, but no name to expect is known")
            named = Identity(names, connector.trust_anchors)
            return Authenticated(sources, (named,), wanted, version, connector.revocation_check, limits=limits)
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
        limits = limits_of(connector) if connector else NO_LIMITS
        return Encrypted((source,), profile, (connector and connector.min_tls_version) or "", limits)
    return Opportunistic((own,), cleartext, profile, () if source == own else (source,))


def with_tls(requirement: Requirement, asking: tuple[Source, ...]) -> Requirement:
    """A requirement together with TLS, whoever asks for it: mail flow rules, the organization whose mail it is.

    They name no profile: that of the way holds.
    """
    return both(requirement, Encrypted(asking, requirement.profile)) if asking else requirement


def by_organization(requirement: Requirement, organization: str) -> Requirement:
    """The requirement with its sources told as those of another organization than the one whose mail it is."""

    def owned(sources: tuple[Source, ...]) -> tuple[Source, ...]:
        kinds = {"connector", "rule"}
        return tuple(replace(item, organization=organization) if item.kind in kinds else item for item in sources)

    ours = replace(requirement, sources=owned(requirement.sources))
    return replace(ours, cleartext_by=owned(ours.cleartext_by)) if isinstance(ours, Opportunistic) else ours


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
            ruling = [each.cleartext_by or each.sources for each in (one, other) if each.cleartext is cleartext]
            sources, by = _merged(one.sources, other.sources), _merged(ruling[0], ruling[-1])
            return Opportunistic(sources, cleartext, profile, () if set(by) == set(sources) else by)
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
    version, limits = max(one.min_version, other.min_version), one.limits.joined(other.limits)
    asking = [each for each in (one, other) if isinstance(each, Authenticated)]
    if not asking:
        return Encrypted(sources, profile, version, limits)
    revocation = max((each.revocation for each in asking), key=_REVOCATION.index)
    proofs = _proofs([proof for each in asking for proof in each.proofs])
    mx = max(each.mx for each in asking)
    requiretls = any(each.requiretls for each in asking)
    return Authenticated(sources, proofs, profile, version, revocation, mx, requiretls, limits)


def _proofs(asked: list[Proof]) -> tuple[Proof, ...]:
    """All proofs that are asked for, each once, in one order; a bare chain goes where a name is asked of it as well."""
    named = {_anchors(proof) for proof in asked if not isinstance(proof, Identity) or proof.names}
    kept = {proof for proof in asked if not isinstance(proof, Identity) or proof.names or proof.anchors not in named}
    return tuple(sorted(kept, key=_order))


def _anchors(proof: Proof) -> str | None:
    """The trust anchors that a chain must reach, "" for the server's own; None if the DNS names them."""
    match proof:
        case Identity():
            return proof.anchors
        case StsProof():
            return ""
        case DaneProof():
            return None
        case _:
            assert_never(proof)


def _order(proof: Proof) -> tuple[Any, ...]:
    """The sort key of a proof: the domain's own publication first, as its failure tells administrators more."""
    match proof:
        case DaneProof():
            records = proof.records
            usable = [(tlsa.usage, tlsa.selector, tlsa.matching, tlsa.data) for tlsa in records.usable]
            return 0, proof.names, usable, [(bad.record, bad.reason) for bad in records.unusable], records.left_out
        case StsProof():
            return 1, proof.domain, proof.host
        case Identity():
            return 2, proof.names, proof.anchors, proof.since
        case _:
            assert_never(proof)


def _merged(one: tuple[Source, ...], other: tuple[Source, ...]) -> tuple[Source, ...]:
    return tuple(dict.fromkeys((*one, *other)))


def judge(requirement: Requirement, facts: HopFacts) -> Verdict:
    """Whether a message under the requirement may be sent over this connection, and if not why."""
    return Verdict(requirement, Achieved(_level(requirement, facts), facts.mx), _shortfall(requirement, facts))


def _level(requirement: Requirement, facts: HopFacts) -> TlsLevel:
    """AUTHENTICATED: all that the requirement wants proved; if it wants nothing, a trusted chain and a host's name."""
    if facts.tls is None:
        return TlsLevel.NONE
    if isinstance(requirement, Authenticated):
        proved = _unauthenticated(requirement, facts) is None
    else:
        judged = (facts.chain, *(chain for _, chain in facts.chains))
        leaves = (chain.leaf for chain in judged if chain is not None and chain.trusted)
        proved = any(leaf is not None and matches(facts.host, leaf) for leaf in leaves)
    return TlsLevel.AUTHENTICATED if proved else TlsLevel.ENCRYPTED


def _shortfall(requirement: Requirement, facts: HopFacts) -> Shortfall | None:
    match requirement:
        case Opportunistic():
            return (
                None if facts.tls or _may_be_clear(requirement.cleartext, facts) else _unencrypted(requirement, facts)
            )
        case Encrypted():
            return _unencrypted(requirement, facts) or _below_floor(requirement, facts)
        case Authenticated():
            missing = _unencrypted(requirement, facts) or _below_floor(requirement, facts)
            return settled(requirement, facts, missing or _unauthenticated(requirement, facts))
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


def _below_floor(requirement: Encrypted | Authenticated, facts: HopFacts) -> Shortfall | None:
    """The shortfall of a handshake that agreed on less than what is allowed."""
    lack = below_floor(requirement, facts.tls) if facts.tls is not None else None
    if lack is None:
        return None
    text = _required_text(requirement, beyond_encryption=True)
    detail = f"Expected: {lack.expected}. Presented: {lack.presented}. Set by {text}."
    return Shortfall(ResultType.VALIDATION_FAILURE, _CONNECT, lack.word, detail)


def _unencrypted(requirement: Requirement, facts: HopFacts) -> Shortfall | None:
    """The shortfall of a connection without TLS, None if it has TLS."""
    if facts.tls is not None:
        return None
    ruling = requirement.cleartext_by if isinstance(requirement, Opportunistic) else ()
    peer, ruled_out = _peer(facts), f"Cleartext is ruled out by {_named(ruling or requirement.sources)}"
    status = _NO_TLS_FOR_DANE if any(source.kind == "dane" for source in requirement.sources) else _CONNECT
    if facts.handshake_error:
        offered = offered_text(requirement)
        detail = f"The TLS handshake with {peer} failed: {facts.handshake_error}. {offered}{ruled_out}."
        return Shortfall(ResultType.VALIDATION_FAILURE, status, "TlsHandshakeFailed", detail)
    if facts.starttls_offered:
        detail = f"{peer} offers STARTTLS, but TLS was not begun. {ruled_out}."
        return Shortfall(ResultType.VALIDATION_FAILURE, status, "STARTTLS is required to send mail", detail)
    detail = (
        f"Expected: TLS. Presented: no STARTTLS. {ruled_out}; the administrators of {facts.host} must switch TLS on."
    )
    return Shortfall(ResultType.STARTTLS_NOT_SUPPORTED, status, "STARTTLS is required to send mail", detail)


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
    """The shortfall of the first proof of identity that the peer does not give; None if it gives all."""
    return next((missing for proof in requirement.proofs if (missing := _missing(proof, requirement, facts))), None)


def _missing(proof: Proof, requirement: Authenticated, facts: HopFacts) -> Shortfall | None:
    match proof:
        case DaneProof():
            return _not_by_dane(proof, facts)
        case StsProof() | Identity():
            return _not_by_pkix(proof, requirement, facts)
        case _:
            assert_never(proof)


def _not_by_dane(proof: DaneProof, facts: HopFacts) -> Shortfall | None:
    verdict = facts.dane
    if verdict is not None and verdict.failure is None:
        return None
    failure = verdict.failure if verdict is not None and verdict.failure else DaneFailure.TLSA_INVALID
    status, word = _DANE[failure]
    why = verdict.detail if verdict is not None else "the certificate was not compared with the TLSA records"
    presented = _presented((), facts.chain.leaf if facts.chain else None)
    detail = f"Expected: a certificate that satisfies the TLSA records of {proof.names[0]}. {presented} Found: {why}."
    return Shortfall(ResultType(failure), status, word, detail)


def _not_by_pkix(proof: Identity | StsProof, requirement: Authenticated, facts: HopFacts) -> Shortfall | None:
    """The chain comes first: a name in an untrusted certificate means nothing."""
    names = proof.names if isinstance(proof, Identity) else (proof.host,)
    chain = _chain(proof, requirement, facts)
    if chain is None:
        return _unjudged(proof, requirement, facts)
    leaf = chain.leaf
    if leaf is None or not chain.trusted:
        result, word = _UNTRUSTED.get(chain.status, _UNTRUSTED[ChainStatus.INVALID])
        return _not_valid(proof, result, word, f"{_presented(names, leaf)} {chain.detail}".rstrip())
    if not _bears(leaf, names):
        detail = f"{_presented(names, leaf)} The certificate is for {describe_names(leaf)}."
        return _not_valid(proof, ResultType.CERTIFICATE_HOST_MISMATCH, "SubjectMismatch", detail)
    if isinstance(proof, Identity) and leaf.not_before < proof.since:
        detail = f"{_presented(names, leaf)} It is from before the node joined again: another machine has its name now."
        return _not_valid(proof, *_UNTRUSTED[ChainStatus.REVOKED], detail)
    return None


def _chain(proof: Identity | StsProof, requirement: Authenticated, facts: HopFacts) -> ChainVerdict | None:
    """The chain as judged by the anchors that the proof is about. One that nobody judged is not trusted."""
    anchors = _anchors(proof)
    return facts.chain if anchors == requirement.anchors[0] else dict(facts.chains).get(anchors or "")


def _unjudged(proof: Identity | StsProof, requirement: Authenticated, facts: HopFacts) -> Shortfall:
    by = (
        ""
        if facts.chain is None
        else f" by {anchors_label(_anchors(proof) or '') or 'the trust anchors of the server'}"
    )
    text = _required_text(requirement, beyond_encryption=True)
    detail = f"The certificate of {_peer(facts)} was not checked{by}. A trusted one is required by {text}."
    return _not_valid(proof, ResultType.VALIDATION_FAILURE, "CertificateInvalid", detail)


def _not_valid(proof: Identity | StsProof, result: ResultType, word: str, detail: str) -> Shortfall:
    if isinstance(proof, StsProof):
        title = f"Remote certificate failed MTA-STS validation. Reason: {word}"
        return Shortfall(result, _VALIDATE_STS, word, f"{detail.rstrip('.')}. Policy of {proof.domain}.", title)
    return Shortfall(result, _VALIDATE, word, detail)


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


def _required_text(requirement: Requirement, *, beyond_encryption: bool = False) -> str:
    """Name the sources of a requirement, as the end of a sentence.

    beyond_encryption: leave out the sources that can require TLS and nothing more: rules and organizations.
    """
    asking = [source for source in requirement.sources if not beyond_encryption or source.kind not in _ENCRYPTION_ONLY]
    return _named(asking or requirement.sources)


def _named(sources: Iterable[Source]) -> str:
    """Sources in a sentence: "connector 'out' of contoso", "organization 'contoso' and default"."""
    return " and ".join(map(_source, sources))


def _source(source: Source) -> str:
    owner = f" of {source.organization}" if source.organization else ""
    return f"{source.kind} {source.name!r}{owner}" if source.name else source.kind


_ENCRYPTION_ONLY = {"rule", "organization"}


def describe(requirement: Requirement, *, mandatory_dane: bool = False) -> str:
    """The requirement as the trace prints it: "encrypted", "authenticated(dane and *.b.example) with requiretls".

    mandatory_dane: TLSA records are demanded besides, and nobody has looked for them yet.
    """
    if mandatory_dane:
        names = requirement.names if isinstance(requirement, Authenticated) else ()
        limits = NO_LIMITS if isinstance(requirement, Opportunistic) else requirement.limits
        return f"authenticated({' and '.join(('dane', *map(','.join, names)))}){_further(limits.texts)}"
    match requirement:
        case Opportunistic():
            return "opportunistic"
        case Encrypted():
            return f"encrypted{_further(requirement.limits.texts)}"
        case Authenticated():
            proved = " and ".join((*("dane" for _ in requirement.dane), *map(",".join, requirement.names)))
            further = _further((*(("requiretls",) if requirement.requiretls else ()), *requirement.limits.texts))
            return f"authenticated({proved}){further}" if proved else f"authenticated{further}"
        case _:
            assert_never(requirement)


def _further(texts: tuple[str, ...]) -> str:
    return f" with {' and '.join(texts)}" if texts else ""


_MX_NAMES = {MxLevel.NONE: "none", MxLevel.MTA_STS: "mta-sts", MxLevel.DNSSEC: "dnssec"}
_TLS_NAMES = {TlsLevel.NONE: "none", TlsLevel.ENCRYPTED: "encrypted", TlsLevel.AUTHENTICATED: "authenticated"}


def describe_achieved(achieved: Achieved) -> str:
    """Both ladders as the trace prints them, MX before TLS: "none/authenticated"."""
    return f"{_MX_NAMES[achieved.mx]}/{_TLS_NAMES[achieved.tls]}"


def deferral(shortfall: Shortfall, facts: HopFacts) -> Reply:
    """The reply that is kept as a queued message's last error, in Exchange's form (docs/reply-codes.md).

    Where the host is unfit for good it is that of a message that is returned, 550; else 450.
    """
    text = (
        f"{shortfall.title or _TITLES[shortfall.enhanced]} [Message={shortfall.message} {shortfall.detail}]"
        f" [LastAttemptedServerName={facts.host}]"
    )
    text += f" [LastAttemptedIP={facts.address}]" if facts.address else ""
    return Reply(550 if shortfall.enhanced.startswith("5") else 450, shortfall.enhanced, (_reply_text(text),))


def expired(last: Reply) -> Reply:
    """The permanent twin of a deferral, for the DSN when a message expires: 450 4.7.320 becomes 550 5.7.320."""
    lines = last.lines or ("",)
    return Reply(
        550, f"5{last.enhanced[1:]}" if last.enhanced else "5.4.7", (f"Message expired, {lines[0]}", *lines[1:])
    )


def _reply_text(text: str) -> str:
    """Text that a reply may hold: printable US-ASCII, whatever stands in a certificate."""
    return "".join(char if " " <= char <= "~" else "?" for char in text)
