"""The last searches of a person, and those they keep under a name: in a cookie of their browser, and nowhere else.

What somebody looks for is nobody else's business, and nothing that must outlive a browser. Bounded: the oldest go.
The cookie may be anything; what is read of it is made into addresses of our own page again.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode

import msgspec

from gatepost.decoding import from_json
from gatepost.manage.pages.trace_query import FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response


COOKIE: Final = "__Host-gatepost-searches"
_KEPT: Final = (*FIELDS, "q", "since", "until", "organization")
_RECENT: Final = 6
_SAVED: Final = 12
_NAME: Final = 60
_LONGEST: Final = 3600  # of the cookie; browsers take 4096 octets with its name
_DAYS: Final = 90 * 86400


class Searches(msgspec.Struct, frozen=True, array_like=True):
    """who: whose they are, as browsers are shared. recent: queries, the newest first. saved: name to query."""

    who: str
    recent: tuple[str, ...] = ()
    saved: dict[str, str] = {}

    def used(self, query: str) -> Searches:
        """With one more."""
        others = tuple(text for text in self.recent if text != query)
        return msgspec.structs.replace(self, recent=(query, *others)[:_RECENT])

    def keeping(self, name: str, query: str) -> Searches:
        """With one under a name; one of that name is replaced, and beyond a dozen the oldest goes."""
        saved = {key: value for key, value in self.saved.items() if key != name} | {name[:_NAME]: query}
        return msgspec.structs.replace(self, saved=dict(list(saved.items())[-_SAVED:]))

    def without(self, name: str) -> Searches:
        """Without the one of that name."""
        return msgspec.structs.replace(self, saved={key: item for key, item in self.saved.items() if key != name})


def kept_query(given: Mapping[str, str]) -> str:
    """The search in a page's query, in one order."""
    return urlencode([(name, given[name]) for name in sorted(_KEPT) if given.get(name)])


def read(cookies: Mapping[str, str], who: str) -> Searches:
    """Those of this person; none if the cookie is another's, or not ours."""
    try:
        searches = from_json(base64.urlsafe_b64decode(cookies.get(COOKIE, "")), Searches)
    except (ValueError, RecursionError):  # those of base64 and msgspec, too
        return Searches(who)
    if searches.who != who:
        return Searches(who)
    recent = tuple(kept_query(dict(parse_qsl(text))) for text in searches.recent[:_RECENT])
    saved = {name[:_NAME]: kept_query(dict(parse_qsl(text))) for name, text in list(searches.saved.items())[:_SAVED]}
    return Searches(who, tuple(filter(None, recent)), saved)


def remember(response: Response, searches: Searches) -> None:
    """Keep them, the newest of them if it is too much."""
    kept = searches
    while len(text := base64.urlsafe_b64encode(msgspec.json.encode(kept)).decode()) > _LONGEST:
        if kept.recent:
            kept = msgspec.structs.replace(kept, recent=kept.recent[:-1])
        else:
            kept = kept.without(next(iter(kept.saved)))
    response.set_cookie(COOKIE, text, max_age=_DAYS, secure=True, httponly=True, samesite="strict", path="/")
