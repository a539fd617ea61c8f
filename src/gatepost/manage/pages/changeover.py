"""The changeover of a certificate on one page: current and next, what stands between, and each step.

The page reads files alone. Looking at the gates is asked for (`manage.pages.gate_checks`); a switch looks at them anew
and is refused while one is red, unless a reason is given, which the history keeps with what was red.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gatepost.analysis.checks.changeover import newly_failing
from gatepost.analysis.checks.gates import GateReport, Light
from gatepost.language import _, in_sentence, ngettext
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.certificate_forms import errors_of, why_of
from gatepost.manage.pages.certificate_view import label_of, named_certificate, pin_of, row, way_back
from gatepost.manage.pages.code_labels import certificate_state
from gatepost.manage.pages.gate_checks import (
    by_gate,
    checked_changeover,
    followed,
    gate_items,
    keep,
    kept,
    reasons_text,
)
from gatepost.manage.pages.guard import context_of, needs, perform
from gatepost.manage.pages.paging import foot, paged
from gatepost.manage.pages.rendering import render, see_other
from gatepost.manage.pages.signed_cookies import Undo
from gatepost.manage.pages.text_filters import remarks
from gatepost.manage.pages.time_zones import zone_of
from gatepost.manage.use_cases import certificate_views, changeover_steps
from gatepost.manage.use_cases.changeover import ChangeoverCheck, GetNotice, get_notice
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.use_cases.request_values import limits
from gatepost.manage.web.identity import is_form_token
from gatepost.pki.certificates.entry import Entry, State
from gatepost.pki.certificates.lifecycle import can_roll_back, roll_back_until
from gatepost.protocols.tls.token_uri import is_token_uri
from gatepost.texts import NN_
from gatepost.times import minute_text, with_offset

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request

    from gatepost.manage.use_cases.context import Context
    from gatepost.manage.use_cases.presentation_places import PresentationPlaces


type _Said = tuple[str, str]
"""What the next page says once, and at which level."""


# the pages


def _all(request: Request) -> Response:
    """What is under way; the one that is, if it is the only one."""
    principal, now = needs(request, Scope.READ), time.time()
    entries = perform(request, certificate_views.view_certificates, certificate_views.ViewCertificates()).entries
    known = {entry.id: entry for entry in entries}
    chosen = [entry for entry in entries if entry.state is State.NEXT or can_roll_back(entry, known, now=now)]
    if len(chosen) == 1:
        return RedirectResponse(f"/certificates/{chosen[0].id}/changeover", HTTPStatus.SEE_OTHER)
    page = paged(request, chosen)
    named = certificate_views.LocateCertificates(certificates=[entry.id for entry in page.rows])
    where = perform(request, certificate_views.locate_certificates, named)
    cards = [_card(entry, where.get(entry.id), now) for entry in page.rows]
    return render(
        request,
        "certificates/changeovers.html",
        cards=cards,
        foot=foot(page, NN_("%(num)s changeover in progress", "%(num)s changeovers in progress")),
        may_change=principal.may(Scope.CERTIFICATES),
    )


def _page(request: Request, *, errors: dict[str, str] | None = None, **given: Any) -> Response:
    principal, now, context = needs(request, Scope.READ), time.time(), context_of(request)
    view = execute(certificate_views.view_changeover, context, named_certificate(request))
    changeover_status, entry = view.changeover_status, view.changeover_status.entry
    seen = kept(context, entry.id)
    if seen is not None and seen.entry.state is not entry.state:
        seen = None
    report = seen.report if seen else None
    form = {"when": "now", "at": "", "reason": ""} | given
    return render(
        request,
        "certificates/changeover.html",
        block="changeover",
        entry=entry,
        name=label_of(entry),
        cards=[
            _card(certificate, view.places.get(certificate.id), now) for certificate in (*changeover_status.olds, entry)
        ],
        gates=gate_items(entry, by_gate(report.findings) if report else {}),
        report=report,
        light=str(report.light) if report else "",
        reasons=reasons_text(report) if report else "",
        looked=seen.now if seen else None,
        traffic=_traffic(seen),
        partners=_partners(
            [(partner.name, partner.why) for partner in (seen.partners if seen else ()) or changeover_status.partners],
            entry,
        ),
        whole=seen is not None,
        back=way_back(entry, now) if changeover_status.can_roll_back else None,
        back_until=roll_back_until(entry) or None,
        olds=changeover_status.olds,
        old_pins=[old for old in changeover_status.olds if old.leaf.spki_sha256 != entry.leaf.spki_sha256],
        lost=changeover_status.lost,
        order=view.order.at if view.order else None,
        changes=view.changes[:10],
        form=form,
        errors=errors or {},
        limits=limits(changeover_steps.SwitchCertificate),
        may_change=principal.may(Scope.CERTIFICATES),
    )


def _card(entry: Entry, places: PresentationPlaces | None, now: float) -> dict[str, Any]:
    """One of those that are shown side by side."""
    return row(entry, places, now) | {"pin": pin_of(entry), "back": way_back(entry, now)}


def _traffic(check: ChangeoverCheck | None) -> dict[str, Any] | None:
    if check is None or check.traffic is None:
        return None
    since, before = check.traffic
    return {
        "rows": (
            (_("Since the switch"), since),
            (_("The hour before") if before.seconds > since.seconds else _("Same period before"), before),
        ),
        "silent": sorted(before.domains - since.domains)[:50],
        "failing": newly_failing(since, before)[:50],
    }


def _partners(partners: Sequence[tuple[str, Sequence[str]]], entry: Entry) -> list[dict[str, Any]]:
    """Those that are to be told first. partners: name and why."""
    rows = [{"name": name, "why": why, "told": name in entry.told} for name, why in partners]
    return sorted(rows, key=lambda row: bool(row["told"]))


def _notice(request: Request) -> Response:
    """The text for partners, to be copied into a mail."""
    principal, entry = needs(request, Scope.READ), _entry(request)
    notice = perform(request, get_notice, GetNotice(certificate=entry.id, quick=True))
    seen = kept(context_of(request), entry.id)
    partners = [(partner.name, partner.why) for partner in seen.partners] if seen else []
    subject, _blank, body = notice.text.partition("\n\n")
    return render(
        request,
        "certificates/notice.html",
        entry=entry,
        name=label_of(entry),
        subject=subject.removeprefix("Subject: "),
        body=body,
        partners=_partners(partners or [(partner.partner, partner.why) for partner in notice.partners], entry),
        may_change=principal.may(Scope.CERTIFICATES),
    )


def _presented(request: Request) -> Response:
    """Certificates that the listeners present now; on the page of a changeover, a part that loads later."""
    needs(request, Scope.READ)
    entry, rows = perform(request, certificate_views.view_presented, named_certificate(request))
    name = label_of(entry)
    return render(request, "certificates/presented.html", block="presented", entry=entry, name=name, rows=rows)


# the gates


def _check_now(request: Request) -> Response:
    """With htmx what follows a look; without, the page when it has ended."""
    needs(request, Scope.CERTIFICATES)
    entry = _entry(request)
    if request.headers.get("hx-request") == "true":
        gates = gate_items(entry, {}, running=True)
        return render(request, "certificates/gates.html", block="live", entry=entry, gates=gates, trouble="")
    said, level = _check_summary(checked_changeover(context_of(request), entry.id).report, entry)
    return see_other(request, f"/certificates/{entry.id}/changeover#gates", said, level)


def _check_summary(report: GateReport | None, entry: Entry) -> tuple[str, str]:
    if report is None:
        return _(
            "There is nothing to check: the certificate is %(state)s.",
            state=in_sentence(certificate_state(entry.state)),
        ), "info"
    if report.light is Light.GREEN:
        return _("All checks passed."), "pass"
    if report.light is Light.RED:
        return _("A check failed."), "fail"
    return _("A check was inconclusive."), "warn"


async def _live(request: Request) -> Response:
    """Streams while a look runs; only for a page of ours, lest a foreign page's link has us ask others."""
    session = request.state.session
    if session is not None and not is_form_token(request.headers.get("x-csrf-token", ""), session):
        raise HTTPException(HTTPStatus.FORBIDDEN, _("Start the checks from the changeover page."))
    needs(request, Scope.CERTIFICATES)
    return followed(request, await run_in_threadpool(_entry, request))


