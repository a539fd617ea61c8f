"""What a connector or mail flow rule did to real mail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.changing import TimeText, seconds
from gatepost.manage.rest.endpoint import Endpoint, Reach
from gatepost.manage.use_cases.rehearsal import Question, rehearsal, rehearsal_record

if TYPE_CHECKING:
    from gatepost.manage.rest.endpoint import Asked


_TAG = "connectors"
type _Name = Annotated[str, Meta(max_length=1000)]


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


def _rehearsal(asked: Asked) -> dict[str, Any]:
    query: RehearsalQuestion = asked.query
    since = seconds("since", query.since)
    question = Question(query.name, since, query.organization, query.direction or None, query.rule, query.replay)
    return rehearsal_record(rehearsal(asked.gateway, asked.principal, question))


ENDPOINTS = (
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
