"""Header fields that Exchange keeps for itself, and the firewall for them: who may bring them in, and who gets them.

Inside an organization Exchange says of a message, in X-MS-Exchange-Organization-… fields, how its sender was
authenticated and how likely it is spam, and believes it. Between the two halves of a hybrid organization these travel
as X-MS-Exchange-CrossPremises-…; from and to anybody else they are taken out (exchange.md sections 2 and 9.4). Called
by `inbound.transaction` and `outbound.organization_headers` with whole header sections. Octets in, octets out: every
other field stays as it is, octet by octet, so that signatures hold.

A field is found wherever any reader might see one: whatever the case, folded or not, with blanks before the colon or no
colon at all, after a bare CR or LF and what some take for a line end (a BINARYMIME body may have them), and with
control characters in its name. What is to be renamed must be well formed; anything else of these names is taken out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from gatepost.message.header_text import host_text

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Crossing", "HeaderChange", "changed_headers", "origin_fields"]

_ORGANIZATION = b"X-MS-Exchange-Organization-"
_CROSS_PREMISES = b"X-MS-Exchange-CrossPremises-"
_FOREST = b"X-MS-Exchange-Forest-"
_ORIGINATOR = b"X-OriginatorOrg"

_RESERVED = tuple(name.lower() for name in (_ORGANIZATION, _CROSS_PREMISES, _FOREST))
_COMMON = b"x-ms-exchange-"  # all of them begin so
_AUTH_AS = re.compile(rb"\r\nx-ms-exchange-crosspremises-authas[ \t]*:", re.IGNORECASE)

_CONTROLS = bytes([*range(9), *range(10, 32), 127])
_LOWER = bytes(range(256)).lower()
_LINE = re.compile(rb"([^\r\n\x0b\x0c\x1c-\x1e]*)(\r\n|[\r\n\x0b\x0c\x1c-\x1e]|\Z)")
_FIELD = re.compile(rb"[!-9;-~]{1,100}[ \t]*:")


class Crossing(Enum):
    """Which way a header section goes.

    STRIPPED: to or from anybody who is not the organization's other half. PROMOTED: in, from its own Exchange.
    DEMOTED: out, to its own Exchange.
    """

    STRIPPED = auto()
    PROMOTED = auto()
    DEMOTED = auto()


_RENAMED = {
    Crossing.STRIPPED: (b"", b""),
    Crossing.PROMOTED: (_CROSS_PREMISES, _ORGANIZATION),
    Crossing.DEMOTED: (_ORGANIZATION, _CROSS_PREMISES),
}


@dataclass(frozen=True, slots=True)
class HeaderChange:
    """section: the header section as it goes on; the very one that came if nothing of it was changed.

    renamed, removed: how many fields.
    """

    section: bytes
    renamed: int = 0
    removed: int = 0

    def record(self) -> dict[str, int]:
        """What the trace keeps of it."""
        counts = {"renamed": self.renamed, "removed": self.removed}
        return {name: count for name, count in counts.items() if count}


def changed_headers(section: bytes, crossing: Crossing) -> HeaderChange:
    """A whole header section after the firewall."""
    if _COMMON not in section.translate(_LOWER, _CONTROLS):
        return HeaderChange(section)
    old, new = _RENAMED[crossing]
    kept: list[bytes] = []
    renamed = removed = 0
    out = False  # whether the field at hand is taken out
    open_end = b"\r\n"  # what ends the last line that was kept
    for line, end in _lines(section):
        if not line.startswith((b" ", b"\t")):
            out = _is_reserved(line)
            if out and old and _FIELD.match(line) and line[: len(old)].lower() == old.lower():
                out, line = False, new + line[len(old) :]  # noqa: PLW2901 - the same line, under its other name
                renamed += 1
            removed += out
        if not out:
            kept.append(line + end)
            open_end = end
        elif open_end != b"\r\n":
            # It was hidden in the field before, which ends here now.
            kept[-1] = kept[-1].removesuffix(open_end) + end
            open_end = end
    if not (renamed or removed):
        return HeaderChange(section)
    return HeaderChange(b"".join(kept), renamed, removed)


def origin_fields(section: bytes, *, internal: bool, hostname: str, domain: str) -> tuple[bytes, bytes]:
    """The fields that tell the organization's Exchange where a message comes from, and the section to put them before.

    section: after DEMOTED. What is said in it of the sender's authentication stays; else that is Internal for those
    whom we know (internal), Anonymous for anybody else, on the word of `hostname`. domain: an accepted domain of the
    organization, without which Exchange believes none of it.
    """
    kept = b"".join(_without(section, _ORIGINATOR.lower()))
    fields = _field(_ORIGINATOR, host_text(domain))
    if not _AUTH_AS.search(b"\r\n" + kept):
        fields += _field(_CROSS_PREMISES + b"AuthAs", "Internal" if internal else "Anonymous")
        fields += _field(_CROSS_PREMISES + b"AuthSource", host_text(hostname))
    return fields, kept


def _field(name: bytes, value: str) -> bytes:
    return name + b": " + value.encode("ascii") + b"\r\n"


def _without(section: bytes, name: bytes) -> Iterator[bytes]:
    """The lines of a section without the fields of one name, in lower case."""
    if name not in section.lower():
        yield section
        return
    out = False
    for line, end in _lines(section):
        if not line.startswith((b" ", b"\t")):
            field, colon, _ = line.partition(b":")
            out = colon != b"" and field.rstrip(b" \t").lower() == name
        if not out:
            yield line + end


def _is_reserved(line: bytes) -> bool:
    """Whether a line that begins a field begins one of these, as far as any reader might take it for that."""
    return line.translate(_LOWER, _CONTROLS).startswith(_RESERVED)


def _lines(section: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Lines as the most lenient reader sees them, each with what ends it."""
    for match in _LINE.finditer(section):
        if match[0]:
            yield match[1], match[2]
