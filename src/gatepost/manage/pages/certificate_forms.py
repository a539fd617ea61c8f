"""Forms that bring certificates in and take them away: add, request, renew by ACME, remove.

A private key that was pasted goes to the store and nowhere else: no page, message, log or audit event holds it, and
a form that is shown again is shown without it.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from gatepost.manage.access.principal import Scope
from gatepost.manage.access.records import Outcome
from gatepost.manage.pages.certificate_view import label_of
from gatepost.manage.pages.guard import actor_of, gateway_of, needs
from gatepost.manage.pages.pages import render, see_other
from gatepost.manage.pages.texts import sentence
from gatepost.manage.use_cases.acme_renewal import Order, begin_renewal
from gatepost.manage.use_cases.certificate_deeds import added_told, changes_told
from gatepost.manage.use_cases.certificate_intake import NewCertificate, add_certificate
from gatepost.manage.use_cases.certificate_removal import remove
from gatepost.manage.use_cases.certificate_requests import request_certificate
from gatepost.manage.use_cases.certificates import certificate, request
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.pki.certificates.entry import Purpose, State
from gatepost.pki.certificates.request import KEY_TYPES, Wish
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.access.actions import Action
    from gatepost.manage.use_cases.gateway import Gateway


_PUBLIC = re.compile(r"-----BEGIN (CERTIFICATE|PKCS7)-----[A-Za-z0-9+/=\s]*-----END \1-----")
_KEYS = {
    "ec-p256": "EC P-256: short, and read by everybody",
    "ec-p384": "EC P-384",
    "rsa-2048": "RSA, 2048 bits: for partners of old",
    "rsa-3072": "RSA, 3072 bits",
    "rsa-4096": "RSA, 4096 bits",
}
_LABELS = {
    "chain": "Certificate and intermediates",
    "key": "Private key",
    "password": "Password of the key",
    "organization": "Organization",
    "label": "Label",
    "current": "Present it at once",
    "names": "Names",
}


def public_part(text: str) -> str:
    """The certificates of what was pasted, without any key or anything else in it."""
    return "\n".join(one[0] for one in _PUBLIC.finditer(text))


def errors_of(refusal: Refusal) -> dict[str, str]:
    """What was refused, by field; "" is the form itself."""
    found = {one.path: sentence(one.message) for one in refusal.errors}
    return found or {"": sentence(refusal.text)}


# add


def _add(asked: Request) -> Response:
    principal, gateway = needs(asked, Scope.CERTIFICATES), gateway_of(asked)
    if asked.method == "GET":
        return _add_page(asked, gateway, {"client": asked.query_params.get("purpose", "") == "client"})
    form = asked.state.form
    new = NewCertificate(
        content=form.get("chain", "").encode(),
        source="the pasted text",
        key=form.get("key", "").strip().encode(),
        key_source="the pasted key",
        password=form.get("password", "").encode() or None,
        client=form.get("purpose") == "client",
        organization=form.get("organization", ""),
        label=form.get("label", "").strip(),
        current=form.get("current") == "on",
        note=form.get("note", "").strip()[:1000],
    )
    changed: dict[str, Any] = {}
    try:
        if not new.content.strip():
            raise _missing("chain", "paste the certificate, from -----BEGIN CERTIFICATE----- on")
        with changes_told(gateway, principal, changed):
            done = add_certificate(gateway, principal, new)
    except Refusal as refusal:
        _refused(asked, "certificate-add", new.organization, "", refusal)
        known = {
            "chain": public_part(form.get("chain", "")),
            "client": new.client,
            "organization": new.organization,
            "label": new.label,
            "current": new.current,
            "note": new.note,
        }
        return _add_page(asked, gateway, known, errors_of(refusal))
    entry = done.entry
    _record(asked, "certificate-add", entry.organization, entry.id, added_told(done) | changed)
    said = f"{label_of(entry)} was added as {entry.state}."
    remarks = [sentence(one) for one in (*done.notes, *done.warnings)]
    path = f"/certificates/{entry.id}" + ("/changeover" if entry.state is State.NEXT else "")
    return see_other(asked, path, " ".join([said, *(f"{one}." for one in remarks)]), "warn" if remarks else "pass")


def _missing(path: str, text: str) -> Refusal:
    return Refusal(Kind.INPUT, text, [FieldError(path, text)])


def _add_page(
    asked: Request, gateway: Gateway, known: dict[str, Any], errors: dict[str, str] | None = None
) -> Response:
    blank = {"chain": "", "client": False, "organization": "", "label": "", "current": False, "note": ""}
    return _form_page(asked, gateway, "certificates/add.html", blank | known, errors)


def _form_page(
    asked: Request, gateway: Gateway, template: str, form: dict[str, Any], errors: dict[str, str] | None, **more: Any
) -> Response:
    """A form, shown again if there are errors."""
    return render(
        asked,
        template,
        HTTPStatus.UNPROCESSABLE_ENTITY if errors else HTTPStatus.OK,
        form=form,
        errors=errors or {},
        labels=_LABELS,
        organizations=_organizations(gateway),
        seals=bool(gateway.settings.store.master_key),
        **more,
    )


def _organizations(gateway: Gateway) -> list[tuple[str, str]]:
    names = sorted(one.name for one in gateway.directory().resources.organizations)
    return [("", "–"), *((name, name) for name in names)]  # noqa: RUF001 - a dash is what is meant


# request


def _ask(asked: Request) -> Response:
    principal, gateway = needs(asked, Scope.CERTIFICATES), gateway_of(asked)
    if asked.method == "GET":
        names = gateway.settings.server.hostname
        return _ask_page(asked, gateway, {"names": names, "client": asked.query_params.get("purpose") == "client"})
    form = asked.state.form
    names = form.get("names", "")
    wish = Wish(
        tuple(one for one in re.split(r"[\s,;]+", names) if one),
        form.get("key", ""),
        Purpose.CLIENT if form.get("purpose") == "client" else Purpose.SERVER,
        form.get("organization", ""),
        form.get("label", "").strip(),
        must_staple=form.get("must_staple") == "on",
    )
    changed: dict[str, Any] = {}
    try:
        with changes_told(gateway, principal, changed):
            waiting, _ = request_certificate(gateway, principal, wish)
    except Refusal as refusal:
        _refused(asked, "certificate-request", wish.organization, "", refusal)
        known = {
            "names": names,
            "key": wish.key,
            "client": wish.purpose is Purpose.CLIENT,
            "organization": wish.organization,
            "label": wish.label,
            "must_staple": wish.must_staple,
        }
        return _ask_page(asked, gateway, known, errors_of(refusal))
    _record(asked, "certificate-request", wish.organization, waiting.id, changed)
    return see_other(asked, f"/certificates/requests/{waiting.id}", "The request was made; its key waits, sealed.")


def _ask_page(
    asked: Request, gateway: Gateway, known: dict[str, Any], errors: dict[str, str] | None = None
) -> Response:
    blank = {"names": "", "key": "ec-p256", "client": False, "organization": "", "label": "", "must_staple": False}
    keys = [(name, _KEYS.get(name, name)) for name in KEY_TYPES]
    return _form_page(asked, gateway, "certificates/ask.html", blank | known, errors, keys=keys)


# remove


def _remove(asked: Request) -> Response:
    principal, gateway = needs(asked, Scope.CERTIFICATES), gateway_of(asked)
    entry = certificate(gateway, asked.path_params["number"]).entry
    reason = asked.state.form.get("reason", "").strip()[:1000]
    changed: dict[str, Any] = {}
    try:
        with changes_told(gateway, principal, changed):
            remove(gateway, principal, entry.id, force=reason)
    except Refusal as refusal:
        _refused(asked, "certificate-remove", entry.organization, entry.id, refusal)
        return see_other(asked, f"/certificates/{entry.id}", f"Not removed: {refusal.text}.", "fail")
    _record(asked, "certificate-remove", entry.organization, entry.id, changed | {"reason": reason})
    path = "/certificates/clients" if entry.purpose is Purpose.CLIENT else "/certificates"
    return see_other(asked, path, f"{label_of(entry)} ({entry.id}) was removed.")


def _remove_request(asked: Request) -> Response:
    principal, gateway = needs(asked, Scope.CERTIFICATES), gateway_of(asked)
    waiting, _ = request(gateway, asked.path_params["number"])
    changed: dict[str, Any] = {}
    with changes_told(gateway, principal, changed):
        remove(gateway, principal, waiting.id)
    _record(asked, "certificate-request-remove", waiting.wish.organization, waiting.id, changed)
    return see_other(asked, "/certificates/requests", "The request was removed, and its key with it.")


# ACME


def _renew(asked: Request) -> Response:
    """Ask the authority for a certificate, behind the page; whoever asks twice finds the first under way."""
    principal, gateway = needs(asked, Scope.CERTIFICATES), gateway_of(asked)
    name = asked.state.form.get("name", "").strip()
    order = Order(name, at_once=True)
    try:
        run = begin_renewal(gateway, principal, order, asked.app.state.accounts, actor_of(asked))
    except Refusal as refusal:
        return see_other(asked, "/certificates/acme", f"Not asked for: {refusal.text}.", "fail")
    if run is None:
        return see_other(asked, "/certificates/acme", "A certificate is being asked for already.", "info")
    return see_other(asked, "/certificates/acme")  # which says that it is under way, and what came of it


def _record(asked: Request, action: Action, organization: str, subject: str, detail: dict[str, Any]) -> None:
    asked.app.state.accounts.record(actor_of(asked), action, organization=organization, subject=subject, detail=detail)


def _refused(asked: Request, action: Action, organization: str, subject: str, refusal: Refusal) -> None:
    """On record as well; what is wrong with a pasted text never has a part of it."""
    why = "; ".join(map(str, refusal.errors)) or refusal.text
    asked.app.state.accounts.record(
        actor_of(asked),
        action,
        outcome=Outcome.REFUSED,
        organization=organization,
        subject=subject,
        detail={"why": why},
    )


ROUTES = [
    Route("/certificates/add", _add, methods=["GET", "POST"]),
    Route("/certificates/requests/new", _ask, methods=["GET", "POST"]),
    Route("/certificates/requests/{number}/remove", _remove_request, methods=["POST"]),
    Route("/certificates/acme/renew", _renew, methods=["POST"]),
    Route("/certificates/{number}/remove", _remove, methods=["POST"]),
]