def _entry(asked: Request) -> Entry:
    return perform(asked, certificate_views.find_certificate, named_certificate(asked))


# the steps


def _switch(asked: Request) -> Response:
    needs(asked, Scope.CERTIFICATES)
    form, entry = asked.state.form, _entry(asked)
    values = {name: form.get(name, "").strip() for name in ("when", "at", "reason")}
    wanted = with_offset(values["at"], zone_of(asked).zone)
    if values["when"] == "at" and not wanted:
        return _page(asked, errors={"at": _("Enter the time of the switch.")}, **values)
    at = wanted if values["when"] == "at" else ""
    request = changeover_steps.SwitchCertificate(certificate=entry.id, at=at, force=values["reason"])
    try:
        done = perform(asked, changeover_steps.switch_certificate, request)
    except changeover_steps.GatesClosed as closed:
        keep(context_of(asked), ChangeoverCheck(entry, {}, closed.report, None, (), closed.report.at))
        return _page(asked, errors={"reason": _closed(closed.report)}, **values)
    except Refusal as refusal:
        errors = {{"force": "reason"}.get(name, name): text for name, text in errors_of(refusal).items()}
        return _page(asked, errors=errors, **values)
    if done.planned and not done.switched:
        then = _("even if checks fail then") if values["reason"] else _("if all checks pass then")
        said = _(
            "%(certificate)s becomes current at %(time)s, %(then)s.",
            certificate=label_of(entry),
            time=minute_text(done.planned, zone_of(asked).zone),
            then=then,
        )
    else:
        said = _("%(certificate)s is now current. New sessions get it within two seconds.", certificate=label_of(entry))
    fields = (("back_note", "Undo of the switch"),)
    undo = Undo(f"/certificates/{entry.id}/roll-back", fields) if done.switched and done.replaced else None
    return see_other(asked, _path(entry), said, "warn" if values["reason"] else "pass", undo=undo)


