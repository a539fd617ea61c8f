"""Values that no owner of the gateway granted: `gatepost grant` as calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.endpoint import Answer, Endpoint, Reach
from gatepost.manage.use_cases.change import Wish
from gatepost.manage.use_cases.ungranted import Value, grant_value, ungranted_values

if TYPE_CHECKING:
    from gatepost.manage.rest.endpoint import Asked


type _Text = Annotated[str, Meta(max_length=32_768)]


class UngrantedValue(msgspec.Struct):
    """A value where it stands. effect: none (a file or socket), or bounded (a host: [network] tenants_may_reach)."""

    organization: str
    resource: str
    name: str
    field: str
    value: str
    effect: str


class UngrantedValues(msgspec.Struct):
    """All of them, in the order of the resources."""

    values: list[UngrantedValue]


class GrantedValue(msgspec.Struct, forbid_unknown_fields=True):
    """A value where it stands, to the letter. resource: such as outbound_connector. name: of a mailbox its address."""

    organization: _Text
    resource: _Text
    name: _Text
    field: _Text
    value: _Text


class GrantQuery(msgspec.Struct, kw_only=True):
    """Parameters of a grant."""

    note: Annotated[str, Meta(max_length=1000, description="Why, for the history.")] = ""


class GrantOutcome(msgspec.Struct):
    """version: the one in force now."""

    version: int
    dry_run: bool
    granted: GrantedValue


def _missing(asked: Asked) -> dict[str, Any]:
    return {"values": ungranted_values(asked.gateway, asked.principal)}


def _grant(asked: Asked) -> Answer:
    body: GrantedValue = asked.body
    wanted = Value(body.organization, body.resource, body.name, body.field, body.value)
    asked.told[0].organization, asked.told[0].subject = body.organization, body.name
    wish = Wish(asked.principal.name, asked.query.note, asked.dry_run, expected=asked.expected)
    done = grant_value(asked.gateway, asked.principal, wanted, wish)
    asked.told[0].detail = {"version": done["version"], body.field: body.value}
    return Answer(done, done["version"])


ENDPOINTS = (
    Endpoint(
        "GET",
        "/grants/missing",
        "Files, sockets and hosts in resources that no owner of the gateway granted",
        _missing,
        UngrantedValues,
        Scope.CONNECTORS,
        Reach.GATEWAY,
        "grants",
    ),
    Endpoint(
        "POST",
        "/grants",
        "Grant one of them as it stands",
        _grant,
        GrantOutcome,
        Scope.CONNECTORS,
        Reach.GATEWAY,
        "grants",
        query=GrantQuery,
        body=GrantedValue,
        changes=True,
        guarded=True,
        versioned=True,
        seeks=True,
        action="grant-add",
        description="The value must stand there to the letter. 404 if it does not, or is granted already.",
    ),
)
