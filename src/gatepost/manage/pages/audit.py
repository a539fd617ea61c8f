"""Who did what: a list with filters, and a page for each deed and each change with what was before and after.

For everyone, as far as they see the organizations (`manage.use_cases.audit`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import JSONResponse
from starlette.routing import Route

from gatepost.manage.access.actions import ACTIONS, present
from gatepost.manage.access.principal import Scope
from gatepost.manage.access.records import DeedFilter, Outcome
from gatepost.manage.pages import places
from gatepost.manage.pages.exports import exported
from gatepost.manage.pages.guard import accounts_of, context_of, gateway_of, not_there, who
from gatepost.manage.pages.pages import render
from gatepost.manage.pages.paging import fitting
from gatepost.manage.pages.values import cut
from gatepost.manage.use_cases.accounts import deed_record
from gatepost.manage.use_cases.audit import (
    AuditPlace,
    audit,
    audit_entry_record,
    deed,
    deed_differences,
    every_entry,
)
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.history import GetVersion, get_version
from gatepost.manage.use_cases.times import moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.use_cases.differences import FieldChange


_SIZE: Final = 50
_SHOWN: Final = 200  # changes of a page
_COLUMNS = ("at", "who", "address", "action", "organization", "subject", "outcome", "deed", "version", "detail")


def _list(request: Request) -> Response:
    gateway, accounts, principal = gateway_of(request), accounts_of(request), who(request)
    wanted, errors = _wanted(request)
    if not errors and (
        found := exported(
            request,
            "audit",
            _COLUMNS,
            lambda: map(audit_entry_record, every_entry(gateway, accounts, principal, wanted)),
        )
    ):
        return found
    rows, after = (
        ([], None) if errors else audit(gateway, accounts, principal, wanted, limit=_SIZE, before=_place(request))
    )
    return render(
        request,
        "accounts/audit.html",
        422 if errors else 200,
        rows=rows,
        after=f"{after.deed}-{after.version}" if after else "",
        given={name: request.query_params.get(name, "") for name in ("who", "outcome", "since", "until")}
        | {"action": wanted.action},
        actions=ACTIONS,
        outcomes=list(Outcome),
        errors=errors,
        links_users=principal.may(Scope.OWNER),
    )


def _wanted(request: Request) -> tuple[DeedFilter, dict[str, str]]:
    """What is asked for, and what of it cannot be read."""
    query = request.query_params
    errors: dict[str, str] = {}
    times: dict[str, Any] = {}
    for name in ("since", "until"):
        try:
            times[name] = moment(query[name].strip()) if query.get(name, "").strip() else 0.0
        except ValueError as error:
            errors[name] = str(error)
    outcome = query.get("outcome", "")
    if outcome and outcome not in set(Outcome):
        errors["outcome"] = f"must be one of {', '.join(Outcome)}"
        outcome = ""
    wanted = DeedFilter(
        who=query.get("who", "").strip(),
        action=present(query.get("action", "").strip()),
        organization=query.get("organization", "").strip() or None,
        outcome=Outcome(outcome) if outcome else None,
        **times,
    )
    return wanted, errors


def _place(request: Request) -> AuditPlace:
    """Where the page begins; the newest, for what no page gave."""
    of_deeds, _, of_versions = request.query_params.get("before", "").partition("-")
    one, version = places.number_of(of_deeds), places.number_of(of_versions)
    return AuditPlace() if one is None or version is None else AuditPlace(one, version)


def _deed(request: Request) -> Response:
    one = deed(accounts_of(request), who(request), _number(request))
    if request.query_params.get("format") == "json":
        return JSONResponse(deed_record(one))
    shown = [(name, _text(value)) for name, value in one.detail.items() if name not in {"before", "after"}]
    return render(request, "accounts/deed.html", deed=one, changes=_shown(deed_differences(one)), detail=shown)


def _version(request: Request) -> Response:
    change = execute(get_version, context_of(request), GetVersion(version=str(_number(request))))
    if request.query_params.get("format") == "json":
        return JSONResponse(msgspec.to_builtins(change))
    changes = _shown(change.changes[:_SHOWN])
    return render(request, "accounts/version.html", change=change, changes=changes, total=len(change.changes))


def _number(request: Request) -> int:
    number = places.number_of(request.path_params["number"])
    if number is None:
        raise not_there()
    return number


def _shown(changes: Sequence[FieldChange]) -> list[tuple[str, str | None, str | None]]:
    """For the macro `diff`, as many as there is room for."""
    told = (
        (one.path, None if one.sign == "+" else _text(one.before), None if one.sign == "-" else _text(one.after))
        for one in changes
    )
    return fitting(told, _SHOWN)


def _text(value: Any) -> str:
    return cut(value if isinstance(value, str) else msgspec.json.encode(value).decode())


ROUTES = [
    Route("/audit", _list),
    Route("/audit/deeds/{number}", _deed),
    Route("/audit/versions/{number}", _version),
]
