"""The time zone that a page shows times in: what the user chose, else the browser's, else the server's.

A script of every page keeps the browser's zone in a cookie; who has no script gets the zone of the settings
(`admin.time_zone`). Only a name that this machine knows is used, so that a cookie says nothing else. Without time zone
data (Debian: tzdata) it knows UTC alone. Files and REST have UTC always.
"""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.manage.use_cases.times import last_moment
from gatepost.times import named_zone, with_offset, zone_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from gatepost.manage.access.records import UserSession
    from gatepost.manage.use_cases.context import Gateway


COOKIE: Final = "gatepost_zone"
"""Written by gatepost.js."""


class PageZone(NamedTuple):
    """name: of IANA. source: user, browser or server."""

    name: str
    zone: tzinfo
    source: str


_PLACES: Final = frozenset(
    {"Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"}
)
SERVER_ZONE: Final = PageZone("UTC", UTC, "server")
"""Without a setting."""


def place_names() -> list[tuple[str, str]]:
    """Choices of a form: UTC, and zones that are named by a place."""
    places = sorted(name for name in zone_names() if name.partition("/")[0] in _PLACES and "/" in name)
    return [(name, name) for name in ("UTC", *places)]


def zone_of(request: Request) -> PageZone:
    """The time zone of who asks. An API token has none of its own."""
    session: UserSession | None = getattr(request.state, "session", None)
    gateway: Gateway | None = getattr(request.app.state, "gateway", None)
    names = (
        ("user", session.user.preferences.time_zone if session else ""),
        ("browser", request.cookies.get(COOKIE, "")),
        ("server", gateway.settings.admin.time_zone if gateway else ""),
    )
    for source, name in names:
        if name and (zone := named_zone(name)):
            return PageZone(name, zone, source)
    return SERVER_ZONE


def local_times(request: Request, values: Mapping[str, str], *names: str) -> dict[str, str]:
    """Fields of a form, their times with the offset of the zone that the page shows. names: since and until without.

    A field `until` is the last moment of what was written, so that a time that was copied from a page finds its row.
    """
    zone = zone_of(request).zone
    times = {name: values.get(name, "").strip() for name in names or ("since", "until")}
    if "until" in times:
        times["until"] = last_moment(times["until"])
    return {**values, **{name: with_offset(text, zone) for name, text in times.items()}}
