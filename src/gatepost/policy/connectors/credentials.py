"""Compare a session's certificate and address with what identifies an inbound connector.

Used by `policy.connectors.match`, which decides, and by `policy.connectors.comparison`, which explains; each lack is a
reason of its own (exchange.md sections 5 and 15, item 11). Pure: text over facts that were gathered before.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from gatepost.policy.connectors.trust_anchors import anchors_label
from gatepost.policy.connectors.values import RevocationCheck
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict
from gatepost.protocols.tls.names import describe_names, matches

if TYPE_CHECKING:
    from gatepost.policy.connectors.directory import InboundEntry
    from gatepost.policy.connectors.facts import SessionFacts


class CredentialFault(Enum):
    """The reason why a client's certificate does not identify it to a connector."""

    NO_TLS = auto()
    NO_CERTIFICATE = auto()
    OTHER_NAME = auto()
    ONLY_COMMON_NAME = auto()
    NOT_TRUSTED = auto()
    NOT_JUDGED = auto()
    REVOCATION_UNKNOWN = auto()


class Lack(NamedTuple):
    """A missing credential.

    why: the rest of a sentence that begins with the connector's label. status: of the chain.
    """

    fault: CredentialFault
    why: str
    status: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it is not the client's doing: later it may be known."""
        return self.fault in {CredentialFault.NOT_JUDGED, CredentialFault.REVOCATION_UNKNOWN}


def certificate_lack(entry: InboundEntry, session: SessionFacts) -> Lack | None:
    """Return what keeps the client's certificate from identifying it to the connector; None if it identifies it.

    The name comes first, since of a certificate for somebody else the chain does not matter. The connector must have a
    tls_sender_certificate_name.
    """
    connector = entry.connector
    name = connector.tls_sender_certificate_name or ""
    if session.tls is None:
        return Lack(CredentialFault.NO_TLS, f"names {name}, and the session is not encrypted")
    leaf = presented(session)
    if leaf is None:
        return Lack(CredentialFault.NO_CERTIFICATE, f"names {name}, and the client presented no certificate")
    if not matches(name, leaf, common_name=connector.match_common_name):
        return _name_lack(name, leaf)
    verdict = session.chain(connector.trust_anchors)
    if verdict is None:
        why = f"names {name}, but the client's certificate was not checked: its trust_anchors cannot be read"
        return Lack(
            CredentialFault.NOT_JUDGED, f"{why} ({anchors_label(connector.trust_anchors) or "the server's own"})"
        )
    if _suffices(verdict, connector.revocation_check):
        return None
    fault = CredentialFault.REVOCATION_UNKNOWN if _is_unknown(verdict) else CredentialFault.NOT_TRUSTED
    why = f"names {name}, but the client's certificate with that name {_judged(verdict)}"
    return Lack(fault, why, str(verdict.status))


def _name_lack(name: str, leaf: CertificateFacts) -> Lack:
    borne = describe_names(leaf)
    if matches(name, leaf, common_name=True):
        why = f"names {name}, but it is only in the CN of the client's certificate, and match_common_name is off"
        return Lack(CredentialFault.ONLY_COMMON_NAME, f"{why} ({borne})")
    return Lack(CredentialFault.OTHER_NAME, f"names {name}, and the client's certificate has other names ({borne})")


def _suffices(verdict: ChainVerdict, check: RevocationCheck) -> bool:
    """Whether the chain is good enough for a connector that takes revocation as seriously as `check` says."""
    match verdict.status:
        case ChainStatus.TRUSTED:
            return check is not RevocationCheck.HARD_FAIL or not _is_unknown(verdict)
        case ChainStatus.REVOKED:
            return check is RevocationCheck.NONE
        case ChainStatus.REVOCATION_UNKNOWN:
            return check is not RevocationCheck.HARD_FAIL
        case _:
            return False


def _is_unknown(verdict: ChainVerdict) -> bool:
    """Whether nothing could be learnt of revocation, though the chain is in order otherwise."""
    if verdict.status is ChainStatus.REVOCATION_UNKNOWN:
        return True
    return verdict.trusted and verdict.revocation is not None and verdict.revocation.status == "unknown"


def _judged(verdict: ChainVerdict) -> str:
    """The judgement as the rest of a sentence: "is not trusted: expired, CN=mail.b.example expired on …"."""
    if _is_unknown(verdict) and verdict.revocation is not None:
        status, detail = str(ChainStatus.REVOCATION_UNKNOWN), verdict.revocation.detail
    else:
        status, detail = str(verdict.status), verdict.detail
    return f"is not trusted: {status}, {detail}" if detail else f"is not trusted: {status}"


def presented(session: SessionFacts) -> CertificateFacts | None:
    """The client's certificate, None if it showed none that could be read."""
    return session.client_chain.leaf if session.client_chain else None


def describe_client(session: SessionFacts) -> str:
    """Describe the credentials of a client that no connector knows, as the end of a sentence."""
    source = f"it comes from {session.peer_ip}"
    if session.introduction is not None:
        source += f" ({session.introduction.text})"
    if session.tls is None:
        return f"it is not encrypted, and {source}"
    verdict, leaf = session.client_chain, presented(session)
    if verdict is None or verdict.status is ChainStatus.NO_CERTIFICATE:
        return f"it presented no certificate, and {source}"
    if leaf is None:
        return f"its certificate cannot be read ({verdict.detail}), and {source}"
    if verdict.trusted:
        return f"its certificate is trusted, but no connector has a name in it ({describe_names(leaf)}); {source}"
    return f"its certificate {_judged(verdict)}; no connector has a name in it ({describe_names(leaf)}); {source}"


def describe_sender(domain: str) -> str:
    """The domain of a reverse-path, as sentences name it."""
    return f"the sender's domain {domain}" if domain else "the null reverse-path"
