"""The trace field of an accepted message (RFC 5321 section 4.4, RFC 3848, RFC 6531 section 4.3).

`mail.inbound.transaction` puts it before the body. Every argument may come from a hostile peer: none can end the field,
open another, or make this raise.

The fields of a message that came by a trusted filter are read here, too, for the hosts it came by. What the client of
a hop chose (its EHLO) is never taken for its address.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gatepost.protocols.message.header_text import fold, format_date, host_text, token_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.protocols.tls.facts import TlsFacts


_HOPS: Final = 50
_FIELD_OCTETS: Final = 4096
_FIELD: Final = re.compile(rb"^received[ \t]*:(.*?)(?=^[^ \t]|\Z)", re.IGNORECASE | re.MULTILINE | re.DOTALL)
_SAID: Final = re.compile(r"\b(?:helo|ehlo)[= ]\S+", re.IGNORECASE)  # Exim writes what the client said into the comment
_BRACKETED: Final = re.compile(r"\[([^][\s]+)\]")
_BARE: Final = re.compile(r"\(([0-9A-Fa-f:.]+)\)")  # as Exchange writes it


def relaying_addresses(section: bytes) -> Iterator[str]:
    """Yield the address that each hop took the message from, the last hop first.

    It ends before the first field whose address cannot be read: whatever stands below may be anybody's. section: the
    header section, before this host put a field of its own in front.
    """
    for place, match in enumerate(_FIELD.finditer(section)):
        address = _sender_of(match[1]) if place < _HOPS else ""
        if not address:
            return
        yield address


def _sender_of(field: bytes) -> str:
    if len(field) > _FIELD_OCTETS:
        return ""
    text = " ".join(field.decode("ascii", "replace").split())
    parts = _parts(text)
    # A client that may put spaces into its EHLO could write a whole clause of its own: then there are two of them.
    words = [part for part in parts if not part.startswith("(")]
    said = " ".join(words).lower().split()
    if said[:1] != ["from"] or said[2:3] != ["by"] or said.count("by") != 1 or said.count("from") != 1:
        return ""
    literal = words[0].split()[1]
    if len(parts) < 2 or words[0].split()[2:]:
        return _last_address(literal)  # no comment before "by": the literal is all that the hop wrote
    comment = parts[1]
    if parts[2].startswith("("):
        return ""
    # Exim writes the client's EHLO into the comment, where the address before it has no name.
    return _last_address(comment) or (_last_address(literal) if _SAID.search(comment) else "")


def _parts(text: str) -> list[str]:
    """The text outside comments and the comments, in their order; [] if a comment does not end or begins nowhere."""
    parts, depth, begin = [], 0, 0
    for place, character in enumerate(text):
        if character == "(":
            if depth == 0:
                parts.append(text[begin:place].strip())
                begin = place
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                parts.append(text[begin : place + 1])
                begin = place + 1
            elif depth < 0:
                return []
    parts.append(text[begin:].strip())
    return [] if depth else [part for part in parts if part]


def _last_address(text: str) -> str:
    """The last address in a comment, as the host that wrote the field saw it; "" if there is none."""
    text = _SAID.sub("", text)
    for literal in reversed(_BRACKETED.findall(text) or _BARE.findall(text)):
        try:
            address = ipaddress.ip_address(re.sub("^ipv6:", "", literal, flags=re.IGNORECASE))
        except ValueError:
            return ""
        if isinstance(address, ipaddress.IPv6Address):
            return "" if address.scope_id else str(address.ipv4_mapped or address)
        return str(address)
    return ""


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
    source = fold([f"Received: from {host_text(hello)}", f"([{_address(peer_ip)}])"], space="\t")
    if _can_be_shown(recipient, smtputf8=smtputf8):
        end, closing = "", fold([f"\tfor <{recipient}>;", format_date(now)], space="\t")
    else:
        end, closing = ";", "\t" + format_date(now)
    facts = (tls.version, tls.suite, tls.group) if tls is not None else None
    protocol = with_protocol(greeted_with, tls=tls is not None, smtputf8=smtputf8, authenticated=authenticated)
    if queue_id:
        before, line = _by(by, protocol, facts)
        line = fold([line, f"id {token_text(queue_id)}{end}"], space="\t")
        return f"{source}\r\n{before}{line}\r\n{closing}\r\n".encode()
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
    before, line_end, line = fold(words, space="\t").rpartition("\r\n")
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
