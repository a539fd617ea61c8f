"""The trace field of an accepted message (RFC 5321 section 4.4, RFC 3848, RFC 6531 section 4.3).

`mail.inbound.transaction` puts it before the body. Every argument may come from a hostile peer: none can end the field,
open another, or make this raise.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gatepost.protocols.message.header_text import fold, format_date, host_text, token_text

if TYPE_CHECKING:
    from gatepost.protocols.tls.facts import TlsFacts


_ADDRESS_CHARACTERS = 512
_SPECIAL: Final = re.compile(r'[ <>()\\"]')  # what would end the clause, or begin a comment or a quoted string


def received_field(  # noqa: PLR0913  one for each clause of the field
    *,
    hello: str,
    peer_ip: str,
    by: str,
    greeted_with: str,
    smtputf8: bool,
    tls: TlsFacts | None,
    authenticated: bool = False,
    queue_id: str,
    recipient: str,
    now: float,
) -> bytes:
    """The Received field with its CRLF, folded at 78 characters.

    hello: the peer's argument of EHLO. peer_ip: its address. by: our host name. greeted_with: "EHLO", "HELO" or "LHLO".
    authenticated: it logged in (RFC 4954). recipient: the forward-path, only if there is a single one, else "": a "for"
    clause must not tell one recipient of another (RFC 5321 section 7.2). now: seconds since 1970.
    """
    source = fold([f"Received: from {host_text(hello)}", f"([{_address(peer_ip)}])"])
    if _can_be_shown(recipient, smtputf8=smtputf8):
        end, closing = "", fold([f"\tfor <{recipient}>;", format_date(now)])
    else:
        end, closing = ";", "\t" + format_date(now)
    facts = (tls.version, tls.suite, tls.group) if tls is not None else None
    protocol = with_protocol(greeted_with, tls=tls is not None, smtputf8=smtputf8, authenticated=authenticated)
    if queue_id:
        before, line = _by(by, protocol, facts)
        return f"{source}\r\n{before}{fold([line, f'id {token_text(queue_id)}{end}'])}\r\n{closing}\r\n".encode()
    return f"{source}\r\n{''.join(_by(by, protocol, facts, end))}\r\n{closing}\r\n".encode()


def with_protocol(greeted_with: str, *, tls: bool, smtputf8: bool, authenticated: bool = False) -> str:
    """The registered name of how a message was transmitted: "SMTP", "ESMTP", "ESMTPSA", "UTF8SMTPS", "LMTPS", …."""
    if greeted_with not in {"EHLO", "LHLO"}:
        return "SMTP"
    family = "LMTP" if greeted_with == "LHLO" else "SMTP"
    name = "UTF8" + family if smtputf8 else family if family == "LMTP" else "ESMTP"
    return name + "S" * tls + "A" * authenticated


@lru_cache(maxsize=64)  # none of it is what a peer says: a listener has a handful of them
def _by(by: str, protocol: str, tls: tuple[str, str, str] | None, end: str = "") -> tuple[str, str]:
    """The clauses before the queue id, as whole lines with their CRLF, and the line that goes on. end: behind them."""
    words = [f"\tby {host_text(by)}", f"with {protocol}"]
    if tls is not None:
        version, suite, group = map(token_text, tls)
        facts = [f"version={version}", f"cipher={suite}"] + ([f"group={group}"] if group else [])
        words += ("(" + ", ".join(facts) + ")").split(" ")
    words[-1] += end
    before, line_end, line = fold(words).rpartition("\r\n")
    return before + line_end, line


def _address(peer_ip: str) -> str:
    """An address literal of RFC 5321 section 4.1.3 without its brackets."""
    text = host_text(peer_ip)
    return f"IPv6:{text}" if ":" in text else text


def _can_be_shown(recipient: str, *, smtputf8: bool) -> bool:
    """Whether the path can stand in the field as it is; else the clause is left out rather than changed."""
    if not 0 < len(recipient) <= _ADDRESS_CHARACTERS or not recipient.isprintable():
        return False
    return (recipient.isascii() or smtputf8) and _SPECIAL.search(recipient) is None
