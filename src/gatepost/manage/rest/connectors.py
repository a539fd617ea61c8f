"""Connectors of all organizations in one list, in Exchange's words, and what one did to real mail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.changing import TimeText, seconds
from gatepost.manage.rest.endpoint import Endpoint, ListOf, Reach
from gatepost.manage.rest.paging import Page, Paging, page_of
from gatepost.manage.use_cases.connectors import ConnectorSelection, connectors
from gatepost.manage.use_cases.rehearsal import Question, rehearsal, rehearsal_record

if TYPE_CHECKING:
    from gatepost.manage.rest.endpoint import Asked
    from gatepost.manage.use_cases.connectors import ConnectorRow


_TAG = "connectors"
type _Name = Annotated[str, Meta(max_length=1000)]
type _Organization = Annotated[str, Meta(max_length=1000, description="Only of this one.")]
type _Direction = Annotated[Literal["", "inbound", "outbound"], Meta(description="Only these; empty for both.")]


class ConnectorSearch(Paging, kw_only=True):
    """Which connectors; empty fields match all."""

    organization: _Organization = ""
    direction: _Direction = ""
    status: Annotated[Literal["", "enabled", "rehearsal", "disabled"], Meta(description="Only those.")] = ""
    q: Annotated[str, Meta(max_length=1000, description="What the name or a domain holds, in any case.")] = ""


class ConnectorValidated(msgspec.Struct):
    """How the last validation ended. at: seconds since 1970. configuration: the version that was tried."""

    at: float | None
    outcome: str | None
    configuration: int | None


class ConnectorEntry(msgspec.Struct):
    """A connector: whom it stands between, whose mail it holds for, what it demands, how it was validated last.

    status: enabled, rehearsal or disabled. mode: enforce or rehearse. validated: null if it never was.
    """

    status: str
    direction: str
    name: str
    organization: str
    mode: str
    sender: str = msgspec.field(name="from")
    receiver: str = msgspec.field(name="to")
    domains: list[str]
    demands: list[str]
    validated: ConnectorValidated | None


class RehearsalQuestion(msgspec.Struct, kw_only=True):
    """What is to be told."""

    name: _Name
    organization: Annotated[str, Meta(max_length=1000, description="Where several have one of that name.")] = ""
    direction: Annotated[Literal["", "inbound", "outbound"], Meta(description="Where both have it.")] = ""
    rule: Annotated[bool, Meta(description="The name is that of a mail flow rule.")] = False
    since: TimeText = "30d"
    replay: Annotated[
        bool, Meta(description="Decide all mail of that time again, as if the connector had been enforced.")
    ] = False


class RehearsalGroup(msgspec.Struct):
    """Messages that have the peer and the reason in common. judged: failed, or not judged. sample: for the trace."""

    peer: str
    host: str
    judged: str
    reason: str
    result_type: str
    messages: int
    first: float
    last: float
    sample: str
    why: str


class RehearsalPeer(msgspec.Struct):
    """How many messages of a peer passed and failed."""

    peer: str
    passed: int
    failed: int
    unknown: int
    last: float


class RehearsalDay(msgspec.Struct):
    """The same of a UTC day, "2026-11-24"."""

    day: str
    passed: int
    failed: int
    unknown: int


class RehearsalReport(msgspec.Struct):
    """What it did to real mail, or would have done. Times: seconds since 1970.

    answer: whether nothing was or would have been refused or held; null if there was nothing to judge by. formed: the
    version that made it what it is. waited: sent in the end, but held before. unreadable: files of the trace that are
    not counted.
    """

    name: str
    label: str
    direction: str
    mode: str
    enabled: bool
    since: float
    until: float
    replay: bool
    unreadable: list[str]
    rule: bool
    formed: int
    answer: bool | None
    messages: int
    passed: int
    failed: int
    unknown: int
    waited: int
    groups: list[RehearsalGroup]
    peers: list[RehearsalPeer]
    days: list[RehearsalDay]


def _list(asked: Asked) -> Page:
    query: ConnectorSearch = asked.query
    selection = ConnectorSelection(query.organization, query.q, direction=query.direction, status=query.status)
    found = connectors(asked.gateway, asked.principal, selection)
    return page_of(found.rows, _identity, query, _shown, found.version)


def _identity(row: ConnectorRow) -> str:
    """What tells it from others of the list."""
    return f"{row.direction} {row.organization} {row.name}"


def _shown(row: ConnectorRow) -> ConnectorEntry:
    validated = None if row.validated is None else ConnectorValidated(**row.validated)
    return ConnectorEntry(
        status=row.status,
        direction=row.direction,
        name=row.name,
        organization=row.organization,
        mode=row.mode,
        sender=row.sender,
        receiver=row.receiver,
        domains=row.domains,
        demands=row.demands,
        validated=validated,
    )


def _rehearsal(asked: Asked) -> dict[str, Any]:
    query: RehearsalQuestion = asked.query
    since = seconds("since", query.since)
    question = Question(query.name, since, query.organization, query.direction or None, query.rule, query.replay)
    return rehearsal_record(rehearsal(asked.gateway, asked.principal, question))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/connectors",
        "Connectors of all organizations: what they demand, how they were validated",
        _list,
        ListOf(ConnectorEntry),
        Scope.READ,
        Reach.SEEN,
        _TAG,
        query=ConnectorSearch,
        versioned=True,
        seeks=True,
    ),
    Endpoint(
        "GET",
        "/rehearsal",
        "What a connector or mail flow rule did to real mail, or would have done",
        _rehearsal,
        RehearsalReport,
        Scope.READ,
        Reach.SEEN,
        _TAG,
        query=RehearsalQuestion,
        seeks=True,
        description="Reads the whole trace of that time, which takes some seconds for a million rows.",
    ),
)
