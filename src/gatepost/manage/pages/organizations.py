"""Organizations: the list, one with what it is made of, and its form. Who sees only some makes and removes none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.routing import Route

from gatepost.language import _
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.editor import EditedResource, FormChangeOptions, edit, send_change
from gatepost.manage.pages.exports import MOST, exported
from gatepost.manage.pages.guard import needs, not_there, or_not_there, perform, principal_of
from gatepost.manage.pages.paging import by_fields, sorted_page
from gatepost.manage.pages.rendering import render, see_changed
from gatepost.manage.pages.resource_kinds import KIND_PAGES
from gatepost.manage.pages.resource_paths import organization_path
from gatepost.manage.use_cases import part_record, resource_views
from gatepost.manage.use_cases.history import ListHistory, PartChange, list_history
from gatepost.manage.use_cases.name_lookup import KINDS
from gatepost.manage.use_cases.paging import ListSelection
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resource_cases import (
    AddOrganization,
    RemoveOrganization,
    SetOrganization,
    add_organization,
    remove_organization,
    set_organization,
)
from gatepost.policy.connectors.records import Organization
from gatepost.sentences import ours
from gatepost.texts import NN_

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.use_cases.change_shapes import ChangeReport


_SORTS: Final[dict[str, Callable[[resource_views.OrganizationRow], Any]]] = by_fields(
    "name", "display_name", "domains", "mailboxes", "inbound_connectors", "outbound_connectors", "rules"
)
_SHOWN = 200  # parts of which the whole file of an organization is shown on its page


def _list(request: Request) -> Response:
    principal = principal_of(request)
    wanted = request.query_params.get("q", "").strip()

    def records() -> Iterator[dict[str, Any]]:
        for row in perform(request, resource_views.find_organizations, ListSelection(q=wanted, limit=MOST)).rows:
            yield row._asdict()

    if file := exported(request, "organizations", resource_views.OrganizationRow._fields, records):
        return file
    every = perform(request, resource_views.find_organizations, ListSelection(q=wanted))
    page = sorted_page(request, every.rows, _SORTS, NN_("%(num)s organization", "%(num)s organizations"))
    return render(
        request,
        "organizations/list.html",
        **page._asdict(),
        q=wanted,
        may_add=principal.may(Scope.CONNECTORS),
        path=organization_path,
        tabs=[(_(text), path, path == request.url.path) for text, path in KIND_PAGES[0].tabs],
    )


def _one(request: Request) -> Organization:
    """The one that the address names, if who asks sees it. Raises HTTPException."""
    name = request.path_params["name"]
    if not principal_of(request).sees(name):
        raise not_there()
    with or_not_there(_("There is no organization %(name)s.", name=repr(name))):
        return perform(request, resource_views.view_organization, resource_views.ViewOrganization(organization=name))


def _view(request: Request) -> Response:
    return _shown(request, _one(request))


def _shown(request: Request, one: Organization, error: str = "") -> Response:
    counts = {kind.key: len(kind.of(one)) for kind in KINDS.values()}
    small = sum(counts.values()) <= _SHOWN
    history = ListHistory(organization=one.name, limit=1)
    newest = perform(request, list_history, history).items if small else ()
    return render(
        request,
        "organizations/organization.html",
        one=one,
        counts=counts,
        fields=part_record.fields_of(part_record.without_parts(one)),
        command=part_record.organization_command(one),
        toml=part_record.organization_toml(one)
        if small
        else "# It has many parts: gatepost export prints all of it.\n",
        newest=newest[0] if newest else None,
        may_change=principal_of(request).may(Scope.CONNECTORS, one.name),
        may_remove=principal_of(request).may(Scope.CONNECTORS),
        here=organization_path(one.name),
        edit=organization_path(one.name, "edit"),
        error=error,
    )


def _remove(request: Request) -> Response:
    existing = _one(request)
    needs(request, Scope.CONNECTORS)
    form = request.state.form
    if form.get("do") != "remove":
        raise not_there(_("There is no such action."))
    if form.get("again", "").strip() != existing.name:
        text = _("The name does not match, so nothing was removed. Enter %(name)s to confirm.", name=existing.name)
        return _shown(request, existing, text)
    try:
        organization = RemoveOrganization(organization=existing.name, note=form.get("note", "").strip()[:500])
        outcome = perform(request, remove_organization, organization).value
    except Refusal as refusal:
        if refusal.kind is RefusalKind.UNREADABLE:
            raise
        return _shown(request, existing, ours(refusal.text))
    said = _("Organization %(name)s was removed.", name=existing.name)
    return see_changed(request, "/organizations", said, outcome.warnings)


def _edit(request: Request) -> Response:
    existing = _one(request)
    needs(request, Scope.CONNECTORS, existing.name)

    def stored() -> dict[str, Any] | None:
        return part_record.own_table(
            perform(
                request, resource_views.view_organization, resource_views.ViewOrganization(organization=existing.name)
            )
        )

    def change(_name: str, values: dict[str, Any], options: FormChangeOptions) -> ChangeReport:
        return send_change(
            request, set_organization, SetOrganization(organization=existing.name, document=values), options
        )

    def changes() -> Sequence[PartChange]:
        organization_changes = resource_views.ListOrganizationChanges(organization=existing.name)
        return perform(request, resource_views.list_organization_changes, organization_changes).items

    here = organization_path(existing.name)
    edited = EditedResource(
        _("Edit %(name)s", name=existing.name),
        ((_("Organizations"), "/organizations"), (existing.name, here), (_("Edit"), "")),
        Organization,
        stored,
        change,
        lambda _name: here,
        "name",
        ("name",),
        history=changes,
        label=_("Organization %(name)s", name=existing.name),
    )
    return edit(request, edited)


def _new(request: Request) -> Response:
    needs(request, Scope.CONNECTORS)

    def change(name: str, values: dict[str, Any], options: FormChangeOptions) -> ChangeReport:
        fields = {key: value for key, value in values.items() if key != "name" and value is not None}
        return send_change(request, add_organization, AddOrganization(document={"name": name, **fields}), options)

    trail = ((_("Organizations"), "/organizations"), (_("Add organization"), ""))
    edited = EditedResource(
        _("Add organization"),
        trail,
        Organization,
        lambda: None,
        change,
        organization_path,
        "name",
        label=_("The organization"),
    )
    return edit(request, edited)


ROUTES = [
    Route("/organizations", _list),
    Route("/organizations/new", _new, methods=["GET", "POST"]),
    Route("/organizations/view/{name}", _view, methods=["GET"]),
    Route("/organizations/view/{name}", _remove, methods=["POST"]),
    Route("/organizations/edit/{name}", _edit, methods=["GET", "POST"]),
]
