"""Scan the header section of a streamed message for the facts a gateway needs (RFC 5322, 2047, 8689).

`mail.inbound.transaction` feeds chunks to a `HeaderScanner` until it is done, `mail.outbound.body` asks `field_values`
where mail flow rules need some; the message itself is never changed or parsed further. Speed matters here:
whole-section searches, no loop over lines.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from encodings import normalize_encoding
from encodings.aliases import aliases
from itertools import islice

import msgspec

from gatepost.protocols.message.header_text import shown_text

_SUBJECT_CHARACTERS = 256  # what a trace keeps, exchange.md section 13
_SUBJECT_OCTETS = 2048  # encoded words of that many characters
_MESSAGE_ID_OCTETS = 998  # a line, RFC 5322 section 2.1.1
_ADDRESS_OCTETS = 512
_DELIVERED_TO = 100

_TLS_REQUIRED_OCTETS = 998
# The one value of TLS-Required, with comments around it (RFC 8689 section 3).
_NO = re.compile(rb"(?:\s|\([^()\\]*\))*no(?:\s|\([^()\\]*\))*", re.IGNORECASE)
_LINE_END, _FOLD = re.compile(r"\r?\n"), re.compile(r"\r?\n(?=[ \t]+\S)")
_ENCODED_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?\s]*)\?=")

# Python looks for a codec that it does not know in its folders, and keeps each name for ever: who writes a subject must
# not have it do that. Names as `normalize_encoding` makes them. Other codecs of Python are no charsets of mail.
_CHARSETS = frozenset({*aliases, *aliases.values(), "cp720", "cp737", "cp856", "cp874", "cp1006", "koi8_t", "koi8_u"})


class HeaderFacts(msgspec.Struct, frozen=True):
    """The facts of a header section.

    message_id: of the first Message-ID, brackets included. subject: of the first Subject, decoded and printable, at
    most 256 characters. received_count: Received fields. delivered_to: addresses of Delivered-To fields, at most 100.
    tls_required_no: "TLS-Required: No" (RFC 8689 section 3), once. bytes: octets of it, the empty line left out.
    """

    message_id: str
    subject: str
    received_count: int
    delivered_to: tuple[str, ...]
    tls_required_no: bool
    bytes: int


class HeaderScanner:
    """Collects a header section.

    done: nothing more need be fed. too_large: the section has more than `limit` octets; nothing of it is kept then.
    """

    __slots__ = ("_buffer", "_facts", "_limit", "done", "too_large")

    def __init__(self, limit: int) -> None:
        """limit: octets of the section, the empty line left out."""
        self.done = False
        self.too_large = False
        self._limit = limit
        self._buffer = bytearray()
        self._facts: HeaderFacts | None = None

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk of the message, cut anywhere; what comes after the section is ignored."""
        if self.done:
            return
        buffer: bytes | bytearray = chunk  # most messages show the whole section at once: no copy then
        begin = 0
        if self._buffer:
            begin = max(len(self._buffer) - 3, 0)
            self._buffer += chunk
            buffer = self._buffer
        if buffer.startswith(b"\r\n"):
            self._end(buffer, 0)
        elif (end := buffer.find(b"\r\n\r\n", begin)) >= 0:
            self._end(buffer, end + 2)
        elif len(buffer) > self._limit + 2:
            self._end(buffer, len(buffer))
        elif buffer is chunk:
            self._buffer += chunk

    def finish(self) -> None:
        """The message has ended: without an empty line, all of it is header section."""
        if not self.done:
            self._end(self._buffer, len(self._buffer))

    @property
    def facts(self) -> HeaderFacts:
        """The facts, of an empty section if it is too large. Raises RuntimeError before the scanner is done."""
        if self._facts is None:
            raise RuntimeError("the header section is not complete")
        return self._facts

    def _end(self, buffer: bytes | bytearray, size: int) -> None:
        self.done = True
        self.too_large = size > self._limit
        self._facts = _facts(b"" if self.too_large else bytes(buffer[:size]))
        self._buffer = bytearray()


