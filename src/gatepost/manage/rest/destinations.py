"""What destinations were seen to do, and what is accepted of it: `gatepost destination` as calls."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gatepost.manage.access.actions import named
from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.endpoint import Endpoint, ListOf, Reach, Told
from gatepost.manage.rest.paging import Page, Paging, position
from gatepost.manage.use_cases.cursors import cursor
from gatepost.manage.use_cases.destinations import Which, accepted, forgotten, place_of, remembered
from gatepost.policy.decisions.destination_history import DestinationName

if TYPE_CHECKING:
    from gatepost.manage.rest.endpoint import Asked


_TAG = "destinations"
_SHOWN = 1000

type _Text = Annotated[str, Meta(max_length=1000)]


class DestinationsQuery(Paging, kw_only=True):
    """Which destinations; empty fields match all."""

    domain: Annotated[str, Meta(max_length=1000, description="That mail is routed by (MX).")] = ""
    organization: _Text = ""
    connector: Annotated[str, Meta(max_length=1000, description="By whose demands; its smart hosts, too.")] = ""
    below: Annotated[bool, Meta(description="Only those whose last connection did less than before.")] = False


class DestinationSpan(msgspec.Struct):
    """When a level was seen, first and last: seconds since 1970."""

    since: float
    last: float


class DestinationAcceptance(msgspec.Struct):
    """That an administrator takes a host as it is. at: seconds since 1970."""

    level: str
    at: float
    by: str


class DestinationGroups(msgspec.Struct):
    """That a host is offered no post-quantum key exchange. since, until: seconds since 1970. why: how it left one."""

    why: str
    since: float
    until: float


class DestinationHost(msgspec.Struct):
    """One host. last: what its last session reached. seen: when each level was. expected: given if it does less now."""

    host: str
    first_session: float
    last_session: float
    last: str
    tls_version: str
    seen: dict[str, DestinationSpan]
    expected: str = ""
    accepted: DestinationAcceptance | None = None
    classical_only: DestinationGroups | None = None


class Destination(msgspec.Struct):
    """A destination and what it was seen to do; times in seconds since 1970. below: hosts that do less now."""

    name: str
    organization: str
    domain: str
    connector: str
    best: str
    tls_since: float
    mx_since: float
    last_session: float
    below: list[str]
    hosts: list[DestinationHost]


class DestinationActions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to do with which destinations.

    accept: take them as they are now, and try held mail again. forget: begin anew. all: of every organization that is
    seen, or of that named.
    """

    action: Literal["accept", "forget"]
    domain: _Text = ""
    organization: _Text = ""
    connector: _Text = ""
    all: bool = False


class DestinationsChanged(msgspec.Struct):
    """What it was done to, or with dry_run would be. items: the first 1000. retried: deliveries tried again."""

    dry_run: bool
    changed: int
    retried: int
    items: list[Destination]


def _list(asked: Asked) -> Page:
    query: DestinationsQuery = asked.query
    which = Which(query.domain, query.organization, query.connector)
    after = DestinationName(*position(query.after, tuple[str, str, str])) if query.after else None
    found = remembered(
        asked.gateway, asked.principal, which, only_below=query.below, limit=query.limit + 1, after=after
    )
    shown = found[: query.limit]
    return Page(shown, cursor(place_of(shown[-1])) if len(found) > query.limit else None)


def _act(asked: Asked) -> dict[str, Any]:
    body: DestinationActions = asked.body
    which = Which(body.domain, body.organization, body.connector)
    asked.told[0] = Told(named("destination", body.action), body.organization, body.domain or body.connector)
    given = {"everything": body.all, "dry_run": asked.dry_run}
    if body.action == "accept":
        found, retried = accepted(asked.gateway, asked.principal, which, **given)
    else:
        found, retried = forgotten(asked.gateway, asked.principal, which, **given), 0
    counted = Counter(one["organization"] for one in found)
    asked.told[:] = [
        Told(named("destination", body.action), name, body.domain or body.connector, {"destinations": count})
        for name, count in counted.items()
    ] or asked.told
    return {"dry_run": asked.dry_run, "changed": len(found), "retried": retried, "items": found[:_SHOWN]}


ENDPOINTS = (
    Endpoint(
        "GET",
        "/destinations",
        "What destinations were seen to do, in the order of their names",
        _list,
        ListOf(Destination),
        Scope.READ,
        Reach.SEEN,
        _TAG,
        query=DestinationsQuery,
    ),
    Endpoint(
        "POST",
        "/destinations/actions",
        "Take destinations as they are now, or forget what they did",
        _act,
        DestinationsChanged,
        Scope.CONNECTORS,
        Reach.SEEN,
        _TAG,
        body=DestinationActions,
        changes=True,
        action="destination",
        description="One organization at a time unless all is said. 404 if nothing is remembered, 409 if they do what "
        "they did before.",
    ),
)
