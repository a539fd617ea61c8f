"""SPF records as values (RFC 7208 sections 4.5, 4.6.1, 5 and 6).

Used by `protocols.spf.evaluation`. The whole record is read before anything of it is evaluated, so that an error in it
is found whoever the client is.

Macros for explanations (c, r, t) are errors here, as no explanation is ever asked for. p, of which the RFC advises
against any use, is always "unknown": that costs no look-up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, NamedTuple
from urllib.parse import quote

import msgspec

_MACRO: Final = re.compile(r"%(?:\{([slodiphvSLODIPHV])(\d*)(r?)([-.+,/_=]*)\}|([%_-]))", re.IGNORECASE)
_LITERAL: Final = re.compile(r"[\x21-\x24\x26-\x7e]+")
_SIGNS: Final = {"%": "%", "_": " ", "-": "%20"}
_LONGEST: Final = 253  # characters of a domain name
_MOST: Final = 8192  # octets of a record that is read: RFC 7208 section 3.4 asks for less than 512
_MOST_SPEC: Final = 512  # characters of a macro string: each macro in it may become a whole address


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
    if len(name) <= _LONGEST:
        return name
    dot = name.find(".", len(name) - _LONGEST - 1)
    return name[dot + 1 :] if dot >= 0 else name.rpartition(".")[2]


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


_VERSION: Final = b"v=spf1"
_NAMES: Final = frozenset({"all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"})
_NEEDS_DOMAIN: Final = frozenset({"include", "exists"})
_HAS_LENGTHS: Final = frozenset({"a", "mx"})
_MODIFIER: Final = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=(.*)", re.DOTALL)
_DIRECTIVE: Final = re.compile(r"([-+~?]?)([A-Za-z][A-Za-z0-9_.-]*)(:[^/].*?|:)?(/.*)?", re.DOTALL)
_LENGTHS: Final = re.compile(r"(?:/(0|[1-9]\d?))?(?://(0|[1-9]\d{0,2}))?")
_END: Final = re.compile(
    r".*(?:\.(?:[0-9]*+[A-Za-z][A-Za-z0-9]*+|[A-Za-z0-9]++-[A-Za-z0-9-]*[A-Za-z0-9])\.?|%\{[^}]*\})"
)


class SpfError(ValueError):
    """A record, or what its evaluation comes to, is wrong: permerror. The text is for us and for the header."""


class Directive(msgspec.Struct, frozen=True):
    """One mechanism with its qualifier.

    qualifier: "+", "-", "~" or "?". name: in lower case. domain: the domain-spec with its macros, "" for the current
    domain. network: of ip4 and ip6. ip4_length, ip6_length: the prefix lengths of a and mx.
    """

    qualifier: str
    name: str
    domain: str = ""
    network: IPv4Network | IPv6Network | None = None
    ip4_length: int = 32
    ip6_length: int = 128


class SpfRecord(msgspec.Struct, frozen=True):
    """directives: in their order. redirect: its domain-spec, "" if there is none."""

    directives: tuple[Directive, ...]
    redirect: str = ""


def chosen_record(texts: Sequence[bytes]) -> bytes | None:
    """The SPF record among the TXT records of a domain, None if there is none. Raises SpfError for several."""
    records = [text for text in texts if text[:6].lower() == _VERSION and (len(text) == 6 or text[6:7] == b" ")]
    if len(records) > 1:
        raise SpfError(f"{len(records)} SPF records")
    return records[0] if records else None


@lru_cache(maxsize=16)  # as many as one evaluation reads: who has long ones asked for again and again sends them again
def parse_spf(record: bytes) -> SpfRecord:
    """A record that begins with its version. Raises SpfError."""
    if not record.isascii() or len(record) > _MOST:
        raise SpfError(f"the SPF record is not ASCII, or has more than {_MOST} octets")
    directives: list[Directive] = []
    modifiers: dict[str, str] = {}
    for term in filter(None, record[6:].decode("ascii").split(" ")):
        if modifier := _MODIFIER.fullmatch(term):
            _add_modifier(modifiers, modifier[1].lower(), modifier[2])
        else:
            directives.append(_directive(term))
    return SpfRecord(tuple(directives), modifiers.get("redirect", ""))


def _add_modifier(modifiers: dict[str, str], name: str, value: str) -> None:
    if name not in {"redirect", "exp"}:
        _checked(value, value)  # unknown ones are ignored, but are macro strings (section 6)
        return
    if name in modifiers:
        raise SpfError(f"the SPF record has {name}= twice")
    modifiers[name] = _domain_spec(value, f"{name}={value}")


def _directive(term: str) -> Directive:
    match = _DIRECTIVE.fullmatch(term)
    name = match[2].lower() if match else ""
    if match is None or name not in _NAMES:
        raise SpfError(f"{_shown(term)} is no SPF mechanism")
    qualifier = match[1] or "+"
    if name in {"ip4", "ip6"}:
        return Directive(qualifier, name, network=_network(name, term.partition(":")[2], term))
    domain, lengths = match[3] or "", match[4] or ""
    if (name in _NEEDS_DOMAIN and not domain) or (name == "all" and domain) or domain == ":":
        raise SpfError(f"{_shown(term)}: the SPF mechanism {name} has {'no' if not domain[1:] else 'a'} domain")
    if lengths and name not in _HAS_LENGTHS:
        # A slash may be part of a macro string; of these mechanisms it can be nothing else.
        if not domain:
            raise SpfError(f"{_shown(term)}: the SPF mechanism {name} has no prefix length")
        domain, lengths = domain + lengths, ""
    if lengths and not _LENGTHS.fullmatch(lengths) and domain:
        domain, lengths = _split_lengths(domain + lengths)
    ip4, ip6 = _lengths(lengths, term)
    spec = _domain_spec(domain[1:], term) if domain else ""
    return Directive(qualifier, name, spec, ip4_length=ip4, ip6_length=ip6)


def _split_lengths(text: str) -> tuple[str, str]:
    """A domain-spec that has a slash itself, and the prefix lengths at its end."""
    match = re.fullmatch(r"(.*?)((?:/\d+)?(?://\d+)?)", text, re.DOTALL)
    return (match[1], match[2]) if match else (text, "")


def _lengths(text: str, term: str) -> tuple[int, int]:
    match = _LENGTHS.fullmatch(text)
    if match is None:
        raise SpfError(f"{_shown(term)}: {_shown(text)} is no prefix length")
    ip4, ip6 = int(match[1] or 32), int(match[2] or 128)
    if ip4 > 32 or ip6 > 128:
        raise SpfError(f"{_shown(term)}: the prefix length is too large")
    return ip4, ip6


def _network(name: str, text: str, term: str) -> IPv4Network | IPv6Network:
    kind = IPv4Network if name == "ip4" else IPv6Network
    address, slash, length = text.partition("/")
    if (slash and not re.fullmatch(r"0|[1-9]\d{0,2}", length)) or "%" in address:
        raise SpfError(f"{_shown(term)} is not a network")
    try:
        return kind(text, strict=False)
    except ValueError:
        raise SpfError(f"{_shown(term)} is not a network") from None


def _domain_spec(text: str, term: str) -> str:
    """Section 7.1: a macro string that ends in a top label or a macro."""
    _checked(text, term)
    if not _END.fullmatch(text) or text.endswith(("%%", "%_", "%-")):
        raise SpfError(f"{_shown(term)}: {_shown(text)} is not a domain")
    return text


def _checked(text: str, term: str) -> None:
    if len(text) > _MOST_SPEC:
        raise SpfError(f"{_shown(term)} has more than {_MOST_SPEC} characters")
    try:
        check_macros(text)
    except MacroError as error:
        raise SpfError(f"{_shown(term)}: {error}") from None


def _shown(text: str) -> str:
    """Foreign text for a sentence of ours."""
    return ascii(text[:60])[1:-1]
