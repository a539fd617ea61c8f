"""The audit log: a list with filters, and a page for each event and each change with values before and after.

For everyone, as far as they see the organizations (`manage.use_cases.audit`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gatepost.language import _, translated
from gatepost.manage.access.actions import LABELS, action_label, action_name
from gatepost.manage.access.records import AuditOutcome
from gatepost.manage.pages import resource_paths
from gatepost.manage.pages.account_forms import field_errors
from gatepost.manage.pages.exports import exported
from gatepost.manage.pages.guard import every, not_there, perform
from gatepost.manage.pages.paging import StoredRows, by_fields, fitting, stored_rows
from gatepost.manage.pages.rendering import render
from gatepost.manage.pages.text_filters import cut
from gatepost.manage.pages.time_zones import local_times
from gatepost.manage.use_cases.audit import ListAudit, ShowAuditEvent, differences, get_audit_event, list_audit
from gatepost.manage.use_cases.history import GetVersion, get_version
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.texts import NN_

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from gatepost.manage.use_cases.audit import AuditEntry
    from gatepost.manage.use_cases.differences import FieldChange
    from gatepost.manage.use_cases.paging import Columns


_SIZE: Final = 50
_SORTS: Final[Columns[AuditEntry]] = by_fields(
    "address", "subject", "organization", time="at", user="who", outcome="outcome.value"
) | {"action": lambda entry: _shown_action(entry.action)}
_SHOWN: Final = 200  # changes of a page
_COLUMNS = ("at", "who", "address", "action", "organization", "subject", "outcome", "event", "version", "detail")
_FILTERS: Final = ("who", "action", "organization", "outcome", "since", "until")


def _list(request: Request) -> Response:
    values = {name: request.query_params.get(name, "").strip() for name in _FILTERS}
    filters: dict[str, Any] = {name: text for name, text in local_times(request, values).items() if text}
    errors: dict[str, str] = {}
    page: StoredRows[AuditEntry] = StoredRows((), "", "", None)
    try:
        if file := exported(request, "audit", _COLUMNS, lambda: every(request, list_audit, ListAudit(**filters))):
            return file
        wanted = ListAudit(**filters, limit=_SIZE, after=request.query_params.get("before", ""))
        page = stored_rows(request, list_audit, wanted, _SORTS, NN_("%(num)s event", "%(num)s events"))
    except Refusal as refusal:
        errors = field_errors(refusal)
    return render(
        request,
        "accounts/audit.html",
        **page._asdict(),
        given=values | {"action": action_name(values["action"])},
        actions=translated(LABELS),
        action_label=_shown_action,
        outcomes=list(AuditOutcome),
        errors=errors,
    )


def _shown_action(name: str) -> str:
    return _(action_label(name))


def _event(request: Request) -> Response:
    entry = perform(request, get_audit_event, ShowAuditEvent(event=_number(request)))
    if request.query_params.get("format") == "json":
        return JSONResponse(msgspec.to_builtins(entry))
    shown = [(name, _text(value)) for name, value in entry.detail.items() if name not in {"before", "after"}]
    return render(
        request,
        "accounts/audit_event.html",
        event=entry,
        action=_shown_action(entry.action),
        changes=_shown(differences(entry)),
        detail=shown,
    )


def _version(request: Request) -> Response:
    change = perform(request, get_version, GetVersion(version=str(_number(request))))
    if request.query_params.get("format") == "json":
        return JSONResponse(msgspec.to_builtins(change))
    changes = _shown(change.changes[:_SHOWN])
    return render(request, "accounts/version.html", change=change, changes=changes, total=len(change.changes))


def _number(request: Request) -> int:
    number = resource_paths.number_of(request.path_params["number"])
    if number is None:
        raise not_there()
    return number


def _shown(changes: Sequence[FieldChange]) -> list[tuple[str, str | None, str | None]]:
    """For the macro `diff`, as many as there is room for."""
    texts = (
        (
            change.path,
            None if change.sign == "+" else _text(change.before),
            None if change.sign == "-" else _text(change.after),
        )
        for change in changes
    )
    return fitting(texts, _SHOWN)


def _text(value: Any) -> str:
    return cut(value if isinstance(value, str) else msgspec.json.encode(value).decode())


ROUTES = [
    Route("/audit", _list),
    Route("/audit/events/{number}", _event),
    Route("/audit/versions/{number}", _version),
]
