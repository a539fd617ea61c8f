"""Say in one sentence who must do what about a message: for pages, commands, REST and notices alike. Pure.

Called by `protocols.message.dsn_text` and `manage.use_cases.next_steps`. It reads the reply of the last attempt, which
is what the queue and the trace keep: our own deferrals name what was missing as Exchange does
("[Message=UntrustedRoot …]", exchange.md section 7.3), those of others have an enhanced status code (RFC 3463). It says
nothing that the reply does not say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec

from gatepost.protocols.message.dsn_advice import advice_for
from gatepost.protocols.message.dsn_report import DsnActor
from gatepost.protocols.message.header_text import shown_text
from gatepost.texts import own


class MustAct(StrEnum):
    """The party that must act."""

    GATEWAY = "gateway"
    REMOTE = "remote"
    SENDER = "sender"
    NOBODY = "nobody"


class NextStep(msgspec.Struct, frozen=True):
    """The next step: who must act, and one sentence that says so. waits: the message is not delivered yet."""

    must_act: MustAct
    text: str
    waits: bool = False


_ADMINISTRATOR: Final = "an administrator of this gateway"
_START: Final = "start their mail server, or let this gateway in"
_GATEWAY, _REMOTE = MustAct.GATEWAY, MustAct.REMOTE
_CERTIFICATE: Final = "replace the certificate of their mail server"
_ALLOW: Final = (
    "allow a TLS version, key exchange and cipher suite that are required, or the connector must require less"
)
_DNS: Final = (
    "check that the nameservers in [dns] answer and validate DNSSEC; if they do for other names, those of the "
    "recipient's domain are down"
)

# By the word of the reply: who must act, and what they must do, after "The administrators of HOST must" or ours.
_BY_WORD: Final[dict[str, tuple[MustAct, str]]] = {
    "SubjectMismatch": (_REMOTE, "present a certificate with the expected name"),
    "UntrustedRoot": (_REMOTE, "present a certificate of an authority that is trusted here"),
    "ChainIncomplete": (_REMOTE, "send the intermediate certificates with their certificate"),
    "NoCertificate": (_REMOTE, "present a certificate"),
    "CertificateExpired": (_REMOTE, "renew the certificate of their mail server"),
    "CertificateNotYetValid": (_REMOTE, "install a certificate that is valid already"),
    "CertificateRevoked": (_REMOTE, "replace the certificate of their mail server, which is revoked"),
    "RevocationUnknown": (_GATEWAY, "let this machine reach the revocation services of the certificate over HTTP"),
    "CertificateWrongPurpose": (_REMOTE, f"{_CERTIFICATE} by one for servers"),
    "CertificateWeakKey": (_REMOTE, f"{_CERTIFICATE} by one with a stronger key"),
    "CertificateWeakSignature": (_REMOTE, f"{_CERTIFICATE} by one without SHA-1"),
    "CertificateInvalid": (_REMOTE, _CERTIFICATE),
    "STARTTLS": (_REMOTE, "switch on STARTTLS"),
    "TlsHandshakeFailed": (_REMOTE, "find out from the log of their mail server why TLS fails"),
    "TlsVersionTooOld": (_REMOTE, _ALLOW),
    "KeyExchangeNotAllowed": (_REMOTE, _ALLOW),
    "CipherSuiteNotAllowed": (_REMOTE, _ALLOW),
    "TlsaInvalid": (_REMOTE, "publish a TLSA record for the certificate that their mail server presents"),
    "DaneRequired": (_REMOTE, "sign their zone and publish TLSA records, or the connector must not require DANE"),
    "DnssecInvalid": (_REMOTE, "correct the DNSSEC signatures of their zone"),
    "TlsaLookupFailed": (_GATEWAY, _DNS),
    "HostNotInPolicy": (_REMOTE, "name this host in their MTA-STS policy, or take it out of their MX records"),
    "HostNotAuthentic": (
        _REMOTE,
        "sign their zone or publish an MTA-STS policy, as the message asks for REQUIRETLS",
    ),
    "HostHasNoName": (_GATEWAY, "name the smart host by its DNS name in the connector"),
    "RequireTlsNotOffered": (_REMOTE, "offer REQUIRETLS, as the message asks for it"),
    "ProtectionDrop": (
        _GATEWAY,
        "accept the lower protection of the destination, or its administrators must restore it",
    ),
    "JournalNeedsVerifiedTls": (_REMOTE, "offer TLS with a certificate for its name, as journal copies need it"),
}
# What the gateway can do about it instead, if a connector set the requirement, or it is an LMTP server elsewhere.
_OR_HERE: Final = {
    "SubjectMismatch": "correct tls_domain of the connector (LMTP: the host in delivery of the mailbox)",
    "UntrustedRoot": "add their authority to trust_anchors of the connector (LMTP: of [tls])",
    "ChainIncomplete": (
        "add their authority, if it is a private one, to trust_anchors of the connector (LMTP: of [tls])"
    ),
}

# By subject and detail of the status, for replies in our own words.
_BY_STATUS: Final[dict[str, tuple[MustAct, str]]] = {
    "3.5": (_GATEWAY, "correct the file or certificate that the reply names"),
    "4.4": (
        _GATEWAY,
        "allow the network in [network] tenants_may_reach, or the next hop must have another address",
    ),
    "4.5": (
        _GATEWAY,
        "let this machine reach policy hosts over HTTPS, or stop mail to many domains whose policy hosts do not answer",
    ),
    "4.312": (_GATEWAY, _DNS),
    "4.315": (_GATEWAY, "make sure that this machine may connect to it; if it may, the host is down"),
    "4.316": (_REMOTE, _START),
    "4.317": (
        _GATEWAY,
        "make sure that this machine has a route to it, and that no firewall here forbids it; if so, the host is down",
    ),
    "7.5": (_GATEWAY, "add a valid S/MIME certificate: the recipient's to encrypt, the author's to sign"),
    "7.8": (_GATEWAY, "correct the log-in of the connector"),
}
_WORD_IN: Final = re.compile(r"\[Message=([A-Za-z]+)")
_SERVER_IN: Final = re.compile(r"\[LastAttemptedServerName=([A-Za-z0-9.:_-]{1,255})\]")
_SOCKET_IN: Final = re.compile(r"\[LastAttemptedIP=unix:(/[^\]]{1,255})\]")
_STATUS_IN: Final = re.compile(r"\b[245]\.\d{1,3}\.\d{1,3}\b")
_THIS_MACHINE: Final = re.compile(r"127\.[0-9.]+|::1|localhost")
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f:.]*[0-9:]")
_OURS: Final = (
    "System incorrectly configured",
    "DNS query failed",
    "Cannot log in",
    "Connection timed out",
    "Connection refused",
    "Cannot connect to remote server",
    "Unable to route: the next hop has no public address",
    "The MTA-STS policy cannot be fetched now",
    "Encryption needed (S/MIME)",
    "Signature needed (S/MIME)",
)
_NO_ADDRESS: Final = "DNS query failed: the next hop has no address"  # that an administrator here named
_UNREACHED: Final = frozenset({"4.315", "4.316", "4.317"})
_FULL: Final = "4.2.2"
_ORDER: Final = tuple(MustAct)


def waiting_step(state: str, domain: str, reply: str = "", *, by_administrator: bool = False) -> NextStep:
    """The step about a delivery of the queue.

    state: "active", "deferred" or "held". reply: of the last attempt, "" before the first. by_administrator: one held
    it, not the downgrade guard.
    """
    where = shown_text(domain, 255)
    if state == "held":
        held = (
            "release or return this message, which an administrator held"
            if by_administrator
            else f"accept the lower protection of {where}, or have it restored: the downgrade guard holds this message"
        )
        return NextStep(MustAct.GATEWAY, f"{_capital(_ADMINISTRATOR)} must {held}.", waits=True)
    if state == "active":
        return NextStep(MustAct.NOBODY, "Nobody has to act: the gateway is delivering this message now.")
    if not reply:
        return NextStep(MustAct.NOBODY, "Nobody has to act: this message waits for its first attempt.", waits=True)
    known = _known(reply, where)
    if known is None:
        status = _STATUS_IN.search(reply)
        said = (
            "the mailbox of the recipient is full"
            if status and status[0] == _FULL
            else f"the mail system of {where} could not take this message yet"
        )
        return NextStep(MustAct.NOBODY, f"Nobody has to act yet: {said}, and the gateway tries again.", waits=True)
    return NextStep(known.must_act, f"{own(known.text)}; this message waits until then.", waits=True)


def failed_step(domain: str, reply: str) -> NextStep:
    """The step after a delivery that failed for good or expired.

    reply: of the failure, as the trace and a notice have it.
    """
    known = _known(reply, shown_text(domain, 255))
    if known is not None:
        return NextStep(
            known.must_act, f"{own(known.text)}; this message failed, and its sender can send it again then."
        )
    status = _STATUS_IN.search(reply)
    advice = advice_for(status[0] if status else "")
    who, must_act = {
        DsnActor.SENDER: ("the sender", MustAct.SENDER),
        DsnActor.SERVICE: (_ADMINISTRATOR, MustAct.GATEWAY),
        DsnActor.RECIPIENT: (f"the administrators of {shown_text(domain, 255)}", MustAct.REMOTE),
    }[advice.actor]
    cause = advice.cause[:1].lower() + advice.cause[1:].rstrip(".")
    return NextStep(must_act, f"{own(_capital(who))} must act before this message is sent again, because {own(cause)}.")


def required_step(domain: str, reply: str) -> NextStep | None:
    """The step before such mail can be delivered; None for words of others, and for what passes by itself."""
    return _known(reply, shown_text(domain, 255))


def is_of_the_gateway(reply: str) -> bool:
    """Whether the reply is in words of the gateway about a fault that its own administrators must correct."""
    known = _known(reply, "")
    return known is not None and known.must_act is MustAct.GATEWAY


def first_of(steps: Iterable[NextStep]) -> NextStep | None:
    """The one to begin with: what administrators of the gateway must do, then others, then what waits; None of none."""
    return min(steps, key=lambda step: (_ORDER.index(step.must_act), not step.waits), default=None)


def _known(reply: str, domain: str) -> NextStep | None:
    """What our own words call for, without an end; None for words of others, and for what passes by itself."""
    word, status = _WORD_IN.search(reply), _STATUS_IN.search(reply)
    socket = _SOCKET_IN.search(reply)
    if socket and not word and status and status[0].partition(".")[2] in _UNREACHED:
        path = shown_text(socket[1], 255)
        must = f"start the LMTP server at {path}, let the gateway's account open that socket, or correct the mailbox"
        return NextStep(_GATEWAY, f"{_capital(_ADMINISTRATOR)} must {own(must)}")
    if _NO_ADDRESS in reply:
        host = _server(reply, domain)
        must = (
            f"correct the name {host} in smart_hosts of the connector or delivery of the mailbox, or "
            "give it an A or AAAA record"
        )
        return NextStep(_GATEWAY, f"{_capital(_ADMINISTRATOR)} must {own(must)}")
    rule = _BY_WORD.get(word[1]) if word else None
    if rule is None and status and any(text in reply for text in _OURS):
        rule = _BY_STATUS.get(status[0].partition(".")[2])
    if rule is None:
        return None
    must_act, must = rule
    if must_act is MustAct.GATEWAY:
        return NextStep(must_act, f"{_capital(_ADMINISTRATOR)} must {own(must)}")
    server = _server(reply, domain)
    if must is _START and _THIS_MACHINE.fullmatch(server):
        return NextStep(_GATEWAY, f"{_capital(_ADMINISTRATOR)} must start the mail server at {server}, on this machine")
    text = (
        f"The administrators of the smart host {server} must {own(must)}"
        if _ADDRESS.fullmatch(server)
        else f"The administrators of {server} must {own(must)}"
    )
    instead = _OR_HERE.get(word[1]) if word and status and status[0].partition(".")[2] == "7.320" else None
    return NextStep(must_act, f"{text}, or {_ADMINISTRATOR} must {own(instead)}" if instead else text)


def _server(reply: str, domain: str) -> str:
    """Name the host of the last attempt. One without a name is a smart host of a connector: hosts of MX have names.

    Whose it is, the reply does not say: it may be ours, a provider's or the partner's, whatever the recipient's domain.
    """
    server = _SERVER_IN.search(reply)
    host = shown_text(server[1], 255) if server else ""
    return host or domain or "the remote server"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
