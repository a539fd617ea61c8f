"""Split a message for S/MIME: the fields that stay outside, and the MIME entity to sign or encrypt.

Called by `mail.outbound.smime` (RFC 8551 section 3.1). Octets in, octets out: no part of the content is parsed, changed
or encoded anew, so that what is signed is what was sent.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Final

import msgspec

_BETWEEN: Final = re.compile(rb"(?<=\r\n)(?![ \t])")  # fields
_PKCS7: Final = re.compile(rb"application/(?:x-)?pkcs7-mime", re.IGNORECASE)
_SMIME_TYPE: Final = re.compile(rb";\s*smime-type\s*=\s*\"?([a-z-]+)", re.IGNORECASE)
_ENVELOPED_TYPES: Final = {b"enveloped-data", b"authenveloped-data"}
_LINE: Final = 998
_PIECE: Final = 57 << 14  # octets that are encoded at a time: whole lines, and little memory
_TEXT: Final = 1 << 20  # letters that are decoded at a time, so few that other threads have their turn in between


class MimeMessage(msgspec.Struct, frozen=True):
    """header: the fields that belong to the message. mime: those that describe its content. body: what follows."""

    header: bytes
    mime: bytes
    body: bytes

    @property
    def entity(self) -> bytes:
        """The content as an entity of its own: without MIME-Version, which belongs to the message (RFC 2045)."""
        fields = without_fields(self.mime, {b"mime-version"})
        if not fields_of(fields, b"content-type"):
            charset = b"; charset=us-ascii" if self.body.isascii() else b""
            fields = b"Content-Type: text/plain" + charset + b"\r\n" + fields
        return fields + b"\r\n" + self.body

    @property
    def enveloped(self) -> bytes:
        """The CMS structure, if the content says of itself that it is encrypted by S/MIME; b"" if not, or if no base64.

        What it says may be untrue.
        """
        kind = _value(self.mime, b"content-type")
        match = _SMIME_TYPE.search(kind)
        if not _PKCS7.match(kind) or (match and match[1].lower() not in _ENVELOPED_TYPES):
            return b""
        encoding = _value(self.mime, b"content-transfer-encoding").lower()
        if encoding == b"binary":
            return self.body
        try:
            return _decoded(self.body) if encoding == b"base64" else b""
        except binascii.Error:
            return b""

    def with_content(self, fields: bytes, body: bytes) -> bytes:
        """The message with other content. fields: what describes that, each ended by CRLF."""
        return b"".join((self.header, b"MIME-Version: 1.0\r\n", fields, b"\r\n", body))


def split(message: bytes) -> MimeMessage:
    """A whole message, taken apart. Without an empty line all of it is header section."""
    end = message.find(b"\r\n\r\n")
    section, body = (message[: end + 2], message[end + 4 :]) if end >= 0 else (message, b"")
    if message.startswith(b"\r\n"):
        section, body = b"", message[2:]
    section = section if section.endswith(b"\r\n") or not section else section + b"\r\n"
    header: list[bytes] = []
    mime: list[bytes] = []
    for field in _fields(section):
        name = _name(field)
        (mime if name == b"mime-version" or name.startswith(b"content-") else header).append(field)
    return MimeMessage(b"".join(header), b"".join(mime), body)


def fields_of(section: bytes, name: bytes) -> bytes:
    """The fields of one name in a header section, b"" if there is none. name: in lower case."""
    return b"".join(field for field in _fields(section) if _name(field) == name)


def without_fields(section: bytes, names: Iterable[bytes]) -> bytes:
    """A header section without the fields of some names, in lower case."""
    unwanted = frozenset(names)
    return b"".join(field for field in _fields(section) if _name(field) not in unwanted)


def _fields(section: bytes) -> list[bytes]:
    return [field for field in _BETWEEN.split(section) if field]


def _name(field: bytes) -> bytes:
    """In lower case; a blank before the colon is the obsolete form (RFC 5322 section 4.5.8)."""
    return field.partition(b":")[0].strip().lower()


def _value(section: bytes, name: bytes) -> bytes:
    values = (field.partition(b":")[2] for field in _fields(section) if _name(field) == name)
    return next(values, b"").replace(b"\r\n", b"").strip()


def clear_signable(entity: bytes) -> bool:
    """Whether its lines all end in CRLF, so that a signature over it as it stands can be verified (RFC 8551 3.1.1)."""
    return entity.count(b"\r\n") == entity.count(b"\n") == entity.count(b"\r")


def seven_bit(entity: bytes) -> bool:
    """Whether every mail system hands it on unchanged: US-ASCII in lines of at most 998 octets (RFC 8551 3.1.3)."""
    return entity.isascii() and b"\0" not in entity and max(map(len, entity.split(b"\r\n"))) <= _LINE


def body_type(message: bytes) -> str:
    """The type of a whole message for BODY= of MAIL (RFC 6152, RFC 3030).

    A header or body with a CR or LF of its own, or with NUL, is BINARYMIME: DATA would let the next server see another
    end of the message in it.
    """
    if not clear_signable(message) or b"\0" in message:
        return "BINARYMIME"
    return "7BIT" if message.isascii() else "8BITMIME"


def opaque(cms: bytes, smime_type: str) -> tuple[bytes, bytes]:
    """Fields and body of content that is CMS as a whole (RFC 8551 section 3.2). smime_type: "enveloped-data"."""
    fields = (
        f'Content-Type: application/pkcs7-mime; smime-type={smime_type};\r\n name="smime.p7m"\r\n'
        "Content-Transfer-Encoding: base64\r\n"
        'Content-Disposition: attachment; filename="smime.p7m"\r\n'
    )
    return fields.encode(), base64_lines(cms)


def multipart_signed(entity: bytes, signature: bytes, boundary: str) -> tuple[bytes, bytes]:
    """Fields and body of an entity that is signed and stays readable (RFC 8551 section 3.5.3, RFC 1847).

    signature: SignedData over the entity by SHA-256, which is not in it. boundary: unguessable, of letters and digits.
    """
    fields = (
        'Content-Type: multipart/signed; protocol="application/pkcs7-signature";\r\n'
        f' micalg=sha-256; boundary="{boundary}"\r\n'
    )
    part = (
        'Content-Type: application/pkcs7-signature; name="smime.p7s"\r\n'
        "Content-Transfer-Encoding: base64\r\n"
        'Content-Disposition: attachment; filename="smime.p7s"\r\n\r\n'
    )
    line = f"--{boundary}".encode()
    said = b"This is a message signed by S/MIME (RFC 8551).\r\n\r\n"
    parts = (
        said,
        line,
        b"\r\n",
        entity,
        b"\r\n",
        line,
        b"\r\n",
        part.encode(),
        base64_lines(signature),
        line,
        b"--\r\n",
    )
    return fields.encode(), b"".join(parts)


def base64_lines(octets: bytes) -> bytes:
    """Base64 in lines of 76, each ended by CRLF (RFC 2045 section 6.8)."""
    pieces = (octets[at : at + _PIECE] for at in range(0, len(octets), _PIECE))
    return b"".join(base64.encodebytes(piece).replace(b"\n", b"\r\n") for piece in pieces)


def _decoded(lines: bytes) -> bytes:
    """Raises binascii.Error."""
    text = lines.translate(None, b" \t\r\n")
    return b"".join(base64.b64decode(text[at : at + _TEXT], validate=True) for at in range(0, len(text), _TEXT))
