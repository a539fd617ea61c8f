"""DKIM keys: all of them, one with its record and what to do next, and the form that makes one or takes one in.

What the DNS has is looked up after the page is there, when htmx asks for the rows again, or a link does. A private key
that was pasted goes to the store and nowhere else: no page, message, log or record of audit events holds it.
"""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec.structs import asdict, replace
from starlette.routing import Route

from gatepost.analysis.checks.dkim_record import DkimObservation
from gatepost.language import _, translated, translated_choices
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.certificate_forms import errors_of
from gatepost.manage.pages.editor import change_rows
from gatepost.manage.pages.exports import MOST, exported
from gatepost.manage.pages.guard import (
    context_of,
    needs,
    needs_scope,
    not_there,
    or_not_there,
    own_organizations,
    perform,
    principal_of,
)
from gatepost.manage.pages.paging import SIZE, foot, offset_of, order_of
from gatepost.manage.pages.rendering import render, see_changed, see_other
from gatepost.manage.pages.resource_kinds import MAIL_TABS
from gatepost.manage.pages.resource_paths import named_path, version_path
from gatepost.manage.pages.text_filters import sentence
from gatepost.manage.use_cases import dkim, dkim_changes, resource_views
from gatepost.manage.use_cases.name_lookup import DKIM
from gatepost.manage.use_cases.part_cases import PARTS, RemovePart, SetPart
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.policy.connectors.values import DkimAlgorithm, DkimService, DkimState
from gatepost.sentences import ours
from gatepost.texts import N_, NN_

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.use_cases.paging import ListPage


_COLUMNS: Final = (
    "organization", "domain", "selector", "name", "state", "algorithm", "service_type", "private_key", "zone",
)  # fmt: skip
_HEADINGS: Final = (
    (N_("Domain"), "domain"),
    (N_("Selector"), "selector"),
    (N_("State"), "state"),
    (N_("Since"), ""),
    (N_("DNS record"), ""),
    (N_("Algorithm"), "algorithm"),
    (N_("Signs"), "signs"),
    (N_("Private key"), "private"),
)
_STATES: Final = {DkimState.CURRENT: "pass", DkimState.NEXT: "info", DkimState.RETIRED: "waiting"}
_DNS_CHECKS: Final = {
    DkimObservation.PUBLISHED: ("pass", N_("Published")),
    DkimObservation.MISSING: ("fail", N_("Missing")),
    DkimObservation.DIFFERS: ("fail", N_("Differs")),
    DkimObservation.UNKNOWN: ("unknown", N_("Inconclusive")),
}
_NOTE: Final = 500
_ALGORITHMS: Final = [
    (str(DkimAlgorithm.RSA_SHA256), "RSA, 2048 bits", N_("All receivers can verify it.")),
    (
        str(DkimAlgorithm.ED25519_SHA256),
        "Ed25519",
        N_("Shorter. Use it together with an RSA key: many receivers cannot verify it yet."),
    ),
]
_SERVICES: Final = [
    (str(DkimService.ALL), N_("All mail"), ""),
    (str(DkimService.TLS_REPORTS), N_("TLS reports only"), N_("The record says s=tlsrpt (RFC 8460 section 3).")),
]
_LABELS: Final = {
    "domain": N_("Domain"),
    "selector": N_("Selector"),
    "key": N_("Private key"),
    "organization": N_("Organization"),
}


# the list


def _list(request: Request) -> Response:
    principal, query = principal_of(request), request.query_params
    state = query.get("state", "")
    selection = dkim.FindSigningKeys(
        organization=query.get("organization", ""),
        q=query.get("q", "").strip(),
        state=state if state in _STATES else "",
        sort=order_of(request, dkim.KEY_SORTS),
        limit=SIZE,
        offset=offset_of(request),
    )

    def records() -> Iterator[dict[str, Any]]:
        rows = perform(request, dkim.find_signing_keys, replace(selection, limit=MOST, offset=0)).rows
        yield from map(asdict, map(dkim.signing_key, rows))

    if file := exported(request, "dkim-keys", _COLUMNS, records):
        return file
    page, trouble = _seen(lambda *, looks: _keys(request, replace(selection, looks=looks)), bool(query.get("look")))
    return render(
        request,
        "dkim/list.html",
        block="rows",
        rows=page.rows,
        trouble=trouble,
        looked=bool(query.get("look")),
        foot=foot(page, NN_("%(num)s key", "%(num)s keys")),
        q=selection.q,
        state=selection.state,
        sort=selection.sort,
        columns=[(_(heading), key) for heading, key in _HEADINGS],
        may_change=Scope.CONNECTORS in principal.scopes or Scope.OWNER in principal.scopes,
        tabs=[(_(text), path, path == request.url.path) for text, path in MAIL_TABS],
        **_words(),
    )


