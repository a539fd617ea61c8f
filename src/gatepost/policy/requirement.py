"""What a hop must achieve, and what was achieved: the values that `policy.outbound` computes and compares.

Two ordered ladders record what was achieved; a requirement is a sum type in which "forced but in clear" cannot be
written.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from gatepost.connectors.values import Cleartext, RevocationCheck

if TYPE_CHECKING:
    from gatepost.tlsrpt.result import ResultType

__all__ = [
    "Achieved",
    "Authenticated",
    "Cleartext",
    "Encrypted",
    "Identity",
    "MxLevel",
    "Opportunistic",
    "Requirement",
    "Shortfall",
    "Source",
    "TlsLevel",
    "Verdict",
]


class TlsLevel(IntEnum):
    """How the channel is protected, weakest first."""

    NONE = 0
    ENCRYPTED = 1
    AUTHENTICATED = 2


class MxLevel(IntEnum):
    """How the next hop's host name is known to be right, weakest first."""

    NONE = 0
    MTA_STS = 1
    DNSSEC = 2


@dataclass(frozen=True, slots=True)
class Source:
    """Who asks for a requirement.

    kind: "connector", "rule", "organization", "dane", "mta-sts", "requiretls", "internal" or "default".
    """

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


@dataclass(frozen=True, slots=True)
class Opportunistic:
    """TLS if it is offered, any certificate; cleartext says when it may be missing (never NEVER: that is Encrypted)."""

    sources: tuple[Source, ...]
    cleartext: Cleartext = Cleartext.ONLY_IF_NOT_OFFERED
    profile: str = "default"


@dataclass(frozen=True, slots=True)
class Encrypted:
    """TLS, whoever the peer is (`tls_settings = "encryption-only"`).

    min_version: oldest TLS version that will do, as `TlsFacts.version` names it; "" is what the profile allows.
    """

    sources: tuple[Source, ...]
    profile: str = "default"
    min_version: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """One proof of who a peer is: its chain reaches the anchors, and its certificate bears one of the names, if any."""

    names: tuple[str, ...]
    anchors: str = ""


@dataclass(frozen=True, slots=True)
class Authenticated:
    """TLS to a peer whose chain reaches a trust anchor and whose certificate bears one of the names, if there are any.

    names: DNS names or "*.domain", lower-case A-labels. () is `certificate-validation`: chain only.
    anchors: a name or path the certificate store knows the trust anchors by; "" is the server's own setting.
    min_version: as in Encrypted. revocation: whether the chain is looked for among the revoked ones. also: what the
    same peer must prove besides, where several ask for different proof.
    """

    sources: tuple[Source, ...]
    names: tuple[str, ...]
    anchors: str = ""
    profile: str = "default"
    min_version: str = ""
    revocation: RevocationCheck = RevocationCheck.SOFT_FAIL
    also: tuple[Identity, ...] = ()

    @property
    def identities(self) -> tuple[Identity, ...]:
        """Everything that the peer must prove, at least one."""
        return Identity(self.names, self.anchors), *self.also


type Requirement = Opportunistic | Encrypted | Authenticated


@dataclass(frozen=True, slots=True)
class Achieved:
    """What a connection reached, on both ladders, and why it is not more."""

    tls: TlsLevel
    mx: MxLevel = MxLevel.NONE


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Why a requirement is not met.

    result_type: RFC 8460. enhanced: status of the 450 deferral ("4.7.320"). message: Exchange's word
    ("SubjectMismatch", "UntrustedRoot", …). detail: expected and presented, thumbprint, host, for trace and DSN.
    """

    result_type: ResultType
    enhanced: str
    message: str
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """A requirement held against what was achieved: shortfall is None exactly when the message may be sent."""

    requirement: Requirement
    achieved: Achieved
    shortfall: Shortfall | None

    @property
    def passed(self) -> bool:
        """Whether the message may be sent over this connection."""
        return self.shortfall is None