def _closed(report: GateReport) -> str:
    is_red = report.light is Light.RED
    if report.unusable:
        said = (
            _("A check failed, so the gateway did not switch: you cannot override the check of the private key.")
            if is_red
            else _("A check was inconclusive, so the gateway did not switch: you cannot override it for a private key.")
        )
    else:
        said = (
            _("A check failed, so the gateway did not switch: fix the cause, or give a reason.")
            if is_red
            else _("A check was inconclusive, so the gateway did not switch: fix the cause, or give a reason.")
        )
    return f"{said} {reasons_text(report)}"


def _step(request: Request, do: Callable[[Context, Entry], _Said]) -> Response:
    """A step without a form of its own: done and said, or said why not."""
    needs(request, Scope.CERTIFICATES)
    entry = _entry(request)
    try:
        said, level = do(context_of(request), entry)
    except Refusal as refusal:
        return see_other(request, _path(entry), _("Not done: %(why)s.", why=why_of(refusal)), "fail")
    return see_other(request, _path(entry), said, level)


def _cancel(request: Request) -> Response:
    def do(context: Context, entry: Entry) -> _Said:
        execute(changeover_steps.cancel_switch, context, changeover_steps.CancelSwitch(certificate=entry.id))
        return _("The planned switch was cancelled. %(certificate)s stays staged.", certificate=label_of(entry)), "pass"

    return _step(request, do)


def _roll_back(request: Request) -> Response:
    note = request.state.form.get("back_note", "").strip()

    def do(context: Context, entry: Entry) -> _Said:
        done = execute(
            changeover_steps.roll_back_switch, context, changeover_steps.RollBackSwitch(certificate=entry.id, note=note)
        )
        names = ", ".join(label_of(certificate) for certificate in done.certificates[1:])
        said = _("%(names)s is current again; %(certificate)s is staged.", names=names, certificate=label_of(entry))
        return " ".join([said, *remarks(done.warnings)]), "warn" if done.warnings else "pass"

    return _step(request, do)


def _withdraw(asked: Request) -> Response:
    reason = asked.state.form.get("reason", "").strip()

    def do(context: Context, entry: Entry) -> _Said:
        request = changeover_steps.WithdrawCertificate(certificate=entry.id, force=reason)
        left = execute(changeover_steps.withdraw_certificate, context, request).key_file
        said = _("%(certificate)s is retired, and its key is destroyed.", certificate=label_of(entry))
        if left:
            names = {"certificate": label_of(entry), "key": left}
            said = (
                _("%(certificate)s is retired. Its key is not in the store: destroy %(key)s yourself.", **names)
                if is_token_uri(left)
                else _("%(certificate)s is retired. Its key is not in the store: delete %(key)s yourself.", **names)
            )
        return said, "warn" if left else "pass"

    return _step(asked, do)


def _stage(request: Request) -> Response:
    named = request.state.form.getlist("replaces")

    def do(context: Context, entry: Entry) -> _Said:
        staged = execute(
            changeover_steps.stage_certificate,
            context,
            changeover_steps.StageCertificate(certificate=entry.id, replaces=named),
        )
        places = ", ".join(staged.replaces) or _("no other certificate")
        return _(
            "%(certificate)s is staged and will replace %(places)s.", certificate=label_of(entry), places=places
        ), "pass"

    return _step(request, do)


def _notify(asked: Request) -> Response:
    form = asked.state.form

    def do(context: Context, entry: Entry) -> _Said:
        request = changeover_steps.NotifyPartners(
            certificate=entry.id,
            partners=form.getlist("partner"),
            everybody=form.get("whom") == "all",
            waive=form.get("how") == "waive",
            note=form.get("told_note", "").strip(),
        )
        done = execute(changeover_steps.notify_partners, context, request)
        left = (
            ngettext("%(num)s partner not yet notified.", "%(num)s partners not yet notified.", len(done.left))
            if done.left
            else _("Remaining: none.")
        )
        return f"{ngettext('%(num)s partner notified.', '%(num)s partners notified.', len(done.told))} {left}", "pass"

    return _step(asked, do)


def _path(entry: Entry) -> str:
    return f"/certificates/{entry.id}/changeover"


_STEPS = {
    "switch": _switch,
    "cancel": _cancel,
    "roll-back": _roll_back,
    "withdraw": _withdraw,
    "stage": _stage,
    "told": _notify,
}

ROUTES = [
    Route("/certificates/changeover", _all),
    Route("/certificates/{number}/changeover", _page),
    Route("/certificates/{number}/notice", _notice),
    Route("/certificates/{number}/presented", _presented),
    Route("/certificates/{number}/gates", _live, methods=["GET"]),
    Route("/certificates/{number}/gates", _check_now, methods=["POST"]),
    *(Route(f"/certificates/{{number}}/{name}", handler, methods=["POST"]) for name, handler in _STEPS.items()),
]
