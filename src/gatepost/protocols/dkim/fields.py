"""Choose the header fields that a signature covers (RFC 6376 section 5.4).

Used by `protocols.dkim.signature` and `mail.outbound.dkim`. Looks at names only; canonical forms are in
`protocols.dkim.canonical`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

MOST_FIELDS: Final = 200
"""More fields than that are signed in no message: nobody writes so many, and the list of them is itself a field."""

# Named once more than they are there, so that one that is added on the way breaks the signature (section 8.15): a
# second From or Subject would be shown instead of the signed one.
_ALWAYS: Final = ("from", "reply-to", "subject", "to", "cc")
# The same, but only where the message has one: mail servers on the way may add it if it is missing.
_IF_PRESENT: Final = (
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "tls-required",
    "tls-report-domain",
    "tls-report-submitter",
)
# As many as are there: a mailing list, or who sends it on, adds its own.
_AS_THEY_ARE: Final = (
    "sender",
    "resent-date",
    "resent-from",
    "resent-sender",
    "resent-to",
    "resent-cc",
    "resent-message-id",
    "list-id",
    "list-help",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-subscribe",
    "list-post",
    "list-owner",
    "list-archive",
)
_ORDER: Final = (*_ALWAYS, *_IF_PRESENT, *_AS_THEY_ARE)

_FIELD_END: Final = re.compile(rb"\r\n(?![ \t])")


class Field(msgspec.Struct, frozen=True):
    """One field. name: in lower case. octets: as it stands there, folds included, without its last CRLF."""

    name: str
    octets: bytes

    @property
    def value(self) -> bytes:
        """The text after the colon, unfolded."""
        return self.octets.partition(b":")[2].replace(b"\r\n", b"").strip(b" \t")


def split_fields(section: bytes) -> tuple[Field, ...]:
    """The fields of a header section, from top to bottom. Lines that are none are left out."""
    fields = []
    for octets in _FIELD_END.split(section):
        name, colon, _ = octets.partition(b":")
        if colon:
            fields.append(Field(name.strip(b" \t").lower().decode("latin-1"), octets))
    return tuple(fields)


def chosen_fields(fields: Sequence[Field]) -> tuple[str, ...]:
    """The names for h=, in lower case, one for each field that is signed and for each that must not be added.

    () if they would be more than `MOST_FIELDS`.
    """
    counts = dict.fromkeys(_ORDER, 0)
    for field in fields:
        if field.name in counts:
            counts[field.name] += 1
    for name in _ALWAYS:
        counts[name] += 1
    for name in _IF_PRESENT:
        counts[name] += 1 if counts[name] else 0
    names = tuple(name for name, count in counts.items() for _ in range(min(count, MOST_FIELDS + 1)))
    return names if len(names) <= MOST_FIELDS else ()


def field_list(fields: Sequence[Field], names: Sequence[str]) -> list[Field]:
    """The fields that h= means, in its order: of several of one name the last in the message first (section 5.4.2)."""
    below: dict[str, list[Field]] = {}
    for field in fields:
        below.setdefault(field.name, []).append(field)
    return [below[name].pop() for name in names if below.get(name)]
