"""The grammar of addresses: RFC 5321 section 4.1.2 with RFC 6531 section 3.3, and xtext of RFC 3461 section 4.

Used by `protocols.smtp.commands` for what peers say and by the configuration for what administrators say. Text in,
values out; no reply is chosen here, nothing is looked up.
"""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum
from functools import lru_cache
from typing import Final

import msgspec

# RFC 5321 section 4.5.3.1.1 asks for 64 octets of local-part at least; sender rewriting and per-recipient bounce
# addresses are longer than that in real mail.
_LOCAL_PART_OCTETS: Final = 256
_DOMAIN_OCTETS: Final = 255

_ATEXT_CHARACTERS = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~"
_ATEXT = f"[{_ATEXT_CHARACTERS}-]"
# An underscore is not a letter of RFC 1123, but names of real hosts have it.
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*+")
_MAILBOX = re.compile(rf"({_ATEXT}++(?:\.{_ATEXT}++)*+)@({_DOMAIN.pattern})")

# Sets of what is not allowed: a set that names all of Unicode takes ten milliseconds to compile.
_UATEXT = r'[^\x00-\x20"(),.:;<>@\[\\\]\x7f]'
_DOT_STRING = re.compile(rf"{_UATEXT}++(?:\.{_UATEXT}++)*+")
_QUOTED = re.compile(r'"((?:[^\x00-\x1f"\\\x7f]|\\[ -~])*+)"')
_QUOTED_PAIR = re.compile(r"\\(.)")

# Control characters of ASCII and of ISO 8859, line and paragraph separators, surrogates, the byte order mark, and the
# marks that turn the direction of text, with which an address can look like another one.
_UNCLEAN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")

_XCHAR_RUN = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*+")
_HEXCHAR = re.compile(rb"\+([0-9A-F]{2})")
_NOT_XCHAR = re.compile(rb"[^!-*,-<>-~]")


class AddressFault(StrEnum):
    """The kind of fault of an address, by which the reply is chosen."""

    SYNTAX = "syntax"
    SOURCE_ROUTE = "source-route"
    NEEDS_SMTPUTF8 = "needs-smtputf8"


class GrammarError(ValueError):
    """Text that the grammar does not allow. why: one clause for an administrator, never sent to a peer.

    fault: by which the reply is chosen.
    """

    def __init__(self, why: str, fault: AddressFault = AddressFault.SYNTAX) -> None:
        super().__init__(why)
        self.why = why
        self.fault = fault


class Path(msgspec.Struct, frozen=True):
    """A reverse-path or forward-path (RFC 5321 section 4.1.2).

    text: the addr-spec as given, without angle brackets, "" for the null reverse-path. local_part: what it means,
    quotes and quoted pairs undone, case kept. domain: lower case, A-labels, or an address literal such as "[192.0.2.1]"
    and "[IPv6:2001:db8::1]"; "" for the null reverse-path and for the bare postmaster.
    """

    text: str
    local_part: str
    domain: str


_NULL: Final = Path("", "", "")


@lru_cache(maxsize=256)  # a client that sends much mostly repeats its sender, and others write to the same recipients
def parse_path(text: str, *, smtputf8: bool) -> Path:
    """A path with its angle brackets. smtputf8: whether RFC 6531 is in force. Raises GrammarError."""
    if len(text) < 2 or text[0] != "<" or text[-1] != ">":
        raise GrammarError("a path stands in angle brackets")
    address = text[1:-1]
    if not address:
        return _NULL
    if address[0] == "@":
        raise GrammarError("a source route is not accepted", AddressFault.SOURCE_ROUTE)
    if address.isascii():
        if address.lower() == "postmaster":
            return Path(address, address, "")
    elif not smtputf8:
        raise GrammarError("characters beyond US-ASCII need SMTPUTF8", AddressFault.NEEDS_SMTPUTF8)
    return parse_address(address)


