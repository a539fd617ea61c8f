"""Drills of outbound connectors held by a call, as `gatepost connector drill` does, and the last one that is kept.

A drill takes up to 15 seconds: the call begins it and waits for as long as it is told; what came of it is there for an
hour, and what is kept of it for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.endpoint import Answer, Endpoint, Reach
from gatepost.manage.rest.problem import Problem
from gatepost.manage.use_cases.choice import visible
from gatepost.manage.use_cases.drills import Drill, begin_drill, choose_drilled, last_drill
from gatepost.manage.use_cases.jobs import Jobs
from gatepost.manage.web.problem import ProblemType

if TYPE_CHECKING:
    from gatepost.manage.rest.endpoint import Asked
    from gatepost.manage.use_cases.drills import Drilled
    from gatepost.manage.use_cases.jobs import Job


_TAG = "connectors"
_OWNER = {"organization": "Whose connector it is."}


class Patience(msgspec.Struct, kw_only=True):
    """How long to wait for the result."""

    wait: Annotated[float, Meta(ge=0, le=25, description="Seconds to wait for the end.")] = 20.0


class DrillConnector(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """connector: an outbound one, enabled or not."""

    connector: Annotated[str, Meta(max_length=1000)]


class HeldDrill(msgspec.Struct):
    """A drill, as `gatepost connector drill --json` prints it (record), and what is kept of it.

    passed: whether what the connector promises was held. evidence: the file on the gateway's machine, "" if it is not
    kept. sha256: of the record. unkept: why it is not kept. fault: why what is kept is not what was written, and then
    nothing of it may be believed. recorded: whether the trace has the same SHA-256. changed: whether the connector is
    another one since. troubles: what else could not be written.
    """

    record: dict[str, Any]
    passed: bool
    evidence: str
    sha256: str
    unkept: str
    fault: str
    recorded: bool
    changed: bool
    troubles: list[str]


class DrillState(msgspec.Struct):
    """A drill that was begun. trouble: why it ended without a result. result: null until it is done."""

    id: str
    connector: str
    done: bool
    trouble: str
    result: HeldDrill | None


class LastDrill(msgspec.Struct):
    """drill: the last one that is kept, just verified; null if none is."""

    drill: HeldDrill | None


def _hold(asked: Asked) -> Answer:
    owner, gateway, who = asked.path["organization"], asked.gateway, asked.principal
    seen = visible(gateway.directory().resources, who)
    chosen = choose_drilled(seen, asked.body.connector, owner)
    run = begin_drill(gateway, who, chosen, asked.accounts, asked.by)
    run.wait(asked.query.wait)
    return Answer(_state(run), location=f"/organizations/{quote(chosen.organization.name, safe='')}/drills/{run.id}")


def _show(asked: Asked) -> dict[str, Any]:
    run = asked.gateway.kept(Jobs).find(asked.path["id"], asked.principal, Drill)
    if run.subject.organization != asked.path["organization"]:
        raise Problem(ProblemType.MISSING, "There is no such drill; results are kept for an hour.")
    run.wait(asked.query.wait)
    return _state(run)


def _last(asked: Asked) -> dict[str, Any]:
    found = last_drill(asked.gateway, asked.principal, asked.path["connector"], asked.path["organization"])
    return {"drill": None if found is None else found._asdict()}


def _state(run: Job[Drill, Drilled]) -> dict[str, Any]:
    return {
        "id": run.id,
        "connector": run.subject.text,
        "done": run.done,
        "trouble": run.trouble,
        "result": None if run.result is None else run.result._asdict(),
    }


ENDPOINTS = (
    Endpoint(
        "POST",
        "/organizations/{organization}/drills",
        "Drill an outbound connector: attacks on loopback, with the code that delivers",
        _hold,
        DrillState,
        Scope.CONNECTORS,
        Reach.ORGANIZATION,
        _TAG,
        query=Patience,
        body=DrillConnector,
        status=201,
        seeks=True,
        action="connector-drill",
        recorded=True,
        parameters=_OWNER,
        description="Two runs at a time of one user or token, six of all, checks among them. It is kept as evidence.",
    ),
    Endpoint(
        "GET",
        "/organizations/{organization}/drills/{id}",
        "A drill that was begun",
        _show,
        DrillState,
        Scope.CONNECTORS,
        Reach.ORGANIZATION,
        _TAG,
        query=Patience,
        parameters={**_OWNER, "id": "Of the drill, as its beginning answered."},
    ),
    Endpoint(
        "GET",
        "/organizations/{organization}/last_drill/{connector:path}",
        "The last drill of an outbound connector that is kept, verified now",
        _last,
        LastDrill,
        Scope.READ,
        Reach.ORGANIZATION,
        _TAG,
        parameters={**_OWNER, "connector": "Its name."},
    ),
)
