"""The machine-readable part of a notification (RFC 3464 section 2, RFC 3461 section 6.3, RFC 6533 section 3).

Called by `protocols.message.dsn`. Whatever the values hold, a field stays one field: texts are cut, cleaned and folded.
"""

from __future__ import annotations

import re

from gatepost.protocols.message.dsn_report import DsnAction, DsnRecipient, DsnReport
from gatepost.protocols.message.header_text import ascii_text, fold, format_date, host_text, shown_text, token_text
from gatepost.protocols.smtp.grammar import GrammarError, xtext_decode

MAX_ADDRESS = 512
"""Characters of an address; the grammar lets no longer one in."""

MAX_TEXT = 2000
"""Characters of a reply or a detail. A whole reply may be a hundred lines long, nobody reads them here."""

_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9-]{1,40}")
_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")

_CLASSES = {DsnAction.FAILED: "5", DsnAction.DELAYED: "4", DsnAction.DELIVERED: "2", DsnAction.RELAYED: "2"}


def delivery_status(report: DsnReport, *, utf8: bool) -> str:
    """The content of message/delivery-status, or of message/global-delivery-status with utf8; CRLF ends each line."""
    groups = [
        _message_fields(report),
        *(_recipient_fields(each, report.queue_id, utf8=utf8) for each in report.recipients),
    ]
    return "\r\n".join("".join(f"{_field(name, value)}\r\n" for name, value in group if value) for group in groups)


def status_of(recipient: DsnRecipient) -> str:
    """The recipient's status, with the class its action asks for; a failure may keep 4, for what expired."""
    wanted = _CLASSES[recipient.action]
    if not _STATUS.fullmatch(recipient.status):
        return f"{wanted}.0.0"
    text = recipient.status[0]
    if text == wanted or (recipient.action is DsnAction.FAILED and text == "4"):
        return recipient.status
    return f"{wanted}.0.0"


def _message_fields(report: DsnReport) -> list[tuple[str, str]]:
    return [
        ("Original-Envelope-Id", ascii_text(_decoded(report.envid), MAX_ADDRESS)),
        ("Reporting-MTA", f"dns; {host_text(report.reporting_mta)}"),
        ("Arrival-Date", format_date(report.arrival) if report.arrival else ""),
    ]


def _recipient_fields(recipient: DsnRecipient, queue_id: str, *, utf8: bool) -> list[tuple[str, str]]:
    kind = "smtp" if recipient.remote_mta else "x-gatepost"
    diagnostic = ascii_text(recipient.diagnostic, MAX_TEXT)
    waiting = recipient.action is DsnAction.DELAYED and recipient.retry_until
    return [
        ("Original-Recipient", _original_recipient(recipient.orcpt, utf8=utf8)),
        ("Final-Recipient", _typed("rfc822", recipient.address, utf8=utf8)),
        ("Action", recipient.action.value),
        ("Status", status_of(recipient)),
        ("Remote-MTA", f"dns; {host_text(recipient.remote_mta)}" if recipient.remote_mta else ""),
        ("Diagnostic-Code", f"{kind}; {diagnostic}" if diagnostic else ""),
        ("Last-Attempt-Date", format_date(recipient.last_attempt) if recipient.last_attempt else ""),
        ("Final-Log-ID", token_text(queue_id)),
        ("Will-Retry-Until", format_date(recipient.retry_until) if waiting else ""),
    ]


def _original_recipient(orcpt: str, *, utf8: bool) -> str:
    """RFC 3461 section 6.3: the ORCPT parameter with its xtext undone; left out if it is not well-formed."""
    kind, _, encoded = orcpt.partition(";")
    # In an utf-8 address, \x{...} stands for the characters beyond US-ASCII and stays (RFC 6533 section 3).
    address = _decoded(encoded) if encoded.isascii() else encoded
    return _typed(kind, address, utf8=utf8) if address and _ADDRESS_TYPE.fullmatch(kind) else ""


def _typed(kind: str, address: str, *, utf8: bool) -> str:
    """A typed address. One beyond US-ASCII has the type utf-8, and in a 7-bit notification its 7-bit form."""
    shown = shown_text(address, MAX_ADDRESS)
    if shown.isascii():
        return f"{kind}; {shown}"
    if utf8:
        return f"utf-8; {shown}"
    encoded = _NOT_QCHAR.sub(lambda match: f"\\x{{{ord(match[0]):02X}}}", shown)
    return f"utf-8; {encoded}"


def _decoded(text: str) -> str:
    try:
        return xtext_decode(text)
    except GrammarError:
        return ""


def _field(name: str, value: str) -> str:
    return fold([f"{name}:", *value.split()])