def parse_address(text: str) -> Path:
    """A bare addr-spec, internationalised (RFC 6531) or not. Raises GrammarError."""
    match = _MAILBOX.fullmatch(text)
    if match is not None:
        local_part, domain = match.groups()
        if len(local_part) > _LOCAL_PART_OCTETS or len(domain) > _DOMAIN_OCTETS:
            raise GrammarError("the address is too long")
        return Path(text, local_part, domain.lower())
    local_part, at, domain = text.rpartition("@")
    if not at:
        raise GrammarError("the address has no domain")
    return Path(text, _parse_local_part(local_part), parse_domain(domain))


def _parse_local_part(text: str) -> str:
    if not is_clean(text):
        raise GrammarError("the local-part has a control character")
    if len(text.encode()) > _LOCAL_PART_OCTETS:
        raise GrammarError("the local-part is too long")
    if _DOT_STRING.fullmatch(text):
        return text
    quoted = _QUOTED.fullmatch(text)
    if quoted is None or not quoted[1]:
        raise GrammarError("the local-part is neither a dot-string nor a quoted string")
    return _QUOTED_PAIR.sub(r"\1", quoted[1])


def parse_domain(text: str) -> str:
    """A domain or address literal as `Path.domain` has it. Raises GrammarError."""
    if text.startswith("["):
        return _parse_literal(text)
    if len(text) > _DOMAIN_OCTETS:
        raise GrammarError("the domain is too long")
    if not text.isascii():
        if not is_clean(text):
            raise GrammarError("the domain has a control character")
        import idna  # noqa: PLC0415 - its tables are large, and most commands and domains need none

        try:
            text = idna.encode(text, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise GrammarError("the domain is not an internationalised domain name") from error
    if not _DOMAIN.fullmatch(text) or len(text) > _DOMAIN_OCTETS:
        raise GrammarError("each part between its dots must have 1 to 63 letters, digits or hyphens")
    return text.lower()


def _parse_literal(text: str) -> str:
    """RFC 5321 section 4.1.3. No tag but IPv6 is registered, so no other is accepted.

    Nor is a zone (RFC 4007 section 11): it means nothing on another host, and Python takes any text for one, quotes,
    blanks and ">" among it.
    """
    inner = text[1:-1] if text.endswith("]") and "%" not in text else ""
    try:
        if inner[:5].lower() == "ipv6:":
            return f"[IPv6:{ipaddress.IPv6Address(inner[5:])}]"
        return f"[{ipaddress.IPv4Address(inner)}]"
    except ValueError as error:
        raise GrammarError("the address literal holds no IP address") from error


def parse_hello_domain(text: str) -> str:
    """Check the argument of EHLO or HELO, and return it as given.

    RFC 5321 section 4.1.4 forbids refusing a client for a name that is not true, and names that are none ("MY_PC",
    "localhost.") are common: one word of at most 255 printable US-ASCII characters is enough. Raises GrammarError.
    """
    if not text or " " in text:
        raise GrammarError("one domain or address literal is needed")
    if len(text) > _DOMAIN_OCTETS or not text.isascii() or not text.isprintable():
        raise GrammarError("the domain is too long or has other characters than printable US-ASCII")
    return text


def is_clean(text: str) -> bool:
    """Whether text is free of control characters and of marks that make it look like other text."""
    return _UNCLEAN.search(text) is None


def xtext_decode(text: str) -> str:
    """RFC 3461 section 4 undone; what the octets mean is UTF-8 (RFC 6533). Raises GrammarError, for controls too."""
    if not _XCHAR_RUN.fullmatch(text):
        raise GrammarError("not xtext")
    octets = _HEXCHAR.sub(lambda match: bytes.fromhex(match[1].decode("ascii")), text.encode("ascii"))
    try:
        decoded = octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise GrammarError("the xtext hides octets that are not UTF-8") from error
    if not is_clean(decoded):
        raise GrammarError("the xtext hides a control character")
    return decoded


def xtext_encode(text: str) -> str:
    """Text as xtext, RFC 3461 section 4, of its UTF-8 octets."""
    return _NOT_XCHAR.sub(lambda match: b"+%02X" % match[0][0], text.encode("utf-8")).decode("ascii")
