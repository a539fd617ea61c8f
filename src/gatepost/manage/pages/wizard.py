"""The way to a new connector: from the scenario by the questions that fit it to one that was tried and is saved.

Each step is a page of its own, whose address has all answers so far. Nothing is changed before the last step.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.routing import Route

from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.draft import Draft, draft_of, problems, table_of
from gatepost.manage.pages.guard import context_of, gateway_of, needs, who
from gatepost.manage.pages.pages import LONG_PATIENCE, PATIENCE, PENDING, is_partial, link, render, see_other
from gatepost.manage.pages.places import connector_path
from gatepost.manage.pages.scenarios import SCENARIOS, need
from gatepost.manage.pages.tasks import task_items
from gatepost.manage.pages.validation import ended, live, refused_fields, request_of
from gatepost.manage.use_cases.change import Wish
from gatepost.manage.use_cases.choice import choose_connector, visible
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.part_cases import PARTS, AddPart
from gatepost.manage.use_cases.part_record import part_command, part_toml
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.report_counts import ReportCounts
from gatepost.manage.use_cases.resources import PartName, add_part
from gatepost.manage.use_cases.validation import keep_validation
from gatepost.manage.use_cases.validation_runs import (
    Candidate,
    ValidateConnector,
    start_candidate,
    state_of,
    trial_of,
)
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import Resources

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.use_cases.change import Outcome
    from gatepost.manage.use_cases.choice import Chosen
    from gatepost.policy.connectors.records import Organization


_PATH: Final = "/connectors/new"
_WEEK: Final = 7 * 86_400.0
_MODES: Final = ("rehearse", "enforce", "disabled")
_REMEMBERED: Final = 100
_TITLES: Final = {
    "scenario": "Scenario",
    "name": "Connector name",
    "use": "Use of connector",
    "routing": "Routing",
    "security": "Security restrictions",
    "check": "Validation",
    "save": "Review",
}
_FIRST_ANSWERS: Final[dict[str, dict[str, str]]] = {
    "to-partner": {"use": "domains", "routing": "mx", "tls_settings": "certificate-validation"},
    "to-own": {"use": "accepted", "tls_settings": "certificate-validation"},
    "from-partner": {"require_tls": "on"},
    "from-own": {"known_by": "certificate", "require_tls": "on"},
}
"""What is chosen before somebody chooses: what Exchange recommends."""


class _Tried:
    """What came of trying drafts, until they are saved: so that a list knows it then. Bounded; the oldest go."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._records: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def keep(self, key: str, record: dict[str, Any]) -> str:
        with self._lock:
            self._records[key] = record
            self._records.move_to_end(key)
            while len(self._records) > _REMEMBERED:
                self._records.popitem(last=False)
        return ""

    def of(self, key: str) -> dict[str, Any] | None:
        with self._lock:
            return self._records.get(key)


_TRIED: Final = _Tried()


def _owners(request: Request) -> Sequence[Organization]:
    """Organizations that who asks may make connectors in. Raises HTTPException if there can be none."""
    principal = who(request)
    if Scope.CONNECTORS not in principal.scopes and Scope.OWNER not in principal.scopes:
        needs(request, Scope.CONNECTORS, next(iter(principal.organizations or ()), None))
    return visible(gateway_of(request).directory().resources, principal).organizations


def _owner(request: Request, draft: Draft) -> Organization | None:
    """Whose the connector will be, if that is known and there is one."""
    owners = _owners(request)
    if not draft.organization:
        return owners[0] if len(owners) == 1 else None
    return next((one for one in owners if one.name == draft.organization), None)


def _step(request: Request) -> Response:
    query = request.query_params
    draft, at = draft_of(query), query.get("at", "")
    owner = _owner(request, draft)
    if query.get("go") and at:
        return _go(request, draft, owner, at)
    step = query.get("step", "scenario")
    scenario = draft.scenario
    if scenario is None or owner is None or step not in scenario.steps:
        step = "scenario"
    return _page(request, draft, owner, step)


def _go(request: Request, draft: Draft, owner: Organization | None, at: str) -> Response:
    """On to the next step if the answers of this one are right, or back in any case."""
    scenario, back = draft.scenario, request.query_params.get("go") == "back"
    errors: dict[str, str] = {}
    if scenario is None:
        errors["scenario"] = "Choose one."
    if owner is None:
        known = draft.organization
        errors["organization"] = f"There is no organization {known!r}." if known else "Choose whose it will be."
    if errors or scenario is None or owner is None:
        return _page(request, draft, owner, "scenario", errors=errors)
    place = scenario.steps.index(at) if at in scenario.steps else 0
    draft = draft.with_done(scenario.steps[place])
    if back:
        return _at(draft, owner, scenario.steps[max(0, place - 1)])
    if errors := problems(draft, at, owner, gateway_of(request).settings.limits.prefixes()):
        return _page(request, draft, owner, at, errors=errors)
    return _at(draft, owner, scenario.steps[min(place + 1, len(scenario.steps) - 1)])


