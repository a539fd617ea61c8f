"""The history of resources: who changed what, when and why, and each field before and after."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import asdict
from starlette.routing import Route

from gatepost.language import _
from gatepost.manage.pages import resource_paths
from gatepost.manage.pages.account_forms import all_errors
from gatepost.manage.pages.connectors import may_switch
from gatepost.manage.pages.editor import words_of
from gatepost.manage.pages.exports import exported
from gatepost.manage.pages.guard import context_of, every, not_there, perform, principal_of
from gatepost.manage.pages.login import local_target
from gatepost.manage.pages.paging import by_fields, fitting, stored_rows
from gatepost.manage.pages.rendering import render, see_changed, see_other
from gatepost.manage.pages.resource_paths import organization_path, version_path
from gatepost.manage.pages.text_filters import cut, sentence
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.history import GetVersion, HistoryEntry, ListHistory, get_version, list_history
from gatepost.manage.use_cases.nodes import ListNodes, in_force, list_nodes
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resource_actions import RevertResources, revert_resources
from gatepost.sentences import ours
from gatepost.texts import NN_

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.use_cases.differences import FieldChange
    from gatepost.manage.use_cases.paging import Columns


_SIZE = 25
_EXPORTED = 1000
_SORTS: Final[Columns[HistoryEntry]] = by_fields(
    "version", "organization", time="at", user="author", change="summary", reason="note"
)
_SHOWN = 1000  # changes of a page
_UNDONE, _UNDONE_ROOM = 20, 20_000  # revisions that a revert takes back, and the bytes of their rows
_COLUMNS = ("version", "at", "author", "organization", "changes", "summary", "note")
_FIELDS = ("sign", "field", "before", "after")


def _list(request: Request) -> Response:
    query = request.query_params
    organization, before = query.get("organization", ""), query.get("before", "")
    if organization and not principal_of(request).sees(organization):
        raise not_there()

    def records() -> Iterator[dict[str, Any]]:
        history = ListHistory(organization=organization)
        return map(asdict, every(request, list_history, history, _EXPORTED))

    if file := exported(request, "history", _COLUMNS, records):
        return file
    history = ListHistory(organization=organization, limit=_SIZE, after=before)
    page = stored_rows(request, list_history, history, _SORTS, NN_("%(num)s change", "%(num)s changes"))
    return render(
        request,
        "history/list.html",
        **page._asdict(),
        before=before,
        path=version_path,
        organization_path=organization_path,
    )


def _version(request: Request) -> Response:
    version = resource_paths.number_of(request.path_params["version"])
    if version is None:
        raise not_there(_("There is no such revision."))
    try:
        change = perform(request, get_version, GetVersion(version=str(version)))
    except Refusal as refusal:
        if refusal.kind is not RefusalKind.MISSING:
            raise
        raise not_there(f"{sentence(ours(refusal.text))}.") from refusal
    changes = change.changes
    if file := exported(request, f"version-{version}", _FIELDS, lambda: changes):
        return file
    rows = fitting(map(_change_row, changes), _SHOWN)
    more = len(changes) - len(rows)
    return render(
        request,
        "history/version.html",
        change=change,
        changes=rows,
        more=more,
        places=_in_force(request, version),
        may_change=may_switch(principal_of(request)),
    )


def _revert(request: Request) -> Response:
    """The way back to a revision: shown first, with what it takes back, then done."""
    version = resource_paths.number_of(request.path_params["version"])
    if version is None:
        raise not_there(_("There is no such revision."))
    posted = request.method == "POST"
    form = request.state.form if posted else {}
    note = form.get("note", "").strip()[:500] or f"Revert to revision {version}"
    wanted = RevertResources(version=version, note=note, since="")
    if not posted:
        return _revert_page(request, wanted)
    try:
        context = context_of(request, expected=resource_paths.number_of(form.get("expected", "")) or 0)
        outcome = execute(revert_resources, context, wanted).value
    except Refusal as refusal:
        if refusal.kind is RefusalKind.CONFLICT:
            text = _("Nothing was reverted: somebody changed the configuration since this was shown. Look at it again.")
            return _revert_page(request, wanted, HTTPStatus.CONFLICT, text)
        if refusal.kind is RefusalKind.INPUT:
            raise Refusal(refusal.kind, f"{ours(refusal.text)}: {all_errors(refusal)}") from refusal
        raise
    back = local_target(form.get("back", version_path(outcome.version)))
    if not outcome.changes:
        return see_other(request, back, _("There was nothing to revert."), "info")
    said = _(
        "%(note)s: saved as revision %(version)s%(places)s.", note=note, version=outcome.version, places=outcome.places
    )
    return see_changed(request, back, said, outcome.warnings)


def _revert_page(request: Request, wanted: RevertResources, status: int = 0, error: str = "") -> Response:
    outcome = execute(revert_resources, context_of(request, dry_run=True), wanted).value
    rows = fitting(map(_change_row, outcome.changes), _SHOWN, taken=_UNDONE_ROOM)
    return render(
        request,
        "history/revert.html",
        status,
        error=error,
        version=wanted.version,
        note=wanted.note,
        outcome=outcome,
        undone=outcome.undone[:_UNDONE],
        changes=rows,
        more=len(outcome.changes) - len(rows),
        path=version_path,
    )


def _in_force(request: Request, version: int) -> str:
    """On which nodes a revision is in force, and on which it is not yet; "" where that is not to be seen."""
    if not principal_of(request).is_of_gateway:
        return ""
    try:
        nodes = list(every(request, list_nodes, ListNodes()))
    except Refusal:
        return _("not available")
    done, open_ = in_force(nodes, version)
    text = ", ".join(done) or _("no running node")
    return _("%(text)s; not yet on %(value)s", text=text, value=", ".join(open_)) if open_ else text


def _change_row(change: FieldChange) -> tuple[str, str | None, str | None]:
    """For the macro `diff`; the files have what is cut."""
    return change.path.removeprefix("organization."), _short(words_of(change.before)), _short(words_of(change.after))


def _short(text: str | None) -> str | None:
    return None if text is None else cut(text)


ROUTES = [
    Route("/history", _list),
    Route("/history/{version}", _version),
    Route("/history/{version}/revert", _revert, methods=["GET", "POST"]),
]