def _keys(request: Request, wanted: dkim.FindSigningKeys) -> ListPage[dkim.SigningKeyRow]:
    return perform(request, dkim.find_signing_keys, wanted)


def _seen[T](find: Callable[..., T], looks: bool) -> tuple[T, str]:  # noqa: FBT001 - of every call
    """What is found with a look at the DNS, or without, and why that could not be told."""
    if not looks:
        return find(looks=False), ""
    try:
        return find(looks=True), ""
    except Refusal as refusal:
        return find(looks=False), sentence(ours(refusal.text))


def _words() -> dict[str, Any]:
    return {
        "path": _path,
        "states": _STATES,
        "dns_checks": {check: (level, _(label)) for check, (level, label) in _DNS_CHECKS.items()},
        "sealed": dkim.SEALED,
        "missing": dkim.MISSING,
    }


def _path(row: dkim.SigningKeyRow) -> str:
    return named_path(DKIM, row.organization, row.key.name)


# one of them


def _one(request: Request) -> dkim.SigningKeyRow:
    """The one that the address names, if who asks sees it. Raises HTTPException."""
    owner, name = request.path_params["organization"], request.path_params["name"]
    if not principal_of(request).sees(owner):
        raise not_there()
    with or_not_there(_("There is no DKIM key %(name)s in %(owner)s.", name=repr(name), owner=owner)):
        return _key(request, owner, name)


def _key(request: Request, owner: str, name: str, *, looks: bool = False) -> dkim.SigningKeyRow:
    return perform(request, dkim.view_signing_key, dkim.ViewSigningKey(organization=owner, name=name, looks=looks))


def _view(request: Request) -> Response:
    row = _one(request)
    if request.method == "POST":
        return _acted(request, row)
    return _shown(request, row)


class _Said(NamedTuple):
    """A refusal shown above a key: its text, and errors by name of the key."""

    text: str = ""
    errors: Sequence[Any] = ()


def _shown(request: Request, row: dkim.SigningKeyRow, status: int = 0, said: _Said | None = None) -> Response:
    principal, query = principal_of(request), request.query_params
    wanted = query.get("part", "")
    looks = wanted == "seen" or query.get("look") == "now"
    shown, trouble = _seen(partial(_key, request, row.organization, row.key.name), looks)
    changes = resource_views.ListPartChanges(kind=DKIM.key, organization=row.organization, name=row.key.name)
    return render(
        request,
        "dkim/key.html",
        status,
        block=wanted if wanted in {"seen", "changes"} else "",
        row=shown,
        looked=looks,
        trouble=trouble,
        value=row.key.record.text if row.key.public_key else "",
        zone=row.key.record.zone_line(row.key.name) if row.key.public_key else "",
        others=_others(request, row),
        said=said or _Said(),
        changes=perform(request, resource_views.list_part_changes, changes).items if wanted == "changes" else None,
        shown_changes=change_rows,
        version_path=version_path,
        may_change=principal.may(Scope.CONNECTORS, row.organization),
        here=_path(row),
        **_words(),
    )


def _others(request: Request, row: dkim.SigningKeyRow) -> list[dkim.SigningKeyRow]:
    """The other keys of the domain."""
    rows = _keys(request, dkim.FindSigningKeys(organization=row.organization, domain=row.key.domain)).rows
    return [signing_key_row for signing_key_row in rows if signing_key_row.key.name != row.key.name]


def _acted(request: Request, row: dkim.SigningKeyRow) -> Response:
    needs(request, Scope.CONNECTORS, row.organization)
    do = _ACTIONS.get(request.state.form.get("do", ""))
    if do is None:
        raise not_there(_("There is no such action."))
    try:
        return do(request, row)
    except Refusal as refusal:
        if refusal.kind is RefusalKind.UNREADABLE and not isinstance(refusal, dkim_changes.NotPublished):
            raise
        return _shown(request, row, HTTPStatus.CONFLICT, _Said(sentence(ours(refusal.text)), refusal.errors))


def _note(request: Request) -> str:
    return str(request.state.form.get("note", "")).strip()[:_NOTE]


def _rotate(request: Request, row: dkim.SigningKeyRow) -> Response:
    key, reason = row.key, request.state.form.get("reason", "").strip()[:_NOTE]
    if key.state is DkimState.CURRENT:  # it was asked for twice
        return see_other(request, _path(row), _("The gateway already signs with %(name)s.", name=key.name), "info")
    rotation = dkim_changes.RotateDkimKeys(
        organization=row.organization, domain=key.domain, selector=key.selector, force=reason, note=_note(request)
    )
    outcome = perform(request, dkim_changes.rotate_dkim_keys, rotation).value
    said = _(
        "The gateway now signs with %(name)s. Keep the record of the previous key in the DNS for a week.", name=key.name
    )
    return see_changed(request, _path(row), said, outcome.warnings)


