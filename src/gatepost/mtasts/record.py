"""The TXT record at _mta-sts.DOMAIN that says a policy exists and when it changed (RFC 8461 section 3.1).

Used by `lookup.mtasts`, which asks for it, and by `mtasts.publish`, which writes ours. Pure text: the policy itself is
`mtasts.policy`, and what follows for a delivery is decided in neither.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_ID", "Record", "RecordError", "parse_record"]

MAX_ID: Final = 32  # characters of an id
_MAX_BYTES: Final = 1000  # of one record that is looked at; a valid one of the fields there are takes less than 60
_SHOWN: Final = 60

_OURS: Final = re.compile(rb"v=STSv1[ \t]*;")
_MEANT: Final = re.compile(rb"[ \t\"]*v[ \t]*=[ \t]*sts", re.IGNORECASE)
_DELIMITER: Final = re.compile(r"[ \t]*;[ \t]*")
_FIELD: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})=([\x21-\x3a\x3c\x3e-\x7e]+)")
_ID: Final = re.compile(rf"[A-Za-z0-9]{{1,{MAX_ID}}}")


@dataclass(frozen=True, slots=True)
class Record:
    """id: 1 to 32 letters and digits; another one means that the policy is to be fetched again."""

    id: str

    @property
    def text(self) -> str:
        """As it is written into the zone."""
        return f"v=STSv1; id={self.id};"


@dataclass(frozen=True, slots=True)
class RecordError:
    """The domain means to publish a policy, but its TXT records cannot be used. detail: a sentence for us."""

    detail: str


def parse_record(records: Sequence[Sequence[bytes]]) -> Record | RecordError | None:
    """What the TXT records of _mta-sts.DOMAIN say. records: the strings of each; they are joined without spaces.

    None: no record is about MTA-STS. Exactly one must begin with "v=STSv1;"; those that do not are not looked at.
    Unknown fields are ignored, and of a repeated one the first counts.
    """
    texts = [b"".join(strings) for strings in records]
    ours = [text for text in texts if _OURS.match(text)]
    if len(ours) > 1:
        return RecordError(f"{len(ours)} TXT records begin with v=STSv1, and there must be one")
    if ours:
        return _fields(ours[0])
    for text in texts:
        if _MEANT.match(text):
            return RecordError(f'the TXT record "{_shown(text)}" does not begin with "v=STSv1;"')
    return None


def _fields(text: bytes) -> Record | RecordError:
    if len(text) > _MAX_BYTES:
        return RecordError(f"the TXT record has {len(text)} bytes, and more than {_MAX_BYTES} are not read")
    if not text.isascii():
        return RecordError(f'the TXT record "{_shown(text)}" is not ASCII')
    _, *fields = _DELIMITER.split(text.decode("ascii"))
    if fields[-1] == "":  # one delimiter may stand at the end
        fields.pop()
    values: dict[str, str] = {}
    for field in fields:
        pair = _FIELD.fullmatch(field)
        if pair is None:
            return RecordError(f'"{_shown(field.encode())}" in the TXT record is no name=value')
        values.setdefault(pair[1], pair[2])
    if "id" not in values:
        return RecordError(f'the TXT record "{_shown(text)}" has no id')
    if not _ID.fullmatch(values["id"]):
        shown = _shown(values["id"].encode())
        return RecordError(f'the id "{shown}" of the TXT record is not 1 to {MAX_ID} letters and digits')
    return Record(values["id"])


def _shown(text: bytes) -> str:
    """What somebody else wrote, for a sentence of ours."""
    cut = ascii(text[:_SHOWN].decode("latin-1"))[1:-1]
    return cut + "…" if len(text) > _SHOWN else cut
