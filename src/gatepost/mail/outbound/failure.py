"""Turn each reason why a hop failed into a reply with Exchange's code (exchange.md section 7.3).

Called by `mail.outbound.connection`, `mail.outbound.hop` and `mail.outbound.deliverer`. Pure: what failed in, words and
code out.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.net.stream import Loss, LossKind
from gatepost.policy.decisions.destination_history import Drop, describe_drop
from gatepost.policy.decisions.facts import HopFacts
from gatepost.policy.decisions.outbound import deferral
from gatepost.policy.decisions.published import Published, dnssec_failed, tlsa_unknown
from gatepost.policy.decisions.requirement import Shortfall, Verdict
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.values import replace

if TYPE_CHECKING:
    from gatepost.net.lookups.question import LookupFailed


_TIMED_OUT = Reply(450, "4.4.315", ("Connection timed out",))
_REFUSED = Reply(450, "4.4.316", ("Connection refused",))
_NO_SESSION = Reply(450, "4.4.317", ("Cannot connect to remote server",))
_NO_TLS = Reply(450, "4.4.317", ("Cannot establish session with remote server [Message=TlsHandshakeFailed]",))
_CLOSED = Reply(450, "4.4.318", ("Connection was closed abruptly",))
_NO_DNS = Reply(450, "4.4.312", ("DNS query failed",))
_BROKEN = Reply(450, "4.5.0", ("The next hop broke the protocol",))
_NO_ADDRESS = Reply(550, "5.4.4", ("Unable to route: the next hop has no address",))
_NO_ADDRESS_YET = Reply(450, "4.4.312", ("DNS query failed: the next hop has no address",))
_NOT_ALLOWED = Reply(
    450, "4.4.4", ("Unable to route: the next hop has no public address, and none among [network] tenants_may_reach",)
)
_TAKES_NO_MAIL = 521
_LOGIN_REFUSED = "4.7.8"  # RFC 4954 section 6, of class 4: the next attempt may be better
_OUR_FAULT = Reply(450, "4.3.5", ("System incorrectly configured",))

_LOSSES = {
    LossKind.CLOSED: _CLOSED,
    LossKind.TRUNCATED: _CLOSED,
    LossKind.RESET: _CLOSED,
    LossKind.TIMEOUT: _TIMED_OUT,
    LossKind.HANDSHAKE: _NO_TLS,
    LossKind.INJECTION: _BROKEN,
}


def _revocation_unknown(enhanced: str, title: str = "") -> str:
    """How the reply begins to mail that waits since nobody can tell whether a certificate is revoked."""
    word = "RevocationUnknown"
    shortfall = Shortfall(ResultType.VALIDATION_FAILURE, enhanced, word, "", title and f"{title} Reason: {word}")
    return f"{deferral(shortfall, HopFacts('', '')).text.partition(word + ' ]')[0]}{word} "


NAMES_UNKNOWN: Final = (f"{_NO_DNS.code} {_NO_DNS.enhanced} ", "450 4.7.324 ")
"""How the last error begins of mail that waits for names, or for their DNSSEC keys: a resolver calls a zone bogus, too,
whose keys it could not get."""

REVOCATION_UNKNOWN: Final = (
    _revocation_unknown("4.7.320"),
    _revocation_unknown("4.7.5", "Remote certificate failed MTA-STS validation."),
)
"""How the last error begins of mail that waits until it can be learnt whether a certificate is revoked."""


class LoginFailure(StrEnum):
    """Why there was no log-in: an administrator here must act, or it passes by itself."""

    REFUSED = "refused"
    PASSING = "passing"


class HopFailure(msgspec.Struct, frozen=True):
    """One host or address that did not take the message.

    reply: what the queue and a DSN show if nothing better is known; permanent if trying this hop again is of no use.
    detail: for us. result_type: RFC 8460, None unless TLS failed. host, address: "" where it failed before they were
    known; the address with its port. facts, verdict: what the connection proved, None without one. transcript: what was
    said, without content. loss: how the connection ended, None unless it did. published: what the domain publishes of
    the host, None if it was not known. local: our own IP address, "" if there was no connection. drop: how the host
    fell short of what was seen before, None unless that is why. unanswered: a handshake had begun, and the peer
    answered nothing that says why (see `net.stream.Loss`). silent: the host talked to no client, whatever the
    requirement. crowded: it turned the connection away for now. answered: it did talk, and
    deferred some recipients; `reply` is theirs alone. login: the log-in to a smart host failed, None unless it did.
    """

    reply: Reply
    detail: str
    result_type: ResultType | None = None
    host: str = ""
    address: str = ""
    facts: HopFacts | None = None
    verdict: Verdict | None = None
    transcript: tuple[str, ...] = ()
    loss: LossKind | None = None
    published: Published | None = None
    local: str = ""
    drop: Drop | None = None
    unanswered: bool = False
    silent: bool = False
    crowded: bool = False
    answered: bool = False
    login: LoginFailure | None = None

    def at(self, host: str, address: str, transcript: tuple[str, ...] = ()) -> HopFailure:
        """The same failure with the place where it happened; our own words say it as Exchange's do."""
        reply = located(self.reply, host, address) if self.reply in _OWN_WORDS else self.reply
        return replace(self, reply=reply, host=host, address=address, transcript=transcript)

    @property
    def text(self) -> str:
        """One line for a log or the queue."""
        return f"{self.reply.text} ({self.detail})" if self.detail else self.reply.text


