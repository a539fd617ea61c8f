"""Macros of SPF: their syntax and their expansion (RFC 7208 section 7).

Used by `protocols.spf.record` and `protocols.spf.evaluation`. Macros for explanations (c, r, t) are errors here, as no
explanation is ever asked for. p, of which the RFC advises against any use, is always "unknown": that costs no look-up.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address


_MACRO: Final = re.compile(r"%(?:\{([slodiphvSLODIPHV])(\d*)(r?)([-.+,/_=]*)\}|([%_-]))", re.IGNORECASE)
_LITERAL: Final = re.compile(r"[\x21-\x24\x26-\x7e]+")
_SIGNS: Final = {"%": "%", "_": " ", "-": "%20"}
_LONGEST: Final = 253  # characters of a domain name


class MacroError(ValueError):
    """A macro string is wrong. The text is the end of a sentence."""


class MacroFacts(NamedTuple):
    """The values of macros. sender: the whole address. domain: the one whose record is evaluated."""

    sender: str
    domain: str
    address: IPv4Address | IPv6Address
    hello: str


def check_macros(text: str) -> None:
    """Whether a macro string is well formed. Raises MacroError."""
    at = 0
    while at < len(text):
        match = _LITERAL.match(text, at) or _MACRO.match(text, at)
        if match is None:
            raise MacroError(f"{ascii(text[at : at + 20])[1:-1]} is no macro")
        if match.re is _MACRO and match[2] and int(match[2][:4]) == 0:
            raise MacroError("a macro keeps at least one part")
        at = match.end()


def expand_domain(spec: str, facts: MacroFacts) -> str:
    """The domain that a domain-spec means. Labels on the left are left out until it is a name (section 7.3)."""
    name = _MACRO.sub(lambda match: _expanded(match, facts), spec).removesuffix(".")
    while len(name) > _LONGEST and "." in name:
        name = name.partition(".")[2]
    return name


def _expanded(match: re.Match[str], facts: MacroFacts) -> str:
    letter, digits, reverse, delimiters, sign = match.groups()
    if sign:
        return _SIGNS[sign]
    value = _value(letter.lower(), facts)
    parts = re.split(f"[{re.escape(delimiters or '.')}]", value)
    if reverse:
        parts.reverse()
    if digits:
        parts = parts[-int(digits[:4]) :]
    text = ".".join(parts)
    return quote(text, safe="") if letter.isupper() else text


def _value(letter: str, facts: MacroFacts) -> str:
    local, _, domain = facts.sender.rpartition("@")
    address = facts.address
    dotted = str(address) if address.version == 4 else ".".join(f"{int(address):032x}")
    return {
        "s": facts.sender,
        "l": local,
        "o": domain,
        "d": facts.domain,
        "i": dotted,
        "p": "unknown",
        "v": "in-addr" if address.version == 4 else "ip6",
        "h": facts.hello,
    }[letter]
