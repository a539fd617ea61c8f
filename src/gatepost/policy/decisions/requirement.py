"""Requirements of a hop and what was achieved: the values that `policy.decisions.outbound` compares.

Two ordered ladders record what was achieved; a requirement is a sum type in which "forced but unencrypted" cannot be
written.

A handshake is held against a requirement's floor here, too: TLS version, key exchange, cipher suite. Only what the
handshake proved counts (`protocols.tls.facts`).
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple, assert_never

import msgspec

from gatepost.policy.connectors.values import Cleartext, RevocationCheck
from gatepost.protocols.tls.limits import NO_LIMITS, TlsLimits, offer
from gatepost.protocols.tls.profile import PROFILES, Profile, with_minimum

if TYPE_CHECKING:
    from gatepost.protocols.dane.tlsa import Records
    from gatepost.protocols.tls.facts import TlsFacts
    from gatepost.protocols.tlsrpt.result import ResultType


class TlsLevel(IntEnum):
    """The protection of the channel, weakest first."""

    NONE = 0
    ENCRYPTED = 1
    AUTHENTICATED = 2


class MxLevel(IntEnum):
    """The proof that the next hop's host name is right, weakest first."""

    NONE = 0
    MTA_STS = 1
    DNSSEC = 2


class Source(msgspec.Struct, frozen=True):
    """The source of a requirement.

    kind: "connector", "rule", "organization", "dane", "mta-sts", "requiretls", "internal" or "default". organization:
    the owner of the connector or rule, "" if it is the organization whose mail it is.
    """

    kind: str
    name: str = ""
    organization: str = ""

    def __str__(self) -> str:
        owner = f" of {self.organization}" if self.organization else ""
        return f"{self.kind}:{self.name}{owner}" if self.name else self.kind


INTERNAL_HOP = Source("internal", "site")
"""The way from one node of the site to another."""


class Opportunistic(msgspec.Struct, frozen=True, cache_hash=True):
    """TLS if it is offered, any certificate; cleartext says when it may be missing (never NEVER: that is Encrypted).

    cleartext_by: the sources of that ruling, () for `sources`.
    """

    sources: tuple[Source, ...]
    cleartext: Cleartext = Cleartext.ONLY_IF_NOT_OFFERED
    profile: str = "default"
    cleartext_by: tuple[Source, ...] = ()


class Encrypted(msgspec.Struct, frozen=True, cache_hash=True):
    """TLS, whoever the peer is (`tls_settings = "encryption-only"`).

    min_version: oldest TLS version that will do, as `TlsFacts.version` names it; "" is what the profile allows. limits:
    of key exchange and cipher suites.
    """

    sources: tuple[Source, ...]
    profile: str = "default"
    min_version: str = ""
    limits: TlsLimits = NO_LIMITS


class Identity(msgspec.Struct, frozen=True):
    """A PKIX proof: the peer's chain reaches the anchors, and its certificate bears one of the names, if there are any.

    names: DNS names or "*.domain", lower-case A-labels; or the URI of a node. () is `certificate-validation`: chain
    only. anchors: a name or path the certificate store knows the trust anchors by; "" is the server's own setting.
    since: when the certificate may begin to be valid at the earliest, seconds since 1970 UTC; 0 is whenever.
    """

    names: tuple[str, ...]
    anchors: str = ""
    since: float = 0.0


class StsProof(msgspec.Struct, frozen=True):
    """The proof that an MTA-STS policy demands of an MX host: a chain to the server's own anchors, and the host's name.

    RFC 8461 section 4.2. domain: the policy's. host: lower-case A-labels.
    """

    domain: str
    host: str


class DaneProof(msgspec.Struct, frozen=True):
    """The proof that TLSA records demand: the chain satisfies one of them (RFC 7672 section 3), whatever PKIX says.

    records: with at least one that can be used. names: reference identifiers, the TLSA base domain first.
    """

    records: Records
    names: tuple[str, ...]


type Proof = Identity | StsProof | DaneProof


