"""The TXT record at _smtp._tls.DOMAIN that says where reports about TLS are wanted (RFC 8460 section 3).

Used by `checks.partner` and, later, by whoever sends reports. Pure text: the caller asks the DNS.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_ADDRESSES", "Record", "RecordError", "parse_record", "record_name"]

MAX_ADDRESSES: Final = 10  # of one record that are used
_MAX_BYTES: Final = 4096  # of one record that is looked at
_SHOWN: Final = 60

_OURS: Final = re.compile(rb"v=TLSRPTv1[ \t]*(?:;|$)")
_MEANT: Final = re.compile(rb"[ \t\"]*v[ \t]*=[ \t]*tlsrpt", re.IGNORECASE)
_DELIMITER: Final = re.compile(r"[ \t]*;[ \t]*")
_COMMA: Final = re.compile(r"[ \t]*,[ \t]*")
_FIELD: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})=([\t\x20-\x3a\x3c-\x7e]+)")
# "!" must be encoded too (section 3): what comes behind it is no part of an address.
_MAILTO: Final = re.compile(r"mailto:[^\s@!,;<>]{1,64}@[A-Za-z0-9.-]{1,255}(?:\?[^\s!,;]*)?", re.IGNORECASE)
_HTTPS: Final = re.compile(r"https://[^\s!,;/?#]{1,255}(?:[/?][^\s!,;]*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Record:
    """rua: URIs "mailto:…" and "https:…", in order, at most ten. ignored: those that no report can be sent to."""

    rua: tuple[str, ...]
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordError:
    """The domain means to receive reports, but its TXT records cannot be used. detail: a sentence for us."""

    detail: str


def record_name(domain: str) -> str:
    """The owner of the TXT record of `domain`."""
    return f"_smtp._tls.{domain}"


def parse_record(records: Sequence[Sequence[bytes]]) -> Record | RecordError | None:
    """What the TXT records of _smtp._tls.DOMAIN say. records: the strings of each; they are joined without spaces.

    None: no record is about TLS reports. Exactly one must begin with "v=TLSRPTv1;"; those that do not are not looked
    at. Unknown fields are ignored, and of a repeated one the first counts.
    """
    texts = [b"".join(strings) for strings in records]
    ours = [text for text in texts if _OURS.match(text)]
    if len(ours) > 1:
        return RecordError(f"{len(ours)} TXT records begin with v=TLSRPTv1, and there must be one")
    if ours:
        return _fields(ours[0])
    for text in texts:
        if _MEANT.match(text):
            return RecordError(f'the TXT record "{_shown(text)}" does not begin with "v=TLSRPTv1;"')
    return None


def _fields(text: bytes) -> Record | RecordError:
    if len(text) > _MAX_BYTES:
        return RecordError(f"the TXT record has {len(text)} bytes, and more than {_MAX_BYTES} are not read")
    if not text.isascii():
        return RecordError(f'the TXT record "{_shown(text)}" is not ASCII')
    _, *fields = _DELIMITER.split(text.decode("ascii").rstrip(" \t"))
    if fields and fields[-1] == "":  # one delimiter may stand at the end
        fields.pop()
    values: dict[str, str] = {}
    for field in fields:
        pair = _FIELD.fullmatch(field)
        if pair is None:
            return RecordError(f'"{_shown(field.encode())}" in the TXT record is no name=value')
        values.setdefault(pair[1], pair[2])
    if "rua" not in values:
        return RecordError(f'the TXT record "{_shown(text)}" has no rua')
    return _addresses(values["rua"])


def _addresses(rua: str) -> Record | RecordError:
    found = _COMMA.split(rua)
    usable = [one for one in found if _MAILTO.fullmatch(one) or _HTTPS.fullmatch(one)]
    if not usable:
        return RecordError(f'"{_shown(rua.encode())}" has no address of the kinds mailto: and https:')
    kept = tuple(usable[:MAX_ADDRESSES])
    return Record(kept, tuple(_shown(one.encode()) for one in found if one not in kept)[:MAX_ADDRESSES])


def _shown(text: bytes) -> str:
    """What somebody else wrote, for a sentence of ours."""
    cut = ascii(text[:_SHOWN].decode("latin-1"))[1:-1]
    return cut + "…" if len(text) > _SHOWN else cut
