"""TXT records of the form "v=VERSION; name=value; …", as MTA-STS and TLS reporting publish them.

RFC 8461 section 3.1 and RFC 8460 section 3 write the same grammar down twice. Used by `protocols.mtasts.record` and
`protocols.tlsrpt.record`, which know what their field means. Pure text: the caller asks the DNS.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

_MAX_BYTES: Final = 4096  # of one record that is looked at
_SHOWN: Final = 60

_BLANKS: Final = " \t"  # around a delimiter
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}"
_PRINTABLE: Final = r"[\x21-\x3a\x3c\x3e-\x7e]+"  # all but space, ";" and "="


class RecordError(msgspec.Struct, frozen=True):
    """The domain means to publish something, but its TXT records cannot be used. detail: a sentence for us."""

    detail: str


class TextRecord:
    """One kind of record.

    version: the text after "v=", such as "STSv1". field: the one field that must be there. value: the expression
    that the values of all fields match, without ";"; the one both RFCs give for fields to come, unless told otherwise.
    """

    def __init__(self, version: str, field: str, value: str = _PRINTABLE) -> None:
        self._version = version
        self._field = field
        self._pair = re.compile(f"({_NAME})=({value})")
        self._ours = re.compile(rf"v={version}[ \t]*;".encode())
        self._meant = re.compile(rf"[ \t\"]*v[ \t]*=[ \t]*{version.rstrip('0123456789v')}".encode(), re.IGNORECASE)

    def value(self, records: Sequence[Sequence[bytes]]) -> str | RecordError | None:
        """Return the value of the field. records: the strings of each TXT record; they are joined without spaces.

        None: no record is of this kind. Exactly one must begin with "v=VERSION;"; those that do not are not looked at.
        Unknown fields are ignored, and of a repeated one the first counts. Raises ValueError as `joined`.
        """
        texts = joined(records)
        ours = [text for text in texts if self._ours.match(text)]
        if len(ours) > 1:
            return RecordError(f"{len(ours)} TXT records begin with v={self._version}, and only one is allowed")
        if ours:
            return self._read(ours[0])
        for text in texts:
            if self._meant.match(text):
                return RecordError(f'the TXT record "{shown(text)}" does not begin with "v={self._version};"')
        return None

    def _read(self, text: bytes) -> str | RecordError:
        if len(text) > _MAX_BYTES:
            return RecordError(f"the TXT record has {len(text)} bytes, and more than {_MAX_BYTES} are not read")
        if not text.isascii():
            return RecordError(f'the TXT record "{shown(text)}" is not ASCII')
        _, *fields = [part.strip(_BLANKS) for part in text.decode("ascii").split(";")]
        if fields[-1] == "":  # one delimiter may stand at the end
            fields.pop()
        values: dict[str, str] = {}
        for field in fields:
            pair = self._pair.fullmatch(field)
            if pair is None:
                return RecordError(f'"{shown(field.encode())}" in the TXT record is not of the form name=value')
            values.setdefault(pair[1], pair[2])
        if self._field not in values:
            return RecordError(f'the TXT record "{shown(text)}" has no {self._field}')
        return values[self._field]


def joined(records: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Join the strings of each TXT record. Raises ValueError if a record is no sequence of them, in octets."""
    try:
        return [b"".join(strings) for strings in records]
    except TypeError as error:
        raise ValueError('a TXT record is a sequence of strings, in octets: [b"v=…"], also if it has one') from error


def shown(text: bytes) -> str:
    """Prepare foreign text for a sentence of ours: its first 60 characters, unprintable ones escaped."""
    cut = ascii(text[:_SHOWN].decode("latin-1"))[1:-1]
    return cut + "…" if len(text) > _SHOWN else cut
