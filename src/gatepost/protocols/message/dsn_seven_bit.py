"""Convert a notification of `protocols.message.dsn` to 7 bits, for a next hop without 8BITMIME or SMTPUTF8.

Called by `mail.outbound.body`. Each part keeps its octets under a transfer encoding that its type allows: only
the types of RFC 6532 and 6533 may be encoded, message/rfc822 may not (RFC 2045 section 6.4), so that an original goes
as message/global in base64 (RFC 6532 section 3.7).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from gatepost.protocols.message.header_text import encoded_words, fold
from gatepost.protocols.smtp.client.transaction import ascii_form

_BETWEEN: Final = re.compile(rb"(?<=\r\n)(?![ \t])")  # fields
_BOUNDARY: Final = re.compile(rb"\r\nContent-Type: multipart/report;[^:]*?boundary=\"([^\"\r\n]+)\"")
_ORIGINAL: Final = re.compile(rb"Content-Type: message/(?:rfc822|global)\r\n")
_ENCODING: Final = re.compile(rb"(Content-Transfer-Encoding: )8bit\r\n")


def seven_bit_dsn(notice: bytes) -> bytes:
    """The notification in US-ASCII. What is no notification of `protocols.message.dsn` comes back as it is."""
    section, blank, body = notice.partition(b"\r\n\r\n")
    match = _BOUNDARY.search(b"\r\n" + section)
    if match is None or not blank:
        return notice
    header = _ENCODING.sub(rb"\g<1>7bit\r\n", b"".join(map(_field, _BETWEEN.split(section + b"\r\n"))))
    delimiter = b"\r\n--" + match[1]
    return header + b"\r\n" + delimiter.join(map(_part, body.split(delimiter)))


def original_part(octets: bytes) -> bytes:
    """The part that holds a whole message in 7 bits. octets: the message, CRLF at its end."""
    encoded = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    return b"Content-Type: message/global\r\nContent-Transfer-Encoding: base64\r\n\r\n" + encoded


def _field(field: bytes) -> bytes:
    """A header field. Beyond US-ASCII are the subject and the address that it is for, nothing else."""
    if field.isascii():
        return field
    name, _, value = field.decode("utf-8", "replace").replace("\r\n", "").partition(":")
    if name == "Subject":
        return fold([f"{name}:", *encoded_words(" ".join(value.split())).split()]).encode() + b"\r\n"
    address = ascii_form(value.strip(" \t<>")) or ""
    text = f"{name}: <{address}>" if address else f"{name}:{value}"
    return text.encode("ascii", "replace") + b"\r\n"


def _part(part: bytes) -> bytes:
    """Convert the part between two delimiters."""
    if part.isascii():
        return part
    head, _, content = part.partition(b"\r\n\r\n")
    if _ORIGINAL.search(head + b"\r\n"):
        return b"\r\n" + original_part(content)
    head = _ENCODING.sub(rb"\g<1>quoted-printable\r\n", head + b"\r\n")
    return head + b"\r\n" + binascii.b2a_qp(content)
