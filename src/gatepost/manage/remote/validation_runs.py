"""Connectors of another gateway tried by that gateway: begun by one call, and asked about until it has ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from gatepost.manage.remote.resources import FetchedGateway
from gatepost.manage.remote.times import time_text
from gatepost.manage.use_cases.choice import choose_connector
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.validation import check_trial
from gatepost.manage.use_cases.validation_runs import SECONDS
from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.rules import PrefixLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatepost.manage.remote.connection import Connection
    from gatepost.manage.use_cases.validation import Trial
    from gatepost.manage.use_cases.validation_runs import Wanted
    from gatepost.policy.connectors.model import Resources


_WAIT: Final = 1.0  # seconds that a call waits for the end: whoever looks on sees tasks go on
_MARGIN: Final = 60.0


def validated(
    connection: Connection, wanted: Wanted, watch: Callable[[dict[str, Any]], None] = lambda _: None
) -> dict[str, Any]:
    """As `manage.use_cases.validation_runs.validated`."""
    resources = _resources(connection, wanted.draft)
    chosen = choose_connector(resources, wanted.name, wanted.organization, wanted.direction)
    check_trial(chosen, wanted.trial)
    path = f"/organizations/{quote(chosen.organization.name, safe='')}/validations"
    body = {"connector": chosen.connector.name, "direction": chosen.direction, **_fields(wanted.trial)}
    body |= {} if wanted.draft is None else {"resources": wanted.draft}
    state = connection.call("POST", path, query={"wait": _WAIT}, body=body).value
    end = time.monotonic() + SECONDS + _MARGIN
    while not state["done"]:
        if state["result"] is not None:
            watch(state["result"])
        if time.monotonic() > end:
            raise Refusal(Kind.UNREADABLE, f"{connection.url}: the validation does not end")
        state = connection.get(f"{path}/{quote(state['id'], safe='')}", wait=_WAIT).value
    if state["trouble"] or state["result"] is None:
        raise Refusal(Kind.UNREADABLE, f"{connection.url}: {state['trouble']}")
    record: dict[str, Any] = state["result"]
    return record


def _resources(connection: Connection, draft: Mapping[str, Any] | None) -> Resources:
    """Those that are stored there, with the organizations of a draft in place of their own."""
    fetched = FetchedGateway(connection)
    if draft is None:
        return fetched.directory().resources
    try:
        return parse({"organization": {**fetched.tables, **draft.get("organization", {})}}, prefixes=PrefixLimits(0, 0))
    except ResourceErrors as errors:
        raise Refusal(Kind.INPUT, "It was not tried.", errors.errors) from errors


def _fields(trial: Trial) -> dict[str, Any]:
    given = {
        "recipients": list(trial.recipients),
        "sender": trial.sender,
        "session": trial.session,
        "certificate": trial.certificate.decode("utf-8", "replace"),
        "ip": trial.ip,
        "forward_path": trial.forward_path,
        "since": time_text(trial.since),
    }
    reverse_path = {} if trial.reverse_path is None else {"reverse_path": trial.reverse_path}
    return {name: value for name, value in given.items() if value} | reverse_path
