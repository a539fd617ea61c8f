"""The pages of the public HTTPS server, kept ready by host and path. Values only.

`node.policy_host` makes them, `node.policy_host` sends them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


type Sites = Mapping[str, Mapping[str, Page]]
"""Pages by the host (lower case) and the path that they are asked for under."""

_GUARDS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
)


@dataclass(frozen=True, slots=True)
class Page:
    """kind: media type. etag, modified (seconds since 1970): as `cached` sets them; nothing for a page without."""

    kind: str
    body: bytes = field(repr=False)
    etag: str = ""
    modified: float = 0.0
    fields: tuple[tuple[str, str], ...] = ()

    def is_current(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether the client says that it has the page as it is (RFC 9110 sections 13.1.2, 13.1.3).

        An entity tag goes before a date. Names of fields in lower case, as h11 gives them.
        """
        if not self.etag:
            return False
        values: dict[bytes, list[str]] = {}
        for name, value in headers:
            values.setdefault(name, []).append(value.decode("latin-1"))
        if tags := values.get(b"if-none-match"):
            known = {tag.strip().removeprefix("W/") for value in tags for tag in value.split(",")}
            return bool(known & {"*", self.etag})
        dates = values.get(b"if-modified-since", [])
        return len(dates) == 1 and self.modified <= _moment(dates[0])


def cached(kind: str, body: bytes, *, modified: float, seconds: int) -> Page:
    """A page that clients may keep. modified: since when it says this. seconds: until they ask again."""
    etag, since = f'"{hashlib.sha256(body).hexdigest()[:32]}"', float(int(modified))
    fields = (
        ("ETag", etag),
        ("Last-Modified", formatdate(since, usegmt=True)),
        ("Cache-Control", f"public, max-age={seconds}"),
        *_GUARDS,
    )
    return Page(kind, body, etag, since, fields)


def _moment(text: str) -> float:
    """A date of HTTP in seconds since 1970; before all times if it is none."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return -1.0
