"""Read from the Received fields of a message which hosts it came by (RFC 5321 section 4.4).

Used by `mail.inbound.transaction` where a filter in front of the gateway is trusted to write them. What the client of a
hop chose (its EHLO) is never taken for its address.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator


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
        return _address(literal)  # no comment before "by": the literal is all that the hop wrote
    comment = parts[1]
    if parts[2].startswith("("):
        return ""
    # Exim writes the client's EHLO into the comment, where the address before it has no name.
    return _address(comment) or (_address(literal) if _SAID.search(comment) else "")


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


def _address(text: str) -> str:
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
