"""Accepted domains, mailboxes, mail flow rules, content hooks, OAuth issuers: listed, shown, added, changed, removed.

One set of pages for all kinds, made from the declarations of their fields. Connectors have a list, a page and a way in
of their own, and are changed here.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec.structs import replace
from starlette.routing import Route

from gatepost.language import _
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.pages.account_forms import refused_fields
from gatepost.manage.pages.connector import DIRECTIONS, chosen_of
from gatepost.manage.pages.editor import EditedResource, FormChangeOptions, change_rows, edit, send_change
from gatepost.manage.pages.exports import MOST, exported
from gatepost.manage.pages.guard import needs, not_there, or_not_there, own_organizations, perform, principal_of
from gatepost.manage.pages.paging import foot, order_of, paged
from gatepost.manage.pages.rendering import render, see_changed, see_other
from gatepost.manage.pages.resource_kinds import KIND_PAGES, KindPage, column_key
from gatepost.manage.pages.resource_paths import edit_path, list_path, named_path, part_path, trust_path, version_path
from gatepost.manage.pages.text_filters import sentence
from gatepost.manage.use_cases import domain_verification, login_secrets, resource_views
from gatepost.manage.use_cases.name_lookup import DOMAIN, Part, PartKind, status_of
from gatepost.manage.use_cases.paging import sorted_by
from gatepost.manage.use_cases.part_cases import PARTS, AddPart, RemovePart, SetPart
from gatepost.manage.use_cases.part_record import fields_of, part_command, part_toml, table_of
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resource_actions import ChangeRecipients, change_recipients
from gatepost.pki.certificates.directory_secrets import asks_graph, logs_in
from gatepost.sentences import ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.use_cases.change_shapes import ChangeReport
    from gatepost.manage.use_cases.history import PartChange


_CHANGES: Final = 20  # looked at for who changed a field last


def _list(request: Request, page: KindPage) -> Response:
    principal, query, wanted = principal_of(request), request.query_params, request.query_params.get("q", "").strip()
    parts = resource_views.FindParts(kind=page.kind.key, organization=query.get("organization", ""), q=wanted)
    sort = order_of(request, page.sorts)

    def records() -> Iterator[dict[str, Any]]:
        for row in perform(request, resource_views.find_parts, replace(parts, limit=MOST)).rows:
            yield {"organization": row.organization.name, **table_of(row.record)}

    if file := exported(request, page.folder, page.columns, records):
        return file
    every = perform(request, resource_views.find_parts, parts)
    list_page = paged(request, sorted_by(every.rows, sort, page.sorts), every.version)
    return render(
        request,
        "resources/list.html",
        page=page,
        rows=list_page.rows,
        cells=[[cell(row) for _heading, cell in page.cells] for row in list_page.rows],
        mailboxes=_populations(list_page.rows) if page.kind is DOMAIN else {},
        foot=foot(list_page, page.counted),
        q=wanted,
        sort=sort,
        may_change=Scope.CONNECTORS in principal.scopes or Scope.OWNER in principal.scopes,
        path=part_path,
        headings=_headings(page),
        status_of=status_of,
        tabs=[(_(text), path, path == request.url.path) for text, path in page.tabs],
    )


def _headings(page: KindPage) -> list[tuple[str, ...]]:
    more = [(_("Mailboxes"), "", "number"), (_("DNS records"),)] if page.kind is DOMAIN else []
    status = [(_("Status"), "status")] if page.has_status else []
    return [(_("Name"), "name"), *status, *((_(heading), column_key(heading)) for heading, _cell in page.cells), *more]


def _populations(rows: Sequence[Part]) -> dict[str, int]:
    """Number of mailboxes in each domain."""
    owners = {row.organization.name: row.organization for row in rows}
    counts = Counter(box.address.rpartition("@")[2] for owner in owners.values() for box in owner.mailboxes)
    return {row.name: counts[row.name] for row in rows}


def _part(request: Request, kind: PartKind) -> Part:
    """The one that the address names, if who asks sees it. Raises HTTPException."""
    values = request.path_params
    if not principal_of(request).sees(values["organization"]):
        raise not_there()
    with or_not_there(
        _(
            "There is no %(label)s %(name)s in %(organization)s.",
            label=_(kind.label),
            name=repr(values["name"]),
            organization=values["organization"],
        )
    ):
        return _found(request, kind, values["organization"], values["name"])


def _found(request: Request, kind: PartKind, organization: str, name: str) -> Part:
    return perform(
        request, resource_views.view_part, resource_views.ViewPart(kind=kind.key, organization=organization, name=name)
    )


def _changes(request: Request, one: Part, limit: int = 5) -> Sequence[PartChange]:
    changes = resource_views.ListPartChanges(
        kind=one.kind.key, organization=one.organization.name, name=one.name, limit=limit
    )
    return perform(request, resource_views.list_part_changes, changes).items


def _view(request: Request, page: KindPage, more: _More | None = None) -> Response:
    part = _part(request, page.kind)
    if request.method == "POST":
        return _acted(request, page, part, more)
    return _shown(request, page, part, more)


def _shown(
    request: Request, page: KindPage, one: Part, more: _More | None, error: str = "", status: int = 0
) -> Response:
    wanted = request.query_params.get("part", "")
    return render(
        request,
        "resources/part.html",
        status,
        block="changes" if wanted == "changes" else "",
        page=page,
        part=one,
        fields=fields_of(one.record),
        changes=_changes(request, one) if wanted == "changes" else None,
        shown_changes=change_rows,
        version_path=version_path,
        command=part_command(one),
        toml=part_toml(one),
        may_change=principal_of(request).may(Scope.CONNECTORS, one.organization.name),
        edit=edit_path(one),
        here=part_path(one),
        error=error,
        proof=more.proof(request, one) if more else None,
        password=more.password(request, one) if more else "",
        asks_graph=more is not None and asks_graph(one.record),
    )


def _proof(request: Request, one: Part) -> domain_verification.DomainVerification | None:
    """The record to publish for a domain that is pending."""
    if one.record.verified:
        return None
    verification = domain_verification.GetDomainVerification(organization=one.organization.name, domain=one.name)
    return perform(request, domain_verification.get_domain_verification, verification)


def _verified(request: Request, page: KindPage, one: Part) -> Response:
    domain = domain_verification.VerifyDomain(organization=one.organization.name, domain=one.name)
    try:
        outcome = perform(request, domain_verification.verify_domain, domain).value
    except Refusal as refusal:
        text = "\n".join([refusal.text, *map(str, refusal.errors)])
        return _shown(request, page, one, _DOMAIN, text, HTTPStatus.CONFLICT)
    return see_changed(request, part_path(one), _("%(name)s is verified.", name=one.name), outcome.warnings)


def _changed_recipients(request: Request, page: KindPage, one: Part) -> Response:
    form = request.state.form
    add, remove = (form.get(field, "").replace(",", " ").split() for field in ("add", "remove"))
    changed = ChangeRecipients(organization=one.organization.name, domain=one.name, add=add, remove=remove)
    try:
        outcome = perform(request, change_recipients, changed).value
    except Refusal as refusal:
        text = "\n".join([refusal.text, *map(str, refusal.errors)])
        return _shown(request, page, one, _DOMAIN, text)
    said = _("The list of recipients was changed.") if outcome.changes else _("Nothing changed.")
    return see_changed(request, part_path(one), said, outcome.warnings)


def _password(request: Request, one: Part) -> str:
    """What there is of the password for the domain's directory, "" if none is needed or it is another's to enter."""
    if not logs_in(one.record) or not login_secrets.may_enter(principal_of(request), one.record):
        return ""
    shown = login_secrets.ShowDirectoryPassword(organization=one.organization.name, domain=one.name)
    return perform(request, login_secrets.show_directory_password, shown).password


def _stored_password(request: Request, page: KindPage, one: Part) -> Response:
    named = {"organization": one.organization.name, "domain": one.name}
    password, removes = request.state.form.get("password", ""), request.state.form.get("do") == "remove-password"
    try:
        if removes:
            perform(
                request,
                login_secrets.remove_directory_password,
                login_secrets.RemoveDirectoryPassword(**named),
            )
        else:
            perform(
                request,
                login_secrets.set_directory_password,
                login_secrets.SetDirectoryPassword(password=password, **named),
            )
    except Refusal as refusal:
        return _shown(request, page, one, _DOMAIN, refusal.text)
    if asks_graph(one.record):
        stored, removed = _("The client secret was stored, encrypted."), _("The client secret was removed.")
    else:
        stored, removed = _("The password was stored, encrypted."), _("The password was removed.")
    said = f"{removed} {_('Until there is another, nobody can be asked.')}" if removes else stored
    return see_other(request, part_path(one), said, "warn" if removes else "pass")


class _More(NamedTuple):
    """Additions of one kind of resource. proof: the record to publish, None for nothing.

    password: what there is of the one that it needs, "" for none. acts: what its forms do, by their "do".
    """

    proof: Callable[[Request, Part], domain_verification.DomainVerification | None]
    password: Callable[[Request, Part], str]
    acts: Mapping[str, Callable[[Request, KindPage, Part], Response]]


_DOMAIN: Final = _More(
    _proof,
    _password,
    {
        "verify": _verified,
        "recipients": _changed_recipients,
        "password": _stored_password,
        "remove-password": _stored_password,
    },
)


def _acted(request: Request, page: KindPage, one: Part, more: _More | None) -> Response:
    needs(request, Scope.CONNECTORS, one.organization.name)
    do = request.state.form.get("do", "")
    if more and do in more.acts:
        return more.acts[do](request, page, one)
    if do != "remove":
        raise not_there(_("There is no such action."))
    note = request.state.form.get("note", "").strip()[:500]
    part = RemovePart(organization=one.organization.name, name=one.name, note=note)
    try:
        outcome = perform(request, PARTS[one.kind.key].remove, part).value
    except Refusal as refusal:
        if refusal.kind is RefusalKind.UNREADABLE:
            raise
        return _shown(request, page, one, more, refusal.text)
    label = sentence(ours(one.label))
    return see_changed(request, list_path(page.kind), _("%(label)s was removed.", label=label), outcome.warnings)


def _edit(request: Request, page: KindPage) -> Response:
    return edit_part(request, _part(request, page.kind), _(page.plural), page.first)


def edit_part(request: Request, one: Part, plural: str, first: tuple[str, ...], *, issuers: str = "") -> Response:
    """The form that changes a part. plural, first: as in `KindPage`. issuers: as in `EditedResource`."""
    principal = needs(request, Scope.CONNECTORS, one.organization.name)
    owner, name = one.organization.name, one.name

    def stored() -> dict[str, Any] | None:
        return table_of(_found(request, one.kind, owner, name).record)

    def change(_name: str, values: dict[str, Any], options: FormChangeOptions) -> ChangeReport:
        part = SetPart(organization=owner, name=name, document=values)
        return send_change(request, PARTS[one.kind.key].set, part, options)

    def done(given: str) -> str:
        return named_path(one.kind, owner, given)

    def changes() -> Sequence[PartChange]:
        return _changes(request, one, _CHANGES)

    label = sentence(ours(one.label))
    trail = ((plural, list_path(one.kind)), (name, part_path(one)), (_("Edit"), ""))
    identity = one.kind.identity
    edited = EditedResource(
        _("Edit %(name)s", name=name),
        trail,
        one.kind.model,
        stored,
        change,
        done,
        identity,
        fixed=_fixed(principal, one.kind),
        history=changes,
        label=label,
        first=first,
        issuers=issuers,
    )
    return edit(request, edited)


def _fixed(principal: Principal, kind: PartKind) -> tuple[str, ...]:
    """Fields that who sees only some organizations does not write."""
    return () if principal.is_of_gateway or kind is not DOMAIN else ("verified",)


def _new(request: Request, page: KindPage) -> Response:
    principal, kind = principal_of(request), page.kind
    owners = [organization.name for organization in own_organizations(request)]
    chosen = request.state.form.get("organization", "") if request.method == "POST" else ""
    if not principal.is_of_gateway and not chosen:
        chosen = owners[0] if owners else ""
    if Scope.CONNECTORS not in principal.scopes and Scope.OWNER not in principal.scopes:
        needs(request, Scope.CONNECTORS, chosen or None)
    if chosen:
        needs(request, Scope.CONNECTORS, chosen)

    def change(name: str, values: dict[str, Any], options: FormChangeOptions) -> ChangeReport:
        fields = {key: value for key, value in values.items() if key != kind.identity and value is not None}
        owner = request.state.form.get("organization", "")
        if not owner and len(owners) > 1 and "@" not in name:  # an address says by its domain whose it is
            raise refused_fields({"organization": _("choose an organization")})
        named = resource_views.ChooseOwner(kind=kind.key, name=name, organization=owner)
        owner = perform(request, resource_views.choose_owner, named).name
        part = AddPart(organization=owner, document={kind.identity: name, **fields})
        return send_change(request, PARTS[kind.key].add, part, options)

    def done(name: str) -> str:
        owner = request.state.form.get("organization", "")
        return part_path(_found(request, kind, owner, name))

    title, label = _(page.add), _(page.saved)
    trail = ((_(page.plural), list_path(kind)), (title, ""))
    edited = EditedResource(
        title,
        trail,
        kind.model,
        lambda: None,
        change,
        done,
        kind.identity,
        fixed=_fixed(principal, kind),
        organizations=owners,
        label=label,
        first=page.first,
    )
    return edit(request, edited)


_ASKED: Final = {
    "inbound": ("require_tls", "restrict_domains_to_certificate", "tls_sender_certificate_name"),
    "outbound": ("smart_hosts", "tls_settings", "tls_domain", "trust_anchors"),
}
"""What connectors are changed for, by direction: their forms ask for it even where it has its default."""


def _edit_connector(request: Request) -> Response:
    chosen = chosen_of(request)
    is_outbound = chosen.direction == "outbound"
    first = ("enabled", "mode", *_ASKED[chosen.direction])
    issuers = trust_path(chosen.organization.name, chosen.connector.name) if is_outbound else ""
    return edit_part(request, chosen.part, _("Connectors"), first, issuers=issuers)


ROUTES = [
    *(
        Route(f"/{page.folder}{path}", partial(handler, page=page), methods=methods)
        for page in KIND_PAGES
        for path, handler, methods in (
            ("", _list, ["GET"]),
            ("/new", _new, ["GET", "POST"]),
            (
                "/view/{organization}/{name:path}",
                partial(_view, more=_DOMAIN if page.kind is DOMAIN else None),
                ["GET", "POST"],
            ),
            ("/edit/{organization}/{name:path}", _edit, ["GET", "POST"]),
        )
    ),
    *(
        Route(
            f"/connectors/edit/{{organization}}/{direction}/{{name:path}}",
            _edit_connector,
            methods=["GET", "POST"],
            name=direction,
        )
        for direction in DIRECTIONS
    ),
]
