"""The certificates of the gateway: the inventory, one in full, requests, ACME, the partners' table, who changed what.

They belong to the gateway: to who sees only some organizations there is nothing here (404). What changes something is
in `manage.pages.certificate_forms` and `manage.pages.changeover`. No page holds a private key.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gatepost.language import _
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages import certificate_view
from gatepost.manage.pages.code_labels import certificate_state
from gatepost.manage.pages.exports import exported, wants_file
from gatepost.manage.pages.guard import context_of, needs, perform
from gatepost.manage.pages.paging import by_fields, foot, order_of, paged, sorted_page
from gatepost.manage.pages.rendering import link, render
from gatepost.manage.use_cases import certificate_views, certificates
from gatepost.manage.use_cases.acme_renewal import GetAcmeStatus, get_acme_status
from gatepost.manage.use_cases.certificate_removal import RemoveCertificate
from gatepost.manage.use_cases.certificate_requests import GetCertificateRequest, get_certificate_request
from gatepost.manage.use_cases.certificates import certificate_of
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.paging import Columns, sorted_by
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.request_values import limits
from gatepost.pki.certificates.entry import Entry, Purpose, State
from gatepost.pki.certificates.published_json import table_record, version_of
from gatepost.sentences import ours
from gatepost.texts import NN_

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request


_COLUMNS = (
    "id", "state", "purpose", "organization", "label", "names", "subject", "issuer", "key", "not_before", "not_after",
    "days_left", "origin", "added", "current_from", "current_until", "switch_at", "must_staple",
)  # fmt: skip
_SORTS: Final[dict[str, Callable[[Entry], Any]]] = {
    "name": certificate_view.label_of,
    "state": lambda entry: list(State).index(entry.state),
    "until": lambda entry: entry.leaf.not_after,
    "issuer": lambda entry: certificates.common_name(entry.leaf.issuer),
    "key": lambda entry: entry.leaf.key,
    "sha256": lambda entry: entry.leaf.sha256,
}
_REQUEST_SORTS: Final[Columns[certificates.CertificateRequest]] = by_fields(
    "id", "names", "key", created="added", file="key_file"
) | {"purpose": lambda request: (request.purpose, request.organization, request.label)}
_CHANGE_SORTS: Final[Columns[certificates.CertificateChange]] = by_fields(
    "names", "change", "version", time="at", user="author"
) | {"object": lambda change: (change.kind, change.id)}
_ORDER_SORTS: Final[Columns[Mapping[str, Any]]] = {
    "names": lambda order: order["names"],
    "until": lambda order: order["not_after"],
    "renewal": lambda order: order["renew_at"],
    "tried": lambda order: order["tried"],
    "failures": lambda order: order["failures"],
}
_REQUEST_COLUMNS = ("id", "purpose", "organization", "label", "names", "key", "must_staple", "added")
_CHANGE_COLUMNS = ("version", "at", "author", "kind", "id", "names", "change", "note")
_CHANGES = 500
_OF_ONE = 20


# lists


def _list(request: Request, purpose: Purpose) -> Response:
    principal, now = needs(request, Scope.READ), time.time()
    listing, query = (
        perform(request, certificate_views.view_certificates, certificate_views.ViewCertificates()),
        request.query_params,
    )
    q, state = query.get("q", "").strip(), query.get("state", "")
    wanted = [
        entry for entry in certificates.in_order(listing.entries, purpose) if _matches(entry, q.lower(), state, query)
    ]
    name = "certificates" if purpose is Purpose.SERVER else "client-identities"
    if file := exported(request, name, _COLUMNS, lambda: [certificate_of(entry, now) for entry in wanted]):
        return file
    page = sorted_page(request, wanted, _SORTS, NN_("%(num)s certificate", "%(num)s certificates"))
    named = certificate_views.LocateCertificates(certificates=[entry.id for entry in page.rows])
    where = perform(request, certificate_views.locate_certificates, named)
    return render(
        request,
        "certificates/list.html",
        purpose=str(purpose),
        rows=[certificate_view.row(entry, where.get(entry.id), now) for entry in page.rows],
        foot=page.foot,
        filters={"q": q, "state": state},
        sort=page.sort,
        filtered=bool(q or state or (query.get("organization") and purpose is Purpose.CLIENT)),
        states=[("", _("All")), *((str(choice), certificate_state(str(choice))) for choice in certificates.STATES)],
        trouble=listing.trouble,
        directories=listing.directories,
        waiting=len(listing.requests),
        attention=_attention(listing, purpose, now),
        may_change=principal.may(Scope.CERTIFICATES),
    )


def _matches(entry: Entry, q: str, state: str, query: Any) -> bool:
    if state and entry.state != state:
        return False
    organization = query.get("organization", "")
    if organization and entry.purpose is Purpose.CLIENT and entry.organization != organization:
        return False
    return certificate_view.has_text(entry, q)


def _attention(listing: certificates.CertificateListing, purpose: Purpose, now: float) -> dict[str, Any]:
    """Figures above the list: changeovers under way, and certificates that expire first."""
    ours = [entry for entry in listing.entries if entry.purpose is purpose]
    current = [entry for entry in ours if entry.state is State.CURRENT]
    first = min(current, key=lambda entry: entry.leaf.not_after, default=None)
    return {
        "current": len(current),
        "next": [entry for entry in ours if entry.state is State.NEXT],
        "first": (first, certificate_view.life(first, now)) if first else None,
        "back": [
            (entry, back) for entry in current if entry.replaces and (back := certificate_view.way_back(entry, now))
        ],
    }


def _requests(request: Request) -> Response:
    principal = needs(request, Scope.READ)
    listing = perform(request, certificate_views.view_certificates, certificate_views.ViewCertificates())
    waiting = [certificates.waiting_request(pending_request) for pending_request in listing.requests]
    if file := exported(request, "requests", _REQUEST_COLUMNS, lambda: waiting):
        return file
    may_change = principal.may(Scope.CERTIFICATES)
    sort = order_of(request, _REQUEST_SORTS)
    rows = sorted_by(waiting, sort, _REQUEST_SORTS)
    return render(request, "certificates/requests.html", rows=rows, sort=sort, may_change=may_change)


def _request(asked: Request) -> Response:
    may_change = needs(asked, Scope.READ).may(Scope.CERTIFICATES)
    request = GetCertificateRequest(request=asked.path_params["number"])
    details = perform(asked, get_certificate_request, request)
    return render(asked, "certificates/request.html", waiting=details.request, csr=details.csr, may_change=may_change)


def _history(request: Request) -> Response:
    needs(request, Scope.READ)
    changes = perform(
        request, certificates.list_certificate_history, certificates.ListCertificateHistory(limit=_CHANGES)
    ).items
    if file := exported(request, "certificate-history", _CHANGE_COLUMNS, lambda: changes):
        return file
    page = sorted_page(request, changes, _CHANGE_SORTS, NN_("%(num)s change", "%(num)s changes"))
    return render(request, "certificates/history.html", **page._asdict())


# one of them


def _one(request: Request) -> Response:
    principal, now = needs(request, Scope.READ), time.time()
    view = perform(request, certificate_views.view_certificate, certificate_view.named_certificate(request))
    entry, chain, record = view.entry, view.chain, view.detail
    if entry.id != request.path_params["number"]:  # a label, or the beginning of a thumbprint
        return RedirectResponse(link(f"/certificates/{entry.id}", **dict(request.query_params)))
    wanted = request.query_params.get("format", "")
    if wanted == "pem":
        if not chain:
            raise Refusal(
                RefusalKind.MISSING,
                _("the chain of %(id)s is no longer in the store. Add the certificate again.", id=entry.id),
            )
        headers = {"content-disposition": f'attachment; filename="{entry.id}.pem"'}
        return Response(chain, media_type="application/x-pem-file", headers=headers)
    if file := exported(request, f"certificate-{entry.id}", _COLUMNS, lambda: [record]):
        return file
    return render(
        request,
        "certificates/certificate.html",
        entry=entry,
        name=certificate_view.label_of(entry),
        record=record,
        level="fail" if view.places.problems else certificate_view.LEVELS[entry.state],
        life=certificate_view.life(entry, now),
        pin=certificate_view.pin_of(entry),
        places=view.places,
        changes=view.changes[:_OF_ONE],
        order=view.order,
        missed=view.missed,
        version=view.version,
        limits=limits(RemoveCertificate),
        may_change=principal.may(Scope.CERTIFICATES),
    )


def _acme(request: Request) -> Response:
    principal, context = needs(request, Scope.READ), context_of(request)
    state, trouble = None, ""
    try:
        state = execute(get_acme_status, context, GetAcmeStatus()) if context.settings.acme.is_on else None
    except Refusal as refusal:
        if wants_file(request):
            raise  # an empty file would say that there are none
        trouble = ours(refusal.text)
    records = [msgspec.to_builtins(certificate) for certificate in state.certificates] if state else []
    columns = tuple(records[0]) if records else ("names",)
    if file := exported(request, "acme", columns, lambda: records):
        return file
    sort = order_of(request, _ORDER_SORTS)
    return render(
        request,
        "certificates/acme.html",
        block="orders",
        state=state,
        orders=sorted_by(records, sort, _ORDER_SORTS),
        sort=sort,
        trouble=trouble,
        job=next(
            iter(execute(certificate_views.view_last_renewal, context, certificate_views.ViewRenewal()).items), None
        ),
        may_change=principal.may(Scope.CERTIFICATES),
    )


def _table(request: Request) -> Response:
    """The certificate page for partners, as they see it, within a page of ours."""
    needs(request, Scope.READ)
    context = context_of(request)
    table, notes = execute(certificate_views.view_certificate_table, context, certificate_views.ViewTable())
    record = table_record(table)
    rows = record["certificates"]
    if file := exported(request, "published-certificates", tuple(rows[0]) if rows else ("name",), lambda: rows):
        return file
    address = context.settings.certificate_table.address
    page = paged(request, rows)
    return render(
        request,
        "certificates/table.html",
        table=record,
        rows=page.rows,
        foot=foot(page, NN_("%(num)s certificate", "%(num)s certificates")),
        version=version_of(table),
        notes=notes,
        address=address,
        hostname=context.settings.server.hostname,
    )


ROUTES = [
    Route("/certificates", partial(_list, purpose=Purpose.SERVER)),
    Route("/certificates/clients", partial(_list, purpose=Purpose.CLIENT)),
    Route("/certificates/requests", _requests),
    Route("/certificates/requests/{number}", _request),
    Route("/certificates/acme", _acme),
    Route("/certificates/table", _table),
    Route("/certificates/history", _history),
    Route("/certificates/{number}", _one),
]