def field_values(section: bytes, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The values of all fields of some names, unfolded and with their encoded words decoded, by the name.

    section: a whole header section. names: in lower case; those without a field are left out. Nothing is cut off: what
    a rule looks for must not be hidden behind much of something else.
    """
    text = b"\r\n" + section
    lower = text.lower()
    result = {}
    for name in names:
        values = _values(text, lower, name.encode("ascii"))
        if decoded := tuple(decode_words(value.decode("utf-8", "replace")) for value in values):
            result[name] = decoded
    return result


def unfolded(section: str) -> list[str]:
    """The fields of a header section as text, each as one line, with all that it has (RFC 5322 section 2.2.3)."""
    return [line for line in _LINE_END.split(_FOLD.sub("", section)) if line.strip()]


def decode_words(text: str) -> str:
    """Text with its encoded words decoded (RFC 2047). What cannot be decoded stays as it is. Never raises."""
    parts: list[str] = []
    run: tuple[str, bytearray] | None = (
        None  # adjacent words of one charset: mailers cut characters in two between them
    )
    last = 0
    for match in _ENCODED_WORD.finditer(text):
        between = text[last : match.start()]
        last = match.end()
        charset, content = match[1].partition("*")[0].lower(), _content(match[2], match[3])
        if run is not None and run[0] == charset and (not between or between.isspace()):
            run[1].extend(content)
            continue
        if run is not None:
            parts.append(_decoded(*run))
        if run is None or not between.isspace():
            parts.append(between)
        run = charset, bytearray(content)
    if run is not None:
        parts.append(_decoded(*run))
    return "".join([*parts, text[last:]])


def _content(encoding: str, encoded: str) -> bytes:
    octets = encoded.encode("utf-8", "replace")
    if encoding in "qQ":
        return binascii.a2b_qp(octets, header=True)
    try:
        return binascii.a2b_base64(octets + b"===")
    except binascii.Error:
        return octets


def _decoded(charset: str, content: bytearray) -> str:
    known = normalize_encoding(charset) in _CHARSETS
    try:
        return content.decode(charset if known else "utf-8", "replace")
    except (LookupError, ValueError):  # known, but no charset, as base64 is none
        return content.decode("utf-8", "replace")


def _facts(section: bytes) -> HeaderFacts:
    text = b"\r\n" + section
    lower = text.lower()
    subject = _text(next(_values(text, lower, b"subject"), b""), _SUBJECT_OCTETS)
    if "=?" in subject:
        subject = decode_words(subject)
    return HeaderFacts(
        message_id=shown_text(
            _text(next(_values(text, lower, b"message-id"), b""), _MESSAGE_ID_OCTETS), _MESSAGE_ID_OCTETS
        ),
        subject=shown_text(subject, _SUBJECT_CHARACTERS),
        received_count=lower.count(b"\r\nreceived:"),
        delivered_to=_delivered_to(text, lower),
        tls_required_no=_tls_required_no(text, lower),
        bytes=len(section),
    )


def _delivered_to(text: bytes, lower: bytes) -> tuple[str, ...]:
    if lower.find(b"\r\ndelivered-to:") < 0:  # `in` takes twice as long
        return ()
    values = islice(_values(text, lower, b"delivered-to"), _DELIVERED_TO)
    return tuple(shown_text(_text(value, _ADDRESS_OCTETS), _ADDRESS_OCTETS) for value in values)


def _tls_required_no(text: bytes, lower: bytes) -> bool:
    """Whether the field is there with the one value it has (RFC 8689 section 3).

    It must not stand twice. With two, as with any other value, nobody can say what is meant, and nothing is given up.
    """
    if lower.find(b"\r\ntls-required") < 0:
        return False
    values = list(islice(_values(text, lower, b"tls-required"), 2))
    if len(values) != 1 or len(values[0]) > _TLS_REQUIRED_OCTETS or not _NO.fullmatch(values[0]):
        return False
    # Nor may it stand there once more in the obsolete form, with a blank before the colon (RFC 5322 section 4.5).
    return b"\r\ntls-required " not in lower and b"\r\ntls-required\t" not in lower


def _text(value: bytes, limit: int) -> str:
    return value[:limit].decode("utf-8", "replace")


def _values(text: bytes, lower: bytes, name: bytes) -> Iterator[bytes]:
    """The unfolded values of the fields of one name. name: in lower case; lower: text in lower case."""
    key = b"\r\n" + name + b":"
    at = lower.find(key)
    while at >= 0:
        begin = at + len(key)
        end = text.find(b"\r\n", begin)
        while end >= 0 and text[end + 2 : end + 3] in {b" ", b"\t"}:
            end = text.find(b"\r\n", end + 2)
        end = len(text) if end < 0 else end
        yield text[begin:end].replace(b"\r\n", b"").strip()
        at = lower.find(key, end)