def _retire(request: Request, row: dkim.SigningKeyRow) -> Response:
    state = {"state": str(DkimState.RETIRED)}
    part = SetPart(organization=row.organization, name=row.key.name, document=state, note=_note(request))
    outcome = perform(request, PARTS[DKIM.key].set, part).value
    said = _("%(name)s is retired. Keep its record in the DNS for a week, then remove the key.", name=row.key.name)
    return see_changed(request, _path(row), said, outcome.warnings)


def _remove(request: Request, row: dkim.SigningKeyRow) -> Response:
    part = RemovePart(organization=row.organization, name=row.key.name, note=_note(request))
    outcome = perform(request, PARTS[DKIM.key].remove, part).value
    said = _("%(name)s was removed and its private key destroyed. Remove its record from the zone.", name=row.key.name)
    return see_changed(request, "/dkim", said, outcome.warnings)


def _import(request: Request, row: dkim.SigningKeyRow) -> Response:
    key, pem = row.key, request.state.form.get("key", "").strip()
    key_import = dkim.ImportDkimKey(organization=row.organization, domain=key.domain, selector=key.selector, key=pem)
    perform(request, dkim.import_dkim_key, key_import)
    return see_other(request, _path(row), _("The private key was imported. The gateway uses it within ten seconds."))


_ACTIONS: Final[dict[str, Callable[[Request, dkim.SigningKeyRow], Response]]] = {
    "rotate": _rotate,
    "retire": _retire,
    "remove": _remove,
    "import": _import,
}


# a new one


def _new(request: Request) -> Response:
    needs_scope(request, Scope.CONNECTORS)
    if request.method == "GET":
        query = request.query_params
        values = {"domain": query.get("domain", ""), "organization": query.get("organization", "")}
        return _form_page(request, values)
    form = request.state.form
    given: dict[str, Any] = {
        "selector": form.get("selector", "").strip(),
        "algorithm": _one_of(DkimAlgorithm, form.get("algorithm", ""), DkimAlgorithm.RSA_SHA256).value,
        "service_type": _one_of(DkimService, form.get("service_type", ""), DkimService.ALL).value,
        "current": form.get("current") == "on",
        "note": _note(request),
    }
    try:
        domain = dkim_changes.key_domain(form.get("domain", "").strip())
        named = dkim_changes.ChooseKeyOwner(domain=domain, organization=form.get("organization", ""))
        owner = perform(request, dkim_changes.choose_key_owner, named).name
        new = dkim_changes.MakeDkimKey(organization=owner, domain=domain, key=form.get("key", "").strip(), **given)
        added = perform(request, dkim_changes.make_dkim_key, new).value
    except Refusal as refusal:
        if refusal.kind is RefusalKind.UNREADABLE:
            raise
        known = given | {name: form.get(name, "") for name in ("domain", "organization", "note")}
        return _form_page(request, known, _errors(refusal))
    said = _("The gateway now signs with it.") if new.current else _("Publish its record, then start signing.")
    path = named_path(DKIM, owner, added.name)
    return see_changed(request, path, _("%(name)s was added. %(said)s", name=added.name, said=said), added.warnings)


def _one_of[T](kind: Callable[[str], T], text: str, usual: T) -> T:
    try:
        return kind(text)
    except ValueError:
        return usual


def _errors(refusal: Refusal) -> dict[str, str]:
    """By field of the form: a resource's name is made of selector and domain."""
    return {{"name": "selector"}.get(path, path): text for path, text in errors_of(refusal).items()}


def _form_page(request: Request, known: dict[str, Any], errors: dict[str, str] | None = None) -> Response:
    blank = {"domain": "", "organization": "", "selector": "", "note": "", "current": False}
    blank |= {"algorithm": str(DkimAlgorithm.RSA_SHA256), "service_type": str(DkimService.ALL)}
    context = context_of(request)
    owners = sorted(organization.name for organization in own_organizations(request))
    return render(
        request,
        "dkim/new.html",
        form=blank | known,
        errors=errors or {},
        labels=translated(_LABELS),
        organizations=[("", _("The one that accepts the domain")), *((name, name) for name in owners)],
        algorithms=translated_choices(_ALGORITHMS),
        services=translated_choices(_SERVICES),
        seals=bool(context.settings.store.master_key),
    )


ROUTES = [
    Route("/dkim", _list),
    Route("/dkim/new", _new, methods=["GET", "POST"]),
    Route("/dkim/view/{organization}/{name:path}", _view, methods=["GET", "POST"]),
]
