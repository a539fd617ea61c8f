"""Forms that bring certificates in and take them away: add, request, renew by ACME, remove.

A private key that was pasted goes to the store and nowhere else: no page, message, log or audit event holds it, and
a form that is shown again is shown without it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from gatepost.language import _, in_sentence, translated
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.account_forms import all_errors
from gatepost.manage.pages.certificate_view import label_of, named_certificate
from gatepost.manage.pages.code_labels import certificate_state
from gatepost.manage.pages.guard import context_of, needs, own_organizations, perform
from gatepost.manage.pages.rendering import render, see_changed, see_other
from gatepost.manage.pages.text_filters import sentence
from gatepost.manage.use_cases.acme_renewal import RenewCertificates, renew_certificates
from gatepost.manage.use_cases.certificate_import import AddCertificate, add_certificate
from gatepost.manage.use_cases.certificate_removal import RemoveCertificate, remove_certificate
from gatepost.manage.use_cases.certificate_requests import (
    RemoveCertificateRequest,
    RequestCertificate,
    remove_certificate_request,
    request_certificate,
)
from gatepost.manage.use_cases.certificate_views import find_certificate
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal
from gatepost.manage.use_cases.request_values import limits
from gatepost.pki.certificates.entry import Purpose, State
from gatepost.pki.certificates.request import KEY_TYPES
from gatepost.sentences import ours
from gatepost.texts import N_

if TYPE_CHECKING:
    import msgspec
    from starlette.requests import Request
    from starlette.responses import Response


_PUBLIC = re.compile(r"-----BEGIN (CERTIFICATE|PKCS7)-----[A-Za-z0-9+/=\s]*-----END \1-----")
_KEYS = {
    "ec-p256": "EC P-256 (recommended)",
    "ec-p384": "EC P-384",
    "rsa-2048": N_("RSA, 2048 bits (for old partners)"),
    "rsa-3072": "RSA, 3072 bits",
    "rsa-4096": "RSA, 4096 bits",
}
_LABELS = {
    "chain": N_("Certificate and intermediates"),
    "key": N_("Private key"),
    "password": N_("Key password"),
    "organization": N_("Organization"),
    "label": N_("Label"),
    "current": N_("Use it now"),
    "names": N_("Names"),
}


def public_part(text: str) -> str:
    """The certificates of what was pasted, without any key or anything else in it."""
    return "\n".join(match[0] for match in _PUBLIC.finditer(text))


def errors_of(refusal: Refusal) -> dict[str, str]:
    """Errors of a refusal by field; "" is the form itself."""
    errors = {error.path: sentence(ours(error.message)) for error in refusal.errors}
    return errors or {"": sentence(ours(refusal.text))}


def why_of(refusal: Refusal) -> str:
    """The same in a sentence, where there is no form to show it in."""
    return all_errors(refusal) if "othing was done" in refusal.text else ours(refusal.text)


# add


def _add(asked: Request) -> Response:
    needs(asked, Scope.CERTIFICATES)
    if asked.method == "GET":
        return _add_page(asked, {"client": asked.query_params.get("purpose", "") == "client"})
    form = asked.state.form
    request = AddCertificate(
        chain=form.get("chain", ""),
        key=form.get("key", "").strip(),
        password=form.get("password", ""),
        client=form.get("purpose") == "client",
        organization=form.get("organization", ""),
        label=form.get("label", "").strip(),
        current=form.get("current") == "on",
        note=form.get("note", "").strip(),
    )
    try:
        added = perform(asked, add_certificate, request).value
    except Refusal as refusal:
        known = {name: getattr(request, name) for name in ("client", "organization", "label", "current", "note")}
        return _add_page(asked, known | {"chain": public_part(request.chain)}, errors_of(refusal))
    summary = added.certificate
    said = _(
        "%(certificate)s was added as %(state)s.",
        certificate=label_of(summary),
        state=in_sentence(certificate_state(summary.state)),
    )
    path = f"/certificates/{summary.id}" + ("/changeover" if summary.state == State.NEXT else "")
    return see_changed(asked, path, said, (*added.notes, *added.warnings))


def _add_page(request: Request, known: dict[str, Any], errors: dict[str, str] | None = None) -> Response:
    blank = {"chain": "", "client": False, "organization": "", "label": "", "current": False, "note": ""}
    return _form_page(request, "certificates/add.html", AddCertificate, blank | known, errors)


def _form_page(
    request: Request,
    template: str,
    kind: type[msgspec.Struct],
    form: dict[str, Any],
    errors: dict[str, str] | None,
    **more: Any,
) -> Response:
    """A form of a request of that kind, shown again if there are errors."""
    context = context_of(request)
    return render(
        request,
        template,
        form=form,
        errors=errors or {},
        labels=translated(_LABELS),
        limits=limits(kind),
        organizations=_organizations(request),
        seals=bool(context.settings.store.master_key),
        **more,
    )


def _organizations(asked: Request) -> list[tuple[str, str]]:
    names = sorted(organization.name for organization in own_organizations(asked))
    return [("", "–"), *((name, name) for name in names)]  # noqa: RUF001 - a dash is what is meant


# request


def _ask(asked: Request) -> Response:
    needs(asked, Scope.CERTIFICATES)
    if asked.method == "GET":
        names = context_of(asked).settings.server.hostname
        return _ask_page(asked, {"names": names, "client": asked.query_params.get("purpose") == "client"})
    form = asked.state.form
    names = form.get("names", "")
    request = RequestCertificate(
        names=[part for part in re.split(r"[\s,;]+", names) if part],
        key=form.get("key", ""),
        client=form.get("purpose") == "client",
        organization=form.get("organization", ""),
        label=form.get("label", "").strip(),
        must_staple=form.get("must_staple") == "on",
    )
    try:
        made = perform(asked, request_certificate, request).value
    except Refusal as refusal:
        known = {name: getattr(request, name) for name in ("key", "client", "organization", "label", "must_staple")}
        return _ask_page(asked, known | {"names": names}, errors_of(refusal))
    return see_other(
        asked,
        f"/certificates/requests/{made.request.id}",
        _("The request was created. Its private key is stored encrypted."),
    )


def _ask_page(request: Request, known: dict[str, Any], errors: dict[str, str] | None = None) -> Response:
    blank = {"names": "", "key": "ec-p256", "client": False, "organization": "", "label": "", "must_staple": False}
    keys = [(name, _(_KEYS.get(name, name))) for name in KEY_TYPES]
    return _form_page(request, "certificates/ask.html", RequestCertificate, blank | known, errors, keys=keys)


# remove


def _remove(request: Request) -> Response:
    needs(request, Scope.CERTIFICATES)
    entry = perform(request, find_certificate, named_certificate(request))
    reason = request.state.form.get("reason", "").strip()
    try:
        perform(request, remove_certificate, RemoveCertificate(certificate=entry.id, force=reason))
    except Refusal as refusal:
        return see_other(request, f"/certificates/{entry.id}", _("Not removed: %(why)s.", why=why_of(refusal)), "fail")
    path = "/certificates/clients" if entry.purpose is Purpose.CLIENT else "/certificates"
    return see_other(
        request, path, _("%(certificate)s (%(id)s) was removed.", certificate=label_of(entry), id=entry.id)
    )


def _remove_request(asked: Request) -> Response:
    needs(asked, Scope.CERTIFICATES)
    request = RemoveCertificateRequest(request=asked.path_params["number"])
    perform(asked, remove_certificate_request, request)
    return see_other(asked, "/certificates/requests", _("The request and its private key were deleted."))


# ACME


def _renew(asked: Request) -> Response:
    """Ask the authority for a certificate, behind the page; whoever asks twice finds the first under way."""
    needs(asked, Scope.CERTIFICATES)
    request = RenewCertificates(name=asked.state.form.get("name", "").strip(), at_once=True, wait=0.0)
    try:
        perform(asked, renew_certificates, request)
    except BusyRefusal:
        return see_other(asked, "/certificates/acme", _("A certificate request is already in progress."), "info")
    except Refusal as refusal:
        return see_other(asked, "/certificates/acme", _("Not requested: %(why)s.", why=why_of(refusal)), "fail")
    return see_other(asked, "/certificates/acme")  # which says that it is under way, and what came of it


ROUTES = [
    Route("/certificates/add", _add, methods=["GET", "POST"]),
    Route("/certificates/requests/new", _ask, methods=["GET", "POST"]),
    Route("/certificates/requests/{number}/remove", _remove_request, methods=["POST"]),
    Route("/certificates/acme/renew", _renew, methods=["POST"]),
    Route("/certificates/{number}/remove", _remove, methods=["POST"]),
]
