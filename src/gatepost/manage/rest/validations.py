"""Connectors tried by a call, as `gatepost connector validate` does.

A validation takes up to three minutes: the call begins it and waits for as long as it is told; the result is there for
an hour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.changing import TimeText, seconds
from gatepost.manage.rest.endpoint import Answer, Endpoint, Reach
from gatepost.manage.rest.problem import Problem
from gatepost.manage.use_cases.jobs import Jobs
from gatepost.manage.use_cases.validation import MOST_PEM, Trial
from gatepost.manage.use_cases.validation_runs import Tried, Wanted, begin_validation, candidate
from gatepost.manage.web.problem import ProblemType

if TYPE_CHECKING:
    from gatepost.manage.rest.endpoint import Asked
    from gatepost.manage.use_cases.jobs import Job


_TAG = "connectors"
_MOST = 32 * 1024 * 1024  # as all resources

type _Text = Annotated[str, Meta(max_length=1000)]


class Patience(msgspec.Struct, kw_only=True):
    """How long to wait for the result."""

    wait: Annotated[float, Meta(ge=0, le=25, description="Seconds to wait for the end.")] = 20.0


class ValidateConnector(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is to be tried.

    recipients, sender: outbound, of a test message; none is sent without recipients. session: inbound, a session or
    queue id of the trace, decided anew. ip, reverse_path, forward_path, certificate (PEM, the client's first): inbound,
    a client that would come; reverse_path "" or "<>" is the null reverse-path. since: inbound, from when on mail counts
    as seen. resources: as `PATCH /resources` takes them, to take the connector from, which is not stored then.
    """

    connector: _Text
    direction: Annotated[Literal["", "inbound", "outbound"], Meta(description="Where both have it.")] = ""
    recipients: Annotated[list[_Text], Meta(max_length=10)] = []
    sender: _Text = ""
    session: _Text = ""
    certificate: Annotated[str, Meta(max_length=MOST_PEM)] = ""
    ip: _Text = ""
    reverse_path: _Text | None = None
    forward_path: _Text = ""
    since: TimeText = "30d"
    resources: dict[str, Any] | None = None


class ValidationState(msgspec.Struct):
    """A validation. result: as far as it came, as `gatepost connector validate --json` prints it; null at first.

    Until done, the status of a task may be "running" or "waiting". trouble: why it ended without a result.
    """

    id: str
    connector: str
    done: bool
    trouble: str
    result: dict[str, Any] | None


def _validate(asked: Asked) -> Answer:
    wanted: ValidateConnector = asked.body
    owner, gateway, who = asked.path["organization"], asked.gateway, asked.principal
    meant = Wanted(wanted.connector, owner, wanted.direction or None, _trial(wanted), wanted.resources)
    tried = candidate(gateway, who, meant)
    run = begin_validation(gateway, who, tried, asked.accounts, asked.by)
    run.wait(asked.query.wait)
    if run.refusal is not None and run.refusal.errors:
        raise run.refusal
    return Answer(
        _state(run), location=f"/organizations/{quote(tried.chosen.organization.name, safe='')}/validations/{run.id}"
    )


def _trial(wanted: ValidateConnector) -> Trial:
    return Trial(
        tuple(wanted.recipients),
        wanted.sender,
        wanted.session,
        wanted.certificate.encode("utf-8", "replace"),
        wanted.ip,
        wanted.reverse_path,
        wanted.forward_path,
        seconds("since", wanted.since, part=""),
    )


def _show(asked: Asked) -> dict[str, Any]:
    run = asked.gateway.kept(Jobs).find(asked.path["id"], asked.principal, Tried)
    if run.subject.organization != asked.path["organization"]:
        raise Problem(ProblemType.MISSING, "There is no such validation; results are kept for an hour.")
    run.wait(asked.query.wait)
    return _state(run)


def _state(run: Job[Tried, dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": run.id,
        "connector": run.subject.text,
        "done": run.done,
        "trouble": run.trouble,
        "result": run.result,
    }


ENDPOINTS = (
    Endpoint(
        "POST",
        "/organizations/{organization}/validations",
        "Try a connector, each step a task",
        _validate,
        ValidationState,
        Scope.CONNECTORS,
        Reach.ORGANIZATION,
        _TAG,
        query=Patience,
        body=ValidateConnector,
        status=201,
        most=_MOST,
        seeks=True,
        action="connector-validate",
        recorded=True,
        parameters={"organization": "Whose connector it is."},
        description="Two at a time of one user or token, six of all, checks among them. It is on record.",
    ),
    Endpoint(
        "GET",
        "/organizations/{organization}/validations/{id}",
        "A validation, as far as it came",
        _show,
        ValidationState,
        Scope.CONNECTORS,
        Reach.ORGANIZATION,
        _TAG,
        query=Patience,
        parameters={
            "organization": "Whose connector it is.",
            "id": "Of the validation, as its beginning answered.",
        },
    ),
)
