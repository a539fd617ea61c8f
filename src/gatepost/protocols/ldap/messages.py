"""Requests to a directory and its answers (RFC 4511): simple bind, search for one entry, StartTLS. Pure.

Used by `net.lookups.ldap`, which numbers requests and sends one at a time.
"""

from __future__ import annotations

from enum import IntEnum
from itertools import islice
from typing import Final

import msgspec

from gatepost.protocols.ldap import ber

MESSAGE_OCTETS: Final = 64 * 1024
"""Of an answer at most: an entry without attributes has the octets of its name."""

_START_TLS: Final = b"1.3.6.1.4.1.1466.20037"
_NO_ATTRIBUTES: Final = b"1.1"  # RFC 4511 section 4.5.1.8
_SUBTREE, _NEVER_DEREFERENCE, _FALSE = 2, 0, b"\x01\x01\x00"
_BIND, _UNBIND, _SEARCH, _EXTENDED = 0x60, 0x42, 0x63, 0x77
_SIMPLE, _REQUEST_NAME = 0x80, 0x80
_VERSION: Final = 3
_REFERENCE_OCTETS: Final = 200
_MOST_REFERENCES: Final = 4


class LdapError(Exception):
    """Octets that are no message of LDAP, or one that must not come here. The text is for us."""


class Operation(IntEnum):
    """The kind of an answer, as its tag."""

    BOUND = 0x61
    ENTRY = 0x64
    SEARCHED = 0x65
    REFERENCE = 0x73
    EXTENDED = 0x78


class ResultCode(IntEnum):
    """Result codes that mean something here (RFC 4511 appendix A)."""

    SUCCESS = 0
    SIZE_LIMIT_EXCEEDED = 4
    REFERRAL = 10
    NO_SUCH_OBJECT = 32
    INVALID_CREDENTIALS = 49


_NAMES: Final = {
    1: "operationsError",
    2: "protocolError",
    3: "timeLimitExceeded",
    8: "strongerAuthRequired",
    10: "referral",
    11: "adminLimitExceeded",
    13: "confidentialityRequired",
    32: "noSuchObject",
    34: "invalidDNSyntax",
    48: "inappropriateAuthentication",
    49: "invalidCredentials",
    50: "insufficientAccessRights",
    51: "busy",
    52: "unavailable",
    53: "unwillingToPerform",
    80: "other",
}


class LdapResult(msgspec.Struct, frozen=True):
    """The result of a request. diagnostic: what the server says of it, as it came."""

    code: int
    diagnostic: str = ""

    @property
    def text(self) -> str:
        """The result in words, fit for a line of text."""
        name = _NAMES.get(self.code, "result")
        said = "".join(char if char.isprintable() else " " for char in self.diagnostic[:200]).strip()
        return f"{name} ({self.code}){f': {said}' if said else ''}"


class LdapAnswer(msgspec.Struct, frozen=True):
    """One message of the server. number: of the request, 0 if nobody asked. result: None of an entry or reference.

    references: addresses of other servers that a reference names (RFC 4511 section 4.5.3).
    """

    number: int
    operation: Operation
    result: LdapResult | None
    references: tuple[str, ...] = ()


def start_tls_request(number: int) -> bytes:
    """Ask for TLS on this connection (RFC 4511 section 4.14)."""
    return _message(number, ber.encode(_EXTENDED, ber.encode(_REQUEST_NAME, _START_TLS)))


def bind_request(number: int, name: str, password: str) -> bytes:
    """Log in with a name and a password.

    Raises ValueError without a password: a server would take that for an anonymous log-in and agree (RFC 4513 section
    5.1.2).
    """
    if not password:
        raise ValueError("a bind without a password proves nothing")
    simple = ber.encode(_SIMPLE, password.encode())
    return _message(
        number, ber.encode(_BIND, ber.encode_number(_VERSION), ber.encode(ber.OCTET_STRING, name.encode()), simple)
    )


def search_request(number: int, base: str, encoded_filter: bytes, seconds: int) -> bytes:
    """Ask for one entry below a base, without its attributes. seconds: that the server may take."""
    return _message(
        number,
        ber.encode(
            _SEARCH,
            ber.encode(ber.OCTET_STRING, base.encode()),
            ber.encode_number(_SUBTREE, ber.ENUMERATED),
            ber.encode_number(_NEVER_DEREFERENCE, ber.ENUMERATED),
            ber.encode_number(1),
            ber.encode_number(seconds),
            _FALSE,
            encoded_filter,
            ber.encode(ber.SEQUENCE, ber.encode(ber.OCTET_STRING, _NO_ATTRIBUTES)),
        ),
    )


def unbind_request(number: int) -> bytes:
    """Say that the connection ends. There is no answer."""
    return _message(number, ber.encode(_UNBIND))


def message_size(data: bytes) -> int | None:
    """The octets of the message that the data begins with, None if that cannot be said yet. Raises LdapError."""
    try:
        return ber.element_size(data, MESSAGE_OCTETS)
    except ber.BerError as error:
        raise LdapError(f"no message of LDAP: {error}") from error


def read_message(data: bytes) -> LdapAnswer:
    """The message that the data is. Raises LdapError."""
    try:
        outer = ber.decode(data)
        if outer.tag != ber.SEQUENCE:
            raise ber.BerError("it is no sequence")
        number, operation, *_ = outer.elements()
        if number.tag != ber.INTEGER:
            raise ber.BerError("it has no number")
        kind = Operation(operation.tag)
        if kind is Operation.REFERENCE:
            return LdapAnswer(number.number(), kind, None, _references(operation))
        return LdapAnswer(number.number(), kind, None if kind is Operation.ENTRY else _result(operation))
    except ValueError as error:
        raise LdapError(f"no message of LDAP: {error}") from error


def _references(operation: ber.Element) -> tuple[str, ...]:
    """The addresses in a reference, fit for a line of text; of many the first."""
    urls = islice(operation.elements(), _MOST_REFERENCES)
    texts = (element.content[:_REFERENCE_OCTETS].decode("utf-8", "replace") for element in urls)
    return tuple("".join(char if char.isprintable() else " " for char in text) for text in texts)


def _result(operation: ber.Element) -> LdapResult:
    code, _, diagnostic, *_ = operation.elements()
    if code.tag != ber.ENUMERATED or diagnostic.tag != ber.OCTET_STRING:
        raise ber.BerError("a result without its code")
    return LdapResult(code.number(), diagnostic.content.decode("utf-8", "replace"))


def _message(number: int, operation: bytes) -> bytes:
    return ber.encode(ber.SEQUENCE, ber.encode_number(number), operation)