_OWN_WORDS = {
    _TIMED_OUT,
    _REFUSED,
    _NO_SESSION,
    _NO_TLS,
    _CLOSED,
    _NO_DNS,
    _BROKEN,
    _NO_ADDRESS,
    _NO_ADDRESS_YET,
    _NOT_ALLOWED,
    _OUR_FAULT,
}


def located(reply: Reply, host: str, address: str) -> Reply:
    """Words of ours with the place they are about, as Exchange writes it (exchange.md §7.3)."""
    where = f"{reply.lines[0]} [LastAttemptedServerName={host}]"
    return Reply(reply.code, reply.enhanced, (f"{where} [LastAttemptedIP={address}]" if address else where,))


class HopFailed(Exception):  # noqa: N818 - not an error of the program: it is what was found
    """Nothing can be sent over this hop now.

    handshake: STARTTLS was offered, but TLS could not be agreed. shaken: the handshake had begun.
    """

    def __init__(self, failure: HopFailure, *, handshake: str = "", shaken: bool = False) -> None:
        super().__init__(failure.text)
        self.failure = failure
        self.handshake = handshake
        self.shaken = shaken


class ConnectionEnded(Exception):  # noqa: N818 - not an error of the program: it is what was found
    """A connection is of no more use; failure says why."""

    def __init__(self, failure: HopFailure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class UnwritableEnvelope(Exception):  # noqa: N818 - it is what was found
    """An address of a transaction cannot be written in a command, and nothing of it was sent. The text says why."""


def login_failed(
    detail: str, shown: str = "the gateway cannot use its credentials", *, ours: bool = True
) -> HopFailure:
    """The log-in to a smart host failed: mail waits, whatever the host said of it.

    detail: for us, without the secret. shown: what a sender may read, once the mail expires. ours: an administrator
    here must act; else it passes by itself.
    """
    text = "".join(char if " " <= char <= "~" else "?" for char in shown)
    reply = Reply(450, _LOGIN_REFUSED if ours else "4.7.0", (f"Cannot log in to the next hop: {text}",))
    return HopFailure(reply, detail, login=LoginFailure.REFUSED if ours else LoginFailure.PASSING)


def lookup_failed(failure: LookupFailed, name: str = "", *, lasting: bool = True) -> HopFailure:
    """The DNS did not answer, or not what DNSSEC proves; or the name cannot be looked up (then as `no_address`)."""
    if failure.bogus:
        return barred(dnssec_failed(failure.detail), name)
    return no_address(failure.detail, lasting=lasting) if not failure.temporary else HopFailure(_NO_DNS, failure.detail)


def no_address(detail: str, *, lasting: bool = True) -> HopFailure:
    """The name has no address, or none that we may use.

    lasting: it will have none, as far as is known: the hosts are all that the recipient's domain names (RFC 5321
    section 5.1). Not so where an administrator here named the host: mail waits until the slip, or the DNS, is mended.
    """
    return HopFailure(_NO_ADDRESS if lasting else _NO_ADDRESS_YET, detail)


def not_reached(detail: str) -> HopFailure:
    """A tenant chose a host whose addresses are not in [network] tenants_may_reach: mail waits until they are."""
    return HopFailure(_NOT_ALLOWED, detail)


def cannot_connect(error: OSError) -> HopFailure:
    """No connection: refused, timed out, no route (TimeoutError and ConnectionRefusedError are OSErrors)."""
    match error:
        case TimeoutError():
            reply = _TIMED_OUT
        case ConnectionRefusedError():
            reply = _REFUSED
        case _:
            reply = _NO_SESSION
    return HopFailure(reply, error.strerror or str(error), silent=True)  # without the number of the system


def loss_reply(loss: Loss, awaiting: str) -> Reply:
    """The reply for recipients whose result a loss left open. awaiting: the command whose reply was due."""
    reply = _LOSSES[loss.kind]
    where = f"waiting for the reply to {awaiting}" if awaiting else "sending the message"
    return Reply(reply.code, reply.enhanced, (f"{reply.lines[0]} while {where}",))


def connection_lost(loss: Loss) -> HopFailure:
    """The connection ended before a message was begun."""
    return HopFailure(_LOSSES[loss.kind], loss.detail or str(loss.kind), loss=loss.kind, unanswered=loss.unanswered)


def protocol_broken(detail: str) -> HopFailure:
    """The peer said what SMTP does not allow."""
    return HopFailure(_BROKEN, detail)


def refused(reply: Reply, command: str) -> HopFailure:
    """The peer itself will not talk to us: a greeting or a reply to EHLO of 4xx or 5xx, or 421 at any time.

    A 5xx says nothing of the message: another host may talk, or this one later. Only 521, which means that the host
    never takes mail, is for good (RFC 7504 section 3.1).
    """
    detail = f"in reply to {command}"
    if not reply.permanent or reply.code == _TAKES_NO_MAIL:
        return HopFailure(reply, detail, crowded=reply.transient)
    enhanced = "4" + reply.enhanced[1:] if reply.enhanced else "4.3.2"
    return HopFailure(Reply(450, enhanced, (f"The host refused to talk to us: {reply.text}",)), detail)


def between_nodes(failure: HopFailure) -> HopFailure:
    """The same between nodes of a site: an administrator must mend that one turns another away, and mail waits."""
    if not failure.reply.permanent:
        return failure
    return replace(failure, reply=Reply(450, "4.7.0", (f"The node turned us away with: {failure.reply.text}",)))


def local_fault(detail: str) -> HopFailure:
    """A certificate or trust anchors of ours cannot be read: an administrator of this machine must act."""
    return HopFailure(_OUR_FAULT, detail)


def unvalidated(detail: str, facts: HopFacts) -> HopFailure:
    """Our resolver does not validate, and DNSSEC proved the destination's MX records before: its mail waits.

    Its TLSA records may be there as before: that nobody validates them must not switch DANE off.
    """
    reply = deferral(tlsa_unknown(detail), facts)
    # No result of RFC 8460: it says nothing of the domain.
    return HopFailure(reply, detail, None, facts.host, facts.address, facts)


def barred(shortfall: Shortfall, host: str, published: Published | None = None) -> HopFailure:
    """A host that must not be used now, by what DNS publishes of it: no connection is opened."""
    reply = deferral(shortfall, HopFacts(host, ""))
    return HopFailure(reply, shortfall.detail, shortfall.result_type, host, published=published)


def fell_short(verdict: Verdict, facts: HopFacts, transcript: tuple[str, ...]) -> HopFailure:
    """The requirement is not met: the message waits, it is never sent below it. ValueError if the verdict passed."""
    shortfall = verdict.shortfall
    if shortfall is None:
        raise ValueError("nothing is missing")
    reply = deferral(shortfall, facts)
    return HopFailure(
        reply, shortfall.detail, shortfall.result_type, facts.host, facts.address, facts, verdict, transcript
    )


def fell_below(fallen: Drop, facts: HopFacts, verdict: Verdict, transcript: tuple[str, ...]) -> HopFailure:
    """The connection would do, but the destination was seen to do better: its mail is held."""
    detail = describe_drop(fallen)
    # No result of RFC 8460: the session was as the domain's policy wants it.
    shortfall = Shortfall(ResultType.VALIDATION_FAILURE, "4.4.317", "ProtectionDrop", detail)
    return HopFailure(
        deferral(shortfall, facts), detail, None, facts.host, facts.address, facts, verdict, transcript, drop=fallen
    )
