"""The part of a notification for people, in the sections of exchange.md section 7.4.

Called by `protocols.message.dsn`. First what happened and what to do, for the sender; then codes, hops and diagnostics
for administrators. Recipients with the same outcome share one account of it.
"""

from __future__ import annotations

import textwrap
from itertools import groupby
from typing import TYPE_CHECKING

from gatepost.protocols.message.dsn_advice import NO_CERTIFICATE, advice_for, own_fault
from gatepost.protocols.message.dsn_report import DsnAction, DsnActor, DsnRecipient, DsnReport, RedactedNotice
from gatepost.protocols.message.dsn_status import MAX_ADDRESS, MAX_TEXT, status_of
from gatepost.protocols.message.header_text import ascii_text, format_date, host_text, shown_text, token_text
from gatepost.protocols.message.next_step import failed_step, is_of_the_gateway, waiting_step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.protocols.message.fields import HeaderFacts


_WIDTH = 72
_WORD = 200  # characters; four octets each and the indentation stay below 998
_RECIPIENTS = 20  # named for one outcome
_OUTCOMES = 20
_HOPS = 50

_OPENINGS = {
    DsnAction.FAILED: "Your message could not be delivered to {whom}. It will not be tried again.",
    DsnAction.DELAYED: "Your message has not yet been delivered to {whom}. We try again; you need not send it again.",
    DsnAction.DELIVERED: "Your message was delivered to {whom}.",
    DsnAction.RELAYED: "Your message was handed on for {whom}, to a mail system that reports no delivery.",
}

_SUBJECTS = {
    DsnAction.FAILED: "Undeliverable",
    DsnAction.DELAYED: "Delivery delayed",
    DsnAction.DELIVERED: "Delivered",
    DsnAction.RELAYED: "Relayed",
}


def subject_of(report: DsnReport, facts: HeaderFacts) -> str:
    """The subject of the notification: its gravest action, and the subject of the message."""
    actions = {recipient.action for recipient in report.recipients}
    word = next(word for action, word in _SUBJECTS.items() if action in actions)
    return f"{word}: {facts.subject}" if facts.subject else word


def human_text(report: DsnReport, facts: HeaderFacts, returned: str) -> str:
    """The text, CRLF ends each line. returned: one sentence on what of the message is attached."""
    outcomes = _outcomes(report.recipients)
    lines = [f"This is the mail service at {host_text(report.reporting_mta)}.", ""]
    for same in outcomes[:_OUTCOMES]:
        lines += _account(report, facts, same)
    if len(outcomes) > _OUTCOMES:
        lines += _wrapped(f"{len(outcomes) - _OUTCOMES} more outcomes are in the machine-readable part of this report.")
    lines += _hops(report)
    lines += ["ORIGINAL MESSAGE", *_wrapped(returned, "  ")]
    return "".join(f"{line}\r\n" for line in lines)


_REDACTED = (
    "A message from your domain asks to be sent over protected connections only (REQUIRETLS, RFC 8689). It could not be"
    " delivered, or its sender asked to be told of it. The notification for its sender could not be sent protected in"
    " the same way, so it was not sent at all. This is all that may be said of it here:"
)
_REDACTED_FIX = (
    "Let the mail servers of your domain offer TLS with a certificate that proves their name, and REQUIRETLS, so that"
    " senders who require protected connections can be told what becomes of their messages."
)


def redacted_text(notice: RedactedNotice, about: str) -> str:
    """The text for a sender's postmaster. about: the Message-ID of the message, fit for a line."""
    failure = f"{token_text(notice.status)} {advice_for(notice.status).cause}"
    rows = [("Message-ID:", about or "(none)"), ("Failure:", failure)]
    lines = [f"This is the mail service at {host_text(notice.reporting_mta)}.", "", *_wrapped(_REDACTED), ""]
    for name, value in rows:
        lines += _wrapped(value, f"  {name:12}", " " * 14)
    return "".join(f"{line}\r\n" for line in [*lines, "", *_wrapped(_REDACTED_FIX)])


def _outcomes(recipients: Sequence[DsnRecipient]) -> list[list[DsnRecipient]]:
    """Recipients that differ in nothing but their addresses, together; the gravest outcomes first."""
    ranks = {action: rank for rank, action in enumerate(_SUBJECTS)}

    def key(recipient: DsnRecipient) -> tuple[int, str, str, str, str, str]:
        advice = recipient.advice
        said = (recipient.status, recipient.remote_mta, recipient.diagnostic, recipient.detail)
        return (ranks[recipient.action], *said, f"{advice.cause}{advice.actor}{advice.fix}" if advice else "")

    return [list(same) for _, same in groupby(sorted(recipients, key=key), key=key)]