def _at(draft: Draft, owner: Organization, step: str) -> Response:
    return RedirectResponse(_address(draft, owner, step), HTTPStatus.SEE_OTHER)


def _address(draft: Draft, owner: Organization | None, step: str, path: str = _PATH, **more: str) -> str:
    answers = {**draft.answers, "organization": owner.name if owner else draft.organization}
    return link(path, step=step, **more, **answers)


def _page(
    request: Request,
    draft: Draft,
    owner: Organization | None,
    step: str,
    *,
    errors: Mapping[str, str] | None = None,
    **context: Any,
) -> Response:
    scenario = draft.scenario
    steps = scenario.steps if scenario else ("scenario", "name")
    asked = draft.asked_in(step)
    if scenario and step not in draft.done and not errors:
        first = {name: text for name, text in _FIRST_ANSWERS[scenario.key].items() if name in asked}
        draft = Draft({**first, **draft.answers})
    errors, owners = errors or {}, _owners(request)
    given: dict[str, Any] = {
        "draft": draft,
        "owner": owner,
        "owners": [one.name for one in owners],
        "organization_choices": [("", "Choose one"), *((one.name, one.display_name or one.name) for one in owners)],
        "scenario": scenario,
        "scenarios": SCENARIOS.values(),
        "needs": {one.key: need(one, owner) for one in SCENARIOS.values()} if owner else {},
        "step": step,
        "title": _TITLES[step],
        "steps": [_TITLES[one] for one in steps],
        "current": steps.index(step) + 1,
        "paths": [_address(draft, owner, one) for one in steps],
        "kept": {name: text for name, text in draft.answers.items() if name not in asked and name != "organization"},
        "errors": errors,
        "tasks": (),
        "trial": ValidateConnector(organization="", connector=""),
        "effects": None,
        "open": (),
        **context,
    }
    if step == "save" and scenario and owner:
        given |= _review(request, draft, owner)
    elif step == "check" and scenario and owner and not given["tasks"]:
        record = _TRIED.of(_key(request, draft, owner))
        given["tasks"] = task_items(record) if record else ()
    wanted = "effects" if request.query_params.get("part") == "effects" else ""
    status = HTTPStatus.UNPROCESSABLE_ENTITY if errors else HTTPStatus.OK
    return render(request, "wizard/wizard.html", status, block=wanted, **given)


def _left(request: Request, draft: Draft, owner: Organization) -> list[tuple[str, str, str]]:
    """What is missing or wrong yet: the step, its address, and what to do."""
    scenario = draft.scenario
    assert scenario is not None  # noqa: S101 - asked of drafts with one
    prefixes = gateway_of(request).settings.limits.prefixes()
    left = []
    for step in scenario.steps[1:-2]:
        found = problems(draft, step, owner, prefixes)
        if step not in draft.done:
            found = {"": "This was not answered yet."}
        left += [(_TITLES[step], _address(draft, owner, step), text) for text in found.values()]
    return left


def _review(request: Request, draft: Draft, owner: Organization) -> dict[str, Any]:
    """What the last step shows: what is missing, what was tried, and, when that is asked for, what it would do."""
    left = _left(request, draft, owner)
    given: dict[str, Any] = {
        "table": table_of(draft),
        "open": left,
        "record": _TRIED.of(_key(request, draft, owner)),
        "effects_path": _address(draft, owner, "save", part="effects"),
        "mode": request.state.form.get("mode", "rehearse"),
        "note": request.state.form.get("note", ""),
    }
    if not left and request.query_params.get("part") == "effects":
        gateway = gateway_of(request)
        question = "wizard effects", who(request), _key(request, draft, owner), gateway.directory().version
        patience = PATIENCE if is_partial(request) else LONG_PATIENCE
        found = gateway.kept(ReportCounts).answers.of(question, partial(_effects, request, draft, owner), patience)
        given["effects"] = PENDING if found is None else found.value
    return given


def _effects(request: Request, draft: Draft, owner: Organization) -> dict[str, Any]:
    """What it would do to the mail of a week; this is kept, and so without all the resources."""
    outcome = _added(request, draft, owner, Wish(who(request).name, dry_run=True, since=time.time() - _WEEK))
    part = _chosen(outcome.after, draft, owner).part
    kept = replace(outcome, after=Resources())
    return {"outcome": kept, "command": part_command(part), "toml": part_toml(part)}


