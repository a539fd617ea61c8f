"""Exchange's own header fields, and the firewall that decides who may send and receive them.

Inside an organization Exchange says of a message, in X-MS-Exchange-Organization-… fields, how its sender was
authenticated and how likely it is spam, and believes it. Between the two halves of a hybrid organization these travel
as X-MS-Exchange-CrossPremises-…; from and to anybody else they are taken out (exchange.md sections 2 and 9.4). Called
by `mail.inbound.transaction` and `mail.outbound.organization_headers` with whole header sections. Octets in, octets
out: every other field stays as it is, octet by octet, so that signatures hold.

A field is found wherever any reader might see one: whatever the case, folded or not, with blanks before the colon or no
colon at all, after a bare CR or LF and what some take for a line end (a BINARYMIME body may have them), and with
control characters in its name. What is to be renamed must be well formed; anything else of these names is taken out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto

import msgspec

from gatepost.protocols.message.header_text import host_text

_ORGANIZATION = b"X-MS-Exchange-Organization-"
_CROSS_PREMISES = b"X-MS-Exchange-CrossPremises-"
_FOREST = b"X-MS-Exchange-Forest-"
_NAMES = (_ORGANIZATION, _CROSS_PREMISES, _FOREST)
_LOWER_NAMES = tuple(name.lower() for name in _NAMES)
_COMMON = b"x-ms-exchange-"  # all of them begin so
_AUTH_AS = re.compile(rb"\r\nx-ms-exchange-crosspremises-authas[ \t]*:", re.IGNORECASE)

_LOWER = bytes(range(256)).lower()
_CONTROLS = bytes([*range(9), *range(10, 32), 127])
_UNSEEN = rb"[\x00-\x08\x0e-\x1b\x1f\x7f]*"  # controls that end no line: a reader may leave them out
_ENDS = rb"\r\n\x0b\x0c\x1c-\x1e"
_BARE = tuple(bytes([number]) for number in (10, 11, 12, 13, 28, 29, 30))
_END = rb"(?:\r\n|[" + _ENDS + rb"]|\Z)"
_RESERVED = re.compile(
    rb"(?:\A|(?<=[" + _ENDS + rb"]))" + _UNSEEN + rb"(?:"
    + rb"|".join(_UNSEEN.join(map(re.escape, map(bytes, zip(name)))) for name in _NAMES)
    + rb")",
    re.IGNORECASE,
)  # fmt: skip
_WHOLE = re.compile(rb"[^" + _ENDS + rb"]*" + _END + rb"(?:[ \t][^" + _ENDS + rb"]*" + _END + rb")*")
_WELL_FORMED = re.compile(rb"[!-9;-~]{1,100}[ \t]*:")
_ORIGINATORS = re.compile(rb"(?:\A|(?<=\r\n))x-originatororg[ \t]*:", re.IGNORECASE)


class Crossing(Enum):
    """The direction in which a header section crosses the gateway.

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


class HeaderChange(msgspec.Struct, frozen=True):
    """section: the header section as it goes on; the very one that came if nothing of it was changed.

    renamed, removed: how many fields.
    """

    section: bytes
    renamed: int = 0
    removed: int = 0

    def record(self) -> dict[str, int]:
        """The part that the trace stores."""
        if not (self.renamed or self.removed):
            return {}
        counts = {"renamed": self.renamed, "removed": self.removed}
        return {name: count for name, count in counts.items() if count}


def is_reserved(name: str) -> bool:
    """Whether the name of a field, which can be written, is one of these."""
    return name.encode().lower().startswith(_LOWER_NAMES)


def changed_headers(section: bytes, crossing: Crossing) -> HeaderChange:
    """A whole header section after the firewall."""
    if _COMMON not in section.translate(_LOWER, _CONTROLS):
        return HeaderChange(section)
    old, new = _RENAMED[crossing]
    kept: list[bytes] = [b"", b"\r\n"]  # texts, and between them what ends a text's last line
    renamed = removed = at = 0
    for start, end in _fields(section, _RESERVED):
        if start > at:
            kept += _parted(section[at:start])
        field = section[start:end]
        if old and field[: len(old)].lower() == old.lower() and _WELL_FORMED.match(field):
            kept += _parted(new + field[len(old) :])
            renamed += 1
        else:
            removed += 1
            if kept[-1] != b"\r\n":
                # It was hidden in the field before, which ends here now.
                kept[-1] = _parted(field)[1]
        at = end
    if not at:
        return HeaderChange(section)
    return HeaderChange(b"".join((*kept[2:], section[at:])), renamed, removed)


def origin_fields(section: bytes, *, internal: bool, hostname: str, domain: str) -> tuple[bytes, bytes]:
    """The fields that tell the organization's Exchange where a message comes from, and the section to put them before.

    section: after DEMOTED. What is said in it of the sender's authentication stays; else that is Internal for those
    whom we know (internal), Anonymous for anybody else, on the word of `hostname`. domain: an accepted domain of the
    organization, without which Exchange believes none of it.
    """
    kept, at = [], 0
    for start, end in _fields(section, _ORIGINATORS):
        kept.append(section[at:start])
        at = end
    section = b"".join((*kept, section[at:])) if at else section
    fields = _field(b"X-OriginatorOrg", host_text(domain))
    if not _AUTH_AS.search(b"\r\n" + section):
        fields += _field(_CROSS_PREMISES + b"AuthAs", "Internal" if internal else "Anonymous")
        fields += _field(_CROSS_PREMISES + b"AuthSource", host_text(hostname))
    return fields, section


def _field(name: bytes, value: str) -> bytes:
    return name + b": " + value.encode("ascii") + b"\r\n"


def _fields(section: bytes, beginning: re.Pattern[bytes]) -> Iterator[tuple[int, int]]:
    """Yield where each field begins and ends, its continuation lines included."""
    for match in beginning.finditer(section):
        whole = _WHOLE.match(section, match.start())
        yield match.start(), whole.end() if whole else match.end()


def _parted(text: bytes) -> tuple[bytes, bytes]:
    """A text and what ends its last line, b"" at the end of a section that ends in no line."""
    size = 2 if text.endswith(b"\r\n") else int(text.endswith(_BARE))
    return text[: len(text) - size], text[len(text) - size :]
