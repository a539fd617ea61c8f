"""Command lines of RFC 5321 section 4.1.1 and their parameters, parsed into values.

Used by `protocols.smtp.server.server`, which decides by its table whether a command may come now. A line that cannot be
carried out raises `CommandError` with the reply to give; nothing here knows what was said before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import Final

from gatepost.protocols.smtp.extensions import XCLIENT_ATTRIBUTES, Extensions
from gatepost.protocols.smtp.grammar import (
    AddressFault,
    GrammarError,
    Path,
    is_clean,
    parse_hello_domain,
    parse_path,
    xtext_decode,
)
from gatepost.protocols.smtp.parameters import (
    NEEDS_SMTPUTF8,
    CommandError,
    MailParameters,
    RecipientParameters,
    is_number,
    parse_mail_parameters,
    parse_recipient_parameters,
)
from gatepost.protocols.smtp.replies import Reply


class Verb(StrEnum):
    """The commands that are carried out."""

    EHLO = "EHLO"
    HELO = "HELO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BDAT = "BDAT"
    RSET = "RSET"
    NOOP = "NOOP"
    VRFY = "VRFY"
    HELP = "HELP"
    QUIT = "QUIT"
    XCLIENT = "XCLIENT"


# Known to RFCs, not to us: 502, where a word that nobody knows gets 500 (RFC 5321 section 4.2.4).
UNIMPLEMENTED_VERBS: Final = frozenset({"BURL", "ETRN", "EXPN", "SAML", "SEND", "SOML", "TURN", "ATRN"})
# How HTTP begins. A web client made to talk to us would go on with text that an attacker chose.
# PROXY is how the protocol of that name begins: who may send it is not answered before it has (`net.listener`).
FOREIGN_VERBS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PROXY", "PUT", "TRACE"}
)

_UNCLEAN_LINE: Final = Reply(500, "5.5.2", ("Command has a NUL or another control character",))
_NOT_UTF8: Final = Reply(500, "5.5.2", ("Command is not valid UTF-8",))
_NOT_ASCII: Final = Reply(500, "5.5.2", ("Command has characters beyond US-ASCII",))
_NO_ARGUMENTS: Final = Reply(501, "5.5.4", ("This command takes no arguments",))
_HELLO_SYNTAX: Final = Reply(501, "5.5.4", ("Syntax: EHLO domain",))
_MAIL_SYNTAX: Final = Reply(501, "5.5.4", ("Syntax: MAIL FROM:<address> [parameters]",))
_RCPT_SYNTAX: Final = Reply(501, "5.5.4", ("Syntax: RCPT TO:<address> [parameters]",))
_BDAT_SYNTAX: Final = Reply(501, "5.5.4", ("Syntax: BDAT size [LAST]",))
_XCLIENT_SYNTAX: Final = Reply(501, "5.5.4", ("Syntax: XCLIENT attribute=value, with ADDR",))
_VRFY_SYNTAX: Final = Reply(501, "5.5.4", ("Syntax: VRFY address",))
_SENDER_REPLIES: Final[Mapping[AddressFault, Reply]] = {
    AddressFault.SYNTAX: Reply(501, "5.1.7", ("Bad sender address syntax",)),
    AddressFault.SOURCE_ROUTE: Reply(553, "5.1.7", ("Source routes are not accepted",)),
    AddressFault.NEEDS_SMTPUTF8: NEEDS_SMTPUTF8,
}
_RECIPIENT_REPLIES: Final[Mapping[AddressFault, Reply]] = {
    AddressFault.SYNTAX: Reply(501, "5.1.3", ("Bad recipient address syntax",)),
    AddressFault.SOURCE_ROUTE: Reply(553, "5.1.3", ("Source routes are not accepted",)),
    AddressFault.NEEDS_SMTPUTF8: NEEDS_SMTPUTF8,
}

# The end of a path is the first ">" outside quotes.
_PATH_WITH_QUOTES = re.compile(r'<(?:[^">]|"(?:[^"\\]|\\.)*+")*+>')


def decode_line(line: bytes) -> str:
    """A command line, its CRLF taken off, as text; white space at its end is allowed (RFC 5321 section 4.1.1).

    Raises CommandError for control characters, NUL among them, for octets that are not UTF-8, and for characters beyond
    US-ASCII where SMTPUTF8 has no place for them (RFC 6531 section 3.3: addresses).
    """
    try:
        text = line.decode("ascii")
    except UnicodeDecodeError:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            raise CommandError(_NOT_UTF8) from None
        if text[:5].upper() not in {"MAIL ", "RCPT "}:
            raise CommandError(_NOT_ASCII) from None
    if text.isprintable() and text[-1:] != " ":
        return text
    text = text.rstrip(" \t")
    if not is_clean(text):
        raise CommandError(_UNCLEAN_LINE)
    return text


def parse_nothing(arguments: str) -> None:
    """For DATA, RSET, QUIT and STARTTLS, which take no arguments. Raises CommandError."""
    if arguments:
        raise CommandError(_NO_ARGUMENTS)


def parse_hello(arguments: str) -> str:
    """The domain of EHLO or HELO. Raises CommandError."""
    try:
        return parse_hello_domain(arguments)
    except GrammarError as error:
        raise CommandError(_HELLO_SYNTAX, error.why) from error


def parse_verify(arguments: str) -> str:
    """Parse the argument of VRFY. Raises CommandError."""
    if not arguments:
        raise CommandError(_VRFY_SYNTAX)
    return arguments


def parse_xclient(arguments: str) -> tuple[str, int]:
    """Address and port of the client that XCLIENT names (Postfix, XCLIENT_README); port 0 where it names none.

    Other attributes that are offered are read and not believed: they prove nothing. Raises CommandError, also for
    LOGIN, which is not offered.
    """
    given: dict[str, str] = {}
    for word in arguments.split():
        name, _, value = word.partition("=")
        if name.upper() not in XCLIENT_ATTRIBUTES or name.upper() in given:
            raise CommandError(_XCLIENT_SYNTAX, f"{name[:20]} is not offered, or stands there twice")
        try:
            given[name.upper()] = xtext_decode(value)
        except GrammarError as error:
            raise CommandError(_XCLIENT_SYNTAX, error.why) from error
    port = given.get("PORT", "0")
    try:
        address = ip_address(given.get("ADDR", "").removeprefix("IPV6:").removeprefix("ipv6:"))
    except ValueError:
        raise CommandError(_XCLIENT_SYNTAX, "ADDR is not an address") from None
    if isinstance(address, IPv6Address):
        if address.scope_id:
            raise CommandError(_XCLIENT_SYNTAX, "ADDR has a zone")
        address = address.ipv4_mapped or address
    return str(address), int(port) if is_number(port) and len(port) <= 5 and int(port) < 65536 else 0


def parse_bdat(arguments: str) -> tuple[int, bool]:
    """Size in octets and whether the chunk is the last (RFC 3030 section 2). Raises CommandError."""
    size, _, last = arguments.partition(" ")
    if not is_number(size) or last.upper() not in {"", "LAST"}:
        raise CommandError(_BDAT_SYNTAX)
    return int(size), last != ""


def parse_mail(arguments: str, extensions: Extensions, *, tls_active: bool) -> tuple[Path, MailParameters]:
    """Reverse-path and parameters. tls_active: whether what is offered only under TLS is. Raises CommandError."""
    path_text, parameters_text = _split_path(arguments, "FROM:", _MAIL_SYNTAX)
    parameters = parse_mail_parameters(parameters_text, extensions, tls_active=tls_active)
    try:
        path = parse_path(path_text, smtputf8=parameters.smtputf8)
    except GrammarError as error:
        raise CommandError(_SENDER_REPLIES[error.fault], error.why) from error
    if path.local_part and not path.domain:
        raise CommandError(_SENDER_REPLIES[AddressFault.SYNTAX], "a reverse-path has a domain")
    return path, parameters


def parse_recipient(arguments: str, extensions: Extensions, *, smtputf8: bool) -> tuple[Path, RecipientParameters]:
    """Forward-path and parameters. smtputf8: whether MAIL asked for it. Raises CommandError."""
    path_text, parameters_text = _split_path(arguments, "TO:", _RCPT_SYNTAX)
    try:
        path = parse_path(path_text, smtputf8=smtputf8)
    except GrammarError as error:
        raise CommandError(_RECIPIENT_REPLIES[error.fault], error.why) from error
    if not path.text:
        raise CommandError(_RECIPIENT_REPLIES[AddressFault.SYNTAX], "a forward-path is not null")
    return path, parse_recipient_parameters(parameters_text, extensions, smtputf8=smtputf8)


def _split_path(arguments: str, prefix: str, syntax: Reply) -> tuple[str, str]:
    """The path with its angle brackets, and what follows it. White space after the colon is common and harmless."""
    length = len(prefix)
    if arguments[:length].upper() != prefix:
        raise CommandError(syntax)
    rest = arguments[length:].lstrip(" ")
    if '"' in rest:
        match = _PATH_WITH_QUOTES.match(rest)
        end = match.end() if match else 0
    else:
        end = rest.find(">") + 1
    path, rest = rest[:end], rest[end:]
    if not path or (rest and rest[0] != " "):
        raise CommandError(syntax)
    return path, rest[1:]
