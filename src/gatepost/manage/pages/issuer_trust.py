"""Trusting the issuer that a validation saw, from a connector's page or the wizard: its fingerprint is compared first.

A page of its own shows what was seen, and takes it only from who says that another way confirmed the fingerprint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from gatepost.language import _
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.account_forms import all_errors
from gatepost.manage.pages.connectors import undo_of
from gatepost.manage.pages.guard import needs, not_there, or_not_there, perform, principal_of
from gatepost.manage.pages.rendering import render, see_changed
from gatepost.manage.pages.resource_paths import connector_path
from gatepost.manage.use_cases.connector_views import ViewConnector, view_connector
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resource_actions import SeenIssuer, TrustIssuer, seen_issuers, trust_issuer
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response


UNCONFIRMED = N_("Confirm the fingerprint with the partner first, over another channel than this connection.")


def issuer_page(
    request: Request,
    issuers: list[SeenIssuer],
    back: str,
    action: str,
    *,
    fields: Mapping[str, str] | None = None,
    error: str = "",
) -> Response:
    """The issuers that were seen, each with its form. back: where it came from. fields: what forms send besides."""
    return render(
        request,
        "connectors/issuer.html",
        issuers=issuers,
        back=back,
        action=action,
        fields=fields or {},
        error=error,
    )


def chosen_issuer(issuers: list[SeenIssuer], form: Mapping[str, str]) -> SeenIssuer | None:
    """The issuer that a form names, if whoever sent it says that it was confirmed."""
    named = (issuer for issuer in issuers if issuer.sha256 == form.get("sha256", ""))
    return next(named, None) if form.get("confirmed") == "yes" else None


def _trust(request: Request) -> Response:
    owner, name = request.path_params["organization"], request.path_params["name"]
    if not principal_of(request).sees(owner):
        raise not_there()
    needs(request, Scope.CONNECTORS, owner)
    wanted = ViewConnector(organization=owner, direction="outbound", name=name)
    with or_not_there(_("There is no outbound connector %(name)s in %(owner)s.", name=repr(name), owner=owner)):
        view = perform(request, view_connector, wanted)
    issuers, path = seen_issuers(view.validation), connector_path(owner, "outbound", view.chosen.connector.name)
    if request.method == "GET":
        return issuer_page(request, issuers, path, request.url.path)
    issuer = chosen_issuer(issuers, request.state.form)
    if issuer is None:
        return issuer_page(request, issuers, path, request.url.path, error=_(UNCONFIRMED))
    note = f"Trust the issuer {issuer.subject}, SHA-256 {issuer.fingerprint}, confirmed over another channel"
    change = TrustIssuer(organization=owner, connector=name, sha256=issuer.sha256, note=note[:1000], since="")
    try:
        outcome = perform(request, trust_issuer, change).value
    except Refusal as refusal:
        if refusal.kind not in {RefusalKind.INPUT, RefusalKind.CONFLICT}:
            raise
        text = all_errors(refusal)
        return issuer_page(request, issuers, path, request.url.path, error=text)
    said = _(
        "The issuer is trusted for this connector: revision %(version)s%(places)s. Validate again.",
        version=outcome.version,
        places=outcome.places,
    )
    undo = undo_of(outcome.version, path) if outcome.changes else None
    return see_changed(request, path, said, outcome.warnings, undo=undo)


ROUTES = [Route("/connectors/trust/{organization}/{name:path}", _trust, methods=["GET", "POST"])]