def _account(report: DsnReport, facts: HeaderFacts, same: list[DsnRecipient]) -> list[str]:
    action = same[0].action
    whom = "this recipient" if len(same) == 1 else f"these {len(same)} recipients"
    lines = [*_wrapped(_OPENINGS[action].format(whom=whom)), ""]
    rows = [("To:", shown_text(each.address, MAX_ADDRESS)) for each in same[:_RECIPIENTS]]
    if len(same) > _RECIPIENTS:
        rows.append(("", f"and {len(same) - _RECIPIENTS} more"))
    rows += [("Subject:", facts.subject), ("Sent:", format_date(report.arrival) if report.arrival else "")]
    for name, value in rows:
        lines += _wrapped(value, f"  {name:10}", " " * 12)
    lines.append("")
    if action in {DsnAction.FAILED, DsnAction.DELAYED}:
        lines += _what_to_do(same[0])
    return lines + _for_administrators(report, same)


def _what_to_do(recipient: DsnRecipient) -> list[str]:
    known = own_fault if is_of_the_gateway(recipient.diagnostic) else advice_for
    advice = recipient.advice or known(recipient.status)
    boxes = "   ".join(f"[{'x' if actor is advice.actor else ' '}] {actor.value}" for actor in DsnActor)
    fix = [advice.fix]
    if recipient.action is DsnAction.DELAYED:
        until = f" until {format_date(recipient.retry_until)}" if recipient.retry_until else ""
        fix.insert(0, f"You need do nothing now: delivery is tried again{until}. If it goes on failing:")
    return [
        "CAUSE",
        *_wrapped(shown_text(advice.cause, MAX_TEXT), "  "),
        "",
        "WHO MUST ACT",
        f"  {boxes}",
        "",
        "HOW TO FIX IT",
        *_wrapped(shown_text(" ".join(fix), MAX_TEXT), "  "),
        "",
    ]


def _for_administrators(report: DsnReport, same: list[DsnRecipient]) -> list[str]:
    """Codes and diagnostics. What a mail system said is US-ASCII and in its own words."""
    recipient = same[0]
    who = {DsnAction.FAILED: "Rejected recipient", DsnAction.DELAYED: "Delayed recipient"}.get(
        recipient.action, "Recipient"
    )
    others = f" and {len(same) - 1} more" if len(same) > 1 else ""
    rows = [
        ("Generating server", host_text(report.reporting_mta)),
        (who, shown_text(recipient.address, MAX_ADDRESS) + others),
        ("Remote server", host_text(recipient.remote_mta) if recipient.remote_mta else ""),
        ("Enhanced status code", status_of(recipient)),
        ("SMTP response" if recipient.remote_mta else "Reason", ascii_text(recipient.diagnostic, MAX_TEXT)),
        ("Next step", _next_step(recipient)),
        ("Details", shown_text(recipient.detail, MAX_TEXT)),
        ("Last attempt", format_date(recipient.last_attempt) if recipient.last_attempt else ""),
        ("Queue id", token_text(report.queue_id)),
    ]
    lines = ["FOR E-MAIL ADMINISTRATORS: DIAGNOSTIC INFORMATION"]
    for name, value in rows:
        lines += _wrapped(value, f"  {name + ':':23}", " " * 25)
    return [*lines, ""]


def _next_step(recipient: DsnRecipient) -> str:
    """The sentence that the gateway's own pages and commands begin with."""
    if recipient.advice not in {None, NO_CERTIFICATE}:
        return ""
    domain = recipient.address.rpartition("@")[2]
    if recipient.action is DsnAction.DELAYED:
        return waiting_step("deferred", domain, recipient.diagnostic).text
    return failed_step(domain, recipient.diagnostic).text if recipient.action is DsnAction.FAILED else ""


def _hops(report: DsnReport) -> list[str]:
    if not report.hops:
        return []
    lines = ["FOR E-MAIL ADMINISTRATORS: MESSAGE HOPS"]
    for number, hop in enumerate(report.hops[:_HOPS], 1):
        event = f"{format_date(hop.at)}  {host_text(hop.host)}  {shown_text(hop.event, MAX_TEXT)}"
        lines += _wrapped(event, f"{number:4}  ", " " * 6)
    return [*lines, ""]


def _wrapped(text: str, first: str = "", rest: str | None = None) -> list[str]:
    """Lines of `_WIDTH` characters if the words allow, and never of more than 998 octets; none for no text."""
    lines = textwrap.wrap(text, _WIDTH - len(first), break_long_words=False, break_on_hyphens=False)
    pieces = [line[at : at + _WORD] for line in lines for at in range(0, len(line), _WORD)]
    return [(rest if number and rest is not None else first) + piece for number, piece in enumerate(pieces)]
