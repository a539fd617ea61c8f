"""The parameters of MAIL and RCPT: `keyword[=value]` words of the service extensions (RFC 5321 section 4.1.1.11).

Used by `protocols.smtp.commands`. What is not known, or belongs to an extension that is not offered, is refused with
555.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from gatepost.protocols.smtp.extensions import ORIGIN, Extensions
from gatepost.protocols.smtp.grammar import is_clean, xtext_decode
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.smtp.server.data import FAULT_REPLIES, ContentFault


class CommandError(Exception):
    """A command that cannot be carried out. reply: what the peer is told. why: what we know, never sent."""

    def __init__(self, reply: Reply, why: str = "") -> None:
        super().__init__(why or reply.text)
        self.reply = reply
        self.why = why


class MailParameters(msgspec.Struct, frozen=True):
    """The parameters of MAIL.

    size: octets, as the client declared (RFC 1870), None if it did not. body: "7BIT", "8BITMIME" (RFC 6152) or
    "BINARYMIME" (RFC 3030). smtputf8: RFC 6531. ret: "", "FULL" or "HDRS", and envid: xtext as given, RFC 3461.
    require_tls: RFC 8689. auth: RFC 4954 section 5, as given, and not passed on. origin: XGATEPOST, as given.
    """

    size: int | None = None
    body: str = "7BIT"
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    require_tls: bool = False
    auth: str = ""
    origin: str = ""


class RecipientParameters(msgspec.Struct, frozen=True):
    """The parameters of RCPT (RFC 3461).

    notify: "", "NEVER", or some of "SUCCESS,FAILURE,DELAY" in this order. orcpt: as given, "type;address".
    """

    notify: str = ""
    orcpt: str = ""


_PARAMETER_UNKNOWN: Final = Reply(555, "5.5.4", ("Parameter is not known or not offered here",))
_PARAMETER_TWICE: Final = Reply(501, "5.5.4", ("Parameter is given twice",))
_PARAMETER_VALUE: Final = Reply(501, "5.5.4", ("Parameter has an invalid value",))
NEEDS_SMTPUTF8: Final = Reply(553, "5.6.7", ("Address has characters beyond US-ASCII; SMTPUTF8 is needed",))
_PLAIN_MAIL: Final = MailParameters()
_PLAIN_RECIPIENT: Final = RecipientParameters()


def parse_mail_parameters(text: str, extensions: Extensions, *, tls_active: bool) -> MailParameters:
    """Parse the parameters of MAIL. tls_active: whether extensions that need TLS are offered.

    Raises CommandError, also if SIZE is more than is announced (RFC 1870 section 6.1).
    """
    if not text:
        return _PLAIN_MAIL
    known = _mail_parameters(
        dsn=extensions.dsn,
        smtputf8=extensions.smtputf8,
        requiretls=extensions.requiretls and tls_active,
        origin=extensions.origin and tls_active,
    )
    parameters = MailParameters(**_parse(text, known))
    if parameters.body == "BINARYMIME" and not extensions.binarymime:
        raise CommandError(_PARAMETER_UNKNOWN, "BINARYMIME is not offered")
    if extensions.size and (parameters.size or 0) > extensions.size:
        raise CommandError(FAULT_REPLIES[ContentFault.TOO_BIG], f"SIZE={parameters.size}")
    return parameters


def parse_recipient_parameters(text: str, extensions: Extensions, *, smtputf8: bool) -> RecipientParameters:
    """Parse the parameters of RCPT. smtputf8: whether MAIL asked for it. Raises CommandError."""
    if not text:
        return _PLAIN_RECIPIENT
    parameters = RecipientParameters(**_parse(text, _RECIPIENT_PARAMETERS if extensions.dsn else {}))
    if not smtputf8 and not parameters.orcpt.isascii():
        raise CommandError(NEEDS_SMTPUTF8, "ORCPT")
    return parameters


def is_number(text: str) -> bool:
    """Whether text is one to twenty ASCII digits, as sizes are (RFC 1870 section 4, RFC 3030 section 2)."""
    return text.isascii() and text.isdigit() and len(text) <= 20


type _Parameters = Mapping[str, tuple[str, Callable[[str | None], object]]]


def _parse(text: str, known: _Parameters) -> dict[str, Any]:
    """Keyword arguments of a parameter record, from `keyword[=value]` words (RFC 5321 section 4.1.1.11)."""
    fields: dict[str, Any] = {}
    for word in text.split(" "):
        if not word:
            continue
        keyword, equals, value = word.partition("=")
        entry = known.get(keyword.upper())
        if entry is None:
            raise CommandError(_PARAMETER_UNKNOWN, keyword)
        field, parse = entry
        if field in fields:
            raise CommandError(_PARAMETER_TWICE, keyword)
        try:
            fields[field] = parse(value if equals else None)
        except ValueError as error:
            raise CommandError(_PARAMETER_VALUE, keyword) from error
    return fields


def _size(value: str | None) -> int | None:
    """RFC 1870 section 5; SIZE=0 says that the client does not know."""
    if value is None or not is_number(value):
        raise ValueError("SIZE is a number of at most 20 digits")
    return int(value) or None


def _one_of(*choices: str) -> Callable[[str | None], str]:
    def parse(value: str | None) -> str:
        upper = (value or "").upper()
        if upper not in choices:
            raise ValueError(f"one of {choices}")
        return upper

    return parse


def _flag(value: str | None) -> bool:
    if value is not None:
        raise ValueError("takes no value")
    return True


def _envid(value: str | None) -> str:
    """RFC 3461 section 4.4: xtext of at most 100 characters."""
    if not value or len(value) > 100:
        raise ValueError("ENVID has 1 to 100 characters")
    xtext_decode(value)
    return value


def _auth(value: str | None) -> str:
    if not value:
        raise ValueError("AUTH has a mailbox")
    if value != "<>":
        xtext_decode(value)
    return value


def _notify(value: str | None) -> str:
    """RFC 3461 section 4.1."""
    message = (value or "").upper().split(",")
    if message == ["NEVER"]:
        return "NEVER"
    if not set(message) <= {"SUCCESS", "FAILURE", "DELAY"}:
        raise ValueError("NEVER stands alone, else SUCCESS, FAILURE and DELAY")
    return ",".join(word for word in ("SUCCESS", "FAILURE", "DELAY") if word in message)


_ORCPT_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")  # RFC 6533 section 3: a code point in ASCII


def _orcpt(value: str | None) -> str:
    """RFC 3461 section 4.2: type ";" xtext, at most 500 characters. RFC 6533 section 3 adds unencoded UTF-8."""
    kind, _, address = (value or "").partition(";")
    if not _ORCPT_TYPE.fullmatch(kind) or not address or len(kind) + len(address) >= 500:
        raise ValueError("ORCPT is type;address")
    if kind.lower() == "utf-8":
        if not is_clean(_EMBEDDED.sub(lambda match: chr(int(match[1], 16)), address)):
            raise ValueError("ORCPT has a control character")
    else:
        xtext_decode(address)
    return f"{kind};{address}"


def _origin(value: str | None) -> str:
    if not value or _BASE64URL.fullmatch(value) is None:
        raise ValueError("XGATEPOST has base64url")
    return value


@lru_cache(maxsize=16)
def _mail_parameters(*, dsn: bool, smtputf8: bool, requiretls: bool, origin: bool) -> _Parameters:
    """The parameters that MAIL may have where these extensions are offered."""
    known: dict[str, tuple[str, Callable[[str | None], object]]] = {
        "SIZE": ("size", _size),
        "BODY": ("body", _one_of("7BIT", "8BITMIME", "BINARYMIME")),
        "AUTH": ("auth", _auth),
    }
    if dsn:
        known |= {"RET": ("ret", _one_of("FULL", "HDRS")), "ENVID": ("envid", _envid)}
    if smtputf8:
        known["SMTPUTF8"] = ("smtputf8", _flag)
    if requiretls:
        known["REQUIRETLS"] = ("require_tls", _flag)
    if origin:
        known[ORIGIN] = ("origin", _origin)
    return known


_RECIPIENT_PARAMETERS: Final[_Parameters] = {"NOTIFY": ("notify", _notify), "ORCPT": ("orcpt", _orcpt)}