class Authenticated(msgspec.Struct, frozen=True, cache_hash=True):
    """TLS to a peer that proves who it is.

    proofs: all that it must prove, at least one. min_version, limits: as in Encrypted. revocation: whether the chain is
    looked for among the revoked ones; TLSA records ask nobody for that. mx: how the host's name must be known to be
    right, at least. requiretls: after STARTTLS it must offer REQUIRETLS (RFC 8689).
    """

    sources: tuple[Source, ...]
    proofs: tuple[Proof, ...]
    profile: str = "default"
    min_version: str = ""
    revocation: RevocationCheck = RevocationCheck.SOFT_FAIL
    mx: MxLevel = MxLevel.NONE
    requiretls: bool = False
    limits: TlsLimits = NO_LIMITS

    @property
    def names(self) -> tuple[tuple[str, ...], ...]:
        """The names that the certificate must bear by PKIX: one of each group."""
        groups = (_names(proof) for proof in self.proofs)
        return tuple(group for group in groups if group)

    @property
    def anchors(self) -> tuple[str, ...]:
        """The trust anchors that the chain must reach, each of them; () if only TLSA records count."""
        return tuple(dict.fromkeys(_anchors(proof) for proof in self.proofs if not isinstance(proof, DaneProof)))

    @property
    def dane(self) -> tuple[DaneProof, ...]:
        """The TLSA records that must be satisfied; only a requirement put together of two hosts' has several."""
        return tuple(proof for proof in self.proofs if isinstance(proof, DaneProof))


def _names(proof: Proof) -> tuple[str, ...]:
    match proof:
        case Identity():
            return proof.names
        case StsProof():
            return (proof.host,)
        case DaneProof():
            return ()
        case _:
            assert_never(proof)


def _anchors(proof: Identity | StsProof) -> str:
    return proof.anchors if isinstance(proof, Identity) else ""


type Requirement = Opportunistic | Encrypted | Authenticated


def offered(requirement: Requirement) -> Profile:
    """The profile that is offered under the requirement. ValueError if nothing is left of it, with the reason."""
    profile = PROFILES[requirement.profile]
    if isinstance(requirement, Opportunistic):
        return profile
    if requirement.min_version:
        profile = with_minimum(profile, requirement.min_version)
    return offer(profile, requirement.limits)


class Achieved(msgspec.Struct, frozen=True):
    """The levels that a connection reached, on both ladders."""

    tls: TlsLevel
    mx: MxLevel = MxLevel.NONE


class Shortfall(msgspec.Struct, frozen=True):
    """An unmet requirement.

    result_type: RFC 8460, None where it has no word. enhanced: status of the 450 deferral ("4.7.320"), or of the 550
    that ends it if it is of class 5: the host is unfit for good. message: Exchange's word
    ("SubjectMismatch", "UntrustedRoot", …). detail: expected and presented, thumbprint, host, for trace and DSN. title:
    the words that go with the status where it has none of its own.
    """

    result_type: ResultType | None
    enhanced: str
    message: str
    detail: str
    title: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """A requirement held against what was achieved: shortfall is None exactly when the message may be sent."""

    requirement: Requirement
    achieved: Achieved
    shortfall: Shortfall | None

    @property
    def passed(self) -> bool:
        """Whether the message may be sent over this connection."""
        return self.shortfall is None


_UNMET: Final = {"key-exchange": "KeyExchangeNotAllowed", "cipher-suite": "CipherSuiteNotAllowed"}


class FloorShortfall(NamedTuple):
    """word: as `Shortfall.message`. expected, presented: each the end of a sentence."""

    word: str
    expected: str
    presented: str


def below_floor(requirement: Encrypted | Authenticated, tls: TlsFacts) -> FloorShortfall | None:
    """Find what a handshake lacks, None if it meets the floor. Versions compare as text in their order."""
    if tls.version < requirement.min_version:
        return FloorShortfall("TlsVersionTooOld", f"{requirement.min_version} or newer", tls.version)
    unmet = requirement.limits.unmet(tls)
    if unmet is None:
        return None
    return FloorShortfall(_UNMET[unmet.kind], unmet.expected, f"{unmet.presented}, over {tls.version}")


def floor_text(requirement: Requirement) -> str:
    """The floor as the end of a sentence: "TLSv1.3 or newer; post-quantum key exchange (…)"; "" if there is none."""
    if isinstance(requirement, Opportunistic):
        return ""
    oldest = f"{requirement.min_version} or newer" if requirement.min_version else ""
    return "; ".join(filter(None, (oldest, requirement.limits.expectation)))


def offered_text(requirement: Requirement) -> str:
    """Name the limits that we set in a handshake that failed, beyond the usual: no alert of the peer names them."""
    if floor := floor_text(requirement):
        return f"Expected: {floor}. "
    return "" if requirement.profile == "default" else f"Offered: TLS profile {requirement.profile}. "