def _added(request: Request, draft: Draft, owner: Organization, wish: Wish) -> Outcome:
    """The resources as they would be with it; wish: a dry run."""
    scenario = draft.scenario
    assert scenario is not None  # noqa: S101 - asked of drafts with one
    named = PartName(scenario.kind, owner.name, draft["name"])
    return add_part(gateway_of(request), who(request), named, table_of(draft), wish)


def _chosen(resources: Resources, draft: Draft, owner: Organization) -> Chosen:
    scenario = draft.scenario
    assert scenario is not None  # noqa: S101 - asked of drafts with one
    return choose_connector(resources, draft["name"], owner.name, scenario.direction)


def _key(request: Request, draft: Draft, owner: Organization) -> str:
    """What was tried is known by all that decides on it."""
    table = table_of(draft) | {"comment": ""}
    return json.dumps([who(request).name, owner.name, draft["scenario"], draft["name"].lower(), table], sort_keys=True)


# ------------------------------------------------------------------------------------------------ trying and saving


def _given(request: Request) -> tuple[Draft, Organization]:
    """The draft of a form or an address, whole enough for more than a page. Raises HTTPException."""
    given = request.state.form if request.method == "POST" else request.query_params
    draft = draft_of(given)
    owner = _owner(request, draft)
    if owner is None or draft.scenario is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "Begin with the scenario.")
    needs(request, Scope.CONNECTORS, owner.name)
    return draft, owner


def _candidate(request: Request, draft: Draft, owner: Organization, wanted: ValidateConnector) -> Candidate:
    outcome = _added(request, draft, owner, Wish(who(request).name, dry_run=True))
    chosen = _chosen(outcome.after, draft, owner)
    key = _key(request, draft, owner)

    def keep(record: dict[str, Any]) -> str:
        return _TRIED.keep(key, record)

    return Candidate(Directory(outcome.after, outcome.version), chosen, trial_of(wanted), keep, draft=True)


def _begin(request: Request) -> Response:
    """With htmx the tasks that follow it; without, when it has ended, the step anew."""
    draft, owner = _given(request)
    scenario, is_live = draft.scenario, request.headers.get("hx-request") == "true"
    assert scenario is not None  # noqa: S101 - _given says so
    wanted = request_of(owner.name, scenario.direction, draft["name"], request.state.form)
    try:
        state = state_of(start_candidate(context_of(request), _candidate(request, draft, owner, wanted)))
        if is_live:
            return live(request, state)
        record = ended(request, owner.name, state)
    except Refusal as refusal:
        errors = refused_fields(refusal)
        if is_live:
            return render(request, "connectors/refused.html", errors=errors)
        return _page(request, draft, owner, "check", errors=errors, trial=wanted)
    return _page(request, draft, owner, "check", tasks=task_items(record), trial=wanted)


def _save(request: Request) -> Response:
    draft, owner = _given(request)
    mode = request.state.form.get("mode", "")
    scenario = draft.scenario
    assert scenario is not None  # noqa: S101 - _given says so
    if mode not in _MODES:
        return _page(request, draft, owner, "save", errors={"mode": "Choose how it is saved."})
    if _left(request, draft, owner):
        return _page(request, draft, owner, "save", errors={"": "Something is missing yet: nothing was saved."})
    table = table_of(draft, mode) | {"name": draft["name"]}
    asked = AddPart(organization=owner.name, document=table, note=request.state.form.get("note", "")[:500])
    try:
        outcome = execute(PARTS[scenario.kind.key].add, context_of(request), asked).value
    except Refusal as refusal:
        if refusal.kind is Kind.UNREADABLE:
            raise
        return _page(request, draft, owner, "save", errors=_errors(refusal))
    _keep_trial(request, draft, owner, outcome.version)
    text = " ".join([f"Connector {draft['name']} was saved as version {outcome.version}.", *outcome.warnings])
    path = connector_path(owner.name, scenario.direction, draft["name"])
    return see_other(request, link(path, made="yes"), text, "warn" if outcome.warnings else "pass")


def _keep_trial(request: Request, draft: Draft, owner: Organization, version: int) -> None:
    """What the draft was tried with holds for the connector that it became."""
    if record := _TRIED.of(_key(request, draft, owner)):
        gateway, kept = gateway_of(request), record | {"configuration": version}
        keep_validation(gateway, _chosen(gateway.directory().resources, draft, owner), kept)


def _errors(refusal: Refusal) -> dict[str, str]:
    """For the summary above the form: which field, and what is wrong."""
    return {one.path or "": f"{one.path}: {one.message}" for one in refusal.errors} or {"": refusal.text}


ROUTES = [
    Route(_PATH, _step, methods=["GET"]),
    Route(_PATH, _save, methods=["POST"]),
    Route(f"{_PATH}/validate", _begin, methods=["POST"]),
]
