"""PLAIN, and the rules that SASL mechanisms share (RFC 4422, 4616, 4013). SCRAM is in `protocols.smtp.scram`.

Used by `mail.inbound.login` and by whoever stores a password. No secret is in the text of an error.
"""

from __future__ import annotations

import stringprep
import unicodedata

from gatepost.values import RedactedStruct

_NAME_OCTETS = 512
_PASSWORD_OCTETS = 1024

_PROHIBITED = (  # RFC 4013 section 2.3
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


class SaslError(Exception):
    """A message of a mechanism that breaks its grammar. The text is for us, and holds nothing of the message."""


class PlainMessage(RedactedStruct, frozen=True):
    """The one message of PLAIN. authzid: whom to act as, "" for oneself. Names and password are prepared."""

    REDACTED = ("password",)

    authzid: str
    name: str
    password: str


def parse_plain(message: bytes) -> PlainMessage:
    """The message of RFC 4616 section 2. Raises SaslError."""
    parts = message.split(b"\0")
    if len(parts) != 3:
        raise SaslError("PLAIN needs authzid NUL authcid NUL password")
    try:
        authzid, name, password = (part.decode("utf-8") for part in parts)
    except UnicodeDecodeError:
        raise SaslError("PLAIN is not UTF-8") from None
    if not name or not password:
        raise SaslError("PLAIN without a name or a password")
    if len(parts[0]) > _NAME_OCTETS or len(parts[1]) > _NAME_OCTETS or len(parts[2]) > _PASSWORD_OCTETS:
        raise SaslError("PLAIN with a name or a password that is too long")
    return PlainMessage(saslprep(authzid), saslprep(name), saslprep(password))


def saslprep(text: str) -> str:
    """A name or password as two keyboards that mean the same write it (RFC 4013). Raises SaslError."""
    if text.isascii() and text.isprintable():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if not stringprep.in_table_b1(character)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    if any(prohibited(character) for character in prepared for prohibited in _PROHIBITED):
        raise SaslError("a character that no name or password may have")
    if any(stringprep.in_table_d1(character) for character in prepared):
        ends = stringprep.in_table_d1(prepared[0]) and stringprep.in_table_d1(prepared[-1])
        if not ends or any(stringprep.in_table_d2(character) for character in prepared):
            raise SaslError("text of two directions mixed")
    return prepared
