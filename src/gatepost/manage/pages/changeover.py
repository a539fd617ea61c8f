"""The changeover of a certificate on one page: current and next, what stands between, and each step.

The page reads files alone. Looking at the gates is asked for (`manage.pages.gate_looks`); a switch looks at them anew
and is refused while one is red, unless a reason is given, which the history keeps with what was red.
"""

from __future__ import annotations

import hmac
import time
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.routing import Route

from gatepost.analysis.checks.gates import Light
from gatepost.manage.access.principal import Scope
from gatepost.manage.access.records import Outcome
from gatepost.manage.pages.certificate_forms import errors_of
from gatepost.manage.pages.certificate_view import LEVELS, label_of, life, pin_of, way_back
from gatepost.manage.pages.gate_looks import by_gate, followed, gate_items, keep, kept, waited
from gatepost.manage.pages.guard import actor_of, gateway_of, needs
from gatepost.manage.pages.pages import render, see_other
from gatepost.manage.pages.paging import foot, paged
from gatepost.manage.pages.texts import amount
from gatepost.manage.use_cases import changeover_steps as steps
from gatepost.manage.use_cases.acme_orders import acme_state
from gatepost.manage.use_cases.certificate_deeds import changes_told, switch_told
from gatepost.manage.use_cases.certificates import change_record, common_name, history, listing, presented_where
from gatepost.manage.use_cases.changeover import Look, notice, standing
from gatepost.manage.use_cases.changeover_steps import GatesClosed
from gatepost.manage.use_cases.presented import presented
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.times import ahead
from gatepost.pki.certificates.entry import Purpose, State
from gatepost.pki.certificates.lifecycle import can_roll_back, names_of, roll_back_until
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.analysis.checks.gates import GateReport
    from gatepost.analysis.checks.gates_partners import Partner
    from gatepost.manage.access.actions import Action
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.changeover import Standing
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.pki.certificates.entry import Entry


_CHANGES = 30
_REASON = 500

type _Done = tuple[str, str, dict[str, Any]]
"""What is said, at which level, and what is recorded of it."""


# the pages


def _all(asked: Request) -> Response:
    """What is under way; the one that is, if it is the only one."""
    principal, gateway, now = needs(asked, Scope.READ), gateway_of(asked), time.time()
    found = listing(gateway).entries
    known = {one.id: one for one in found}
    chosen = [one for one in found if one.state is State.NEXT or can_roll_back(one, known, now=now)]
    if len(chosen) == 1:
        return RedirectResponse(f"/certificates/{chosen[0].id}/changeover", HTTPStatus.SEE_OTHER)
    page = paged(asked, chosen)
    cards = [_card(gateway, one, now) for one in page.rows]
    return render(
        asked,
        "certificates/changeovers.html",
        cards=cards,
        foot=foot(page, "changeovers under way", "changeover under way"),
        may_change=principal.may(Scope.CERTIFICATES),
    )


def _page(
    asked: Request, status: HTTPStatus = HTTPStatus.OK, *, errors: dict[str, str] | None = None, **given: Any
) -> Response:
    principal, gateway, now = needs(asked, Scope.READ), gateway_of(asked), time.time()
    found = standing(gateway, asked.path_params["number"])
    entry = found.entry
    seen = kept(gateway, entry.id)
    if seen is not None and seen.entry.state is not entry.state:
        seen = None
    report = seen.report if seen else None
    changes = [change_record(one) for one in history(gateway, _CHANGES, entry.id)]
    form = {"when": "now", "at": "", "reason": ""} | given
    return render(
        asked,
        "certificates/changeover.html",
        status,
        block="changeover",
        entry=entry,
        name=label_of(entry),
        cards=[_card(gateway, one, now) for one in _beside(found)],
        gates=gate_items(entry, by_gate(report.findings) if report else {}),
        report=report,
        light=str(report.light) if report else "",
        looked=seen.now if seen else None,
        traffic=_traffic(seen),
        partners=_partners(seen.partners if seen and seen.partners else found.partners, entry),
        whole=seen is not None,
        back=way_back(entry, now) if found.can_roll_back else None,
        back_until=roll_back_until(entry) or None,
        olds=found.olds,
        old_pins=[one for one in found.olds if one.leaf.spki_sha256 != entry.leaf.spki_sha256],
        lost=found.lost,
        order=_order(gateway, principal, entry),
        changes=changes[:10],
        form=form,
        errors=errors or {},
        may_change=principal.may(Scope.CERTIFICATES),
    )


def _beside(found: Standing) -> list[Entry]:
    """The old ones, then the new one."""
    return [*found.olds, found.entry]


def _card(gateway: Gateway, entry: Entry, now: float) -> dict[str, Any]:
    """One of those that are shown side by side."""
    return {
        "entry": entry,
        "name": label_of(entry),
        "level": LEVELS[entry.state],
        "life": life(entry, now),
        "names": names_of(entry),
        "issuer": common_name(entry.leaf.issuer),
        "pin": pin_of(entry),
        "where": presented_where(gateway, entry),
        "back": way_back(entry, now),
    }


def _order(gateway: Gateway, who: Principal, entry: Entry) -> float | None:
    """When it is renewed by ACME (its authority's window, RFC 9773, or its lifetime), None if it is not."""
    if not gateway.settings.acme.is_on:
        return None
    try:
        orders = acme_state(gateway, who).orders
    except Refusal:  # the page about ACME says so
        return None
    return next((one.renew_at for one in orders if one.entry is not None and one.entry.id == entry.id), None)


def _traffic(seen: Look | None) -> dict[str, Any] | None:
    if seen is None or seen.traffic is None:
        return None
    since, before = seen.traffic
    return {
        "rows": (("Since the switch", since), ("As long before", before)),
        "silent": sorted(before.domains - since.domains)[:50],
    }


def _partners(partners: Sequence[Partner], entry: Entry) -> list[dict[str, Any]]:
    """Those that are to be told first."""
    rows = [{"name": one.name, "why": one.why, "told": one.name in entry.told} for one in partners]
    return sorted(rows, key=lambda one: bool(one["told"]))


def _notice(asked: Request) -> Response:
    """The text for partners, to be copied into a mail."""
    principal, gateway = needs(asked, Scope.READ), gateway_of(asked)
    found = notice(gateway, principal, asked.path_params["number"], quick=True)
    seen = kept(gateway, found.entry.id)
    subject, _, body = found.text.partition("\n\n")
    return render(
        asked,
        "certificates/notice.html",
        entry=found.entry,
        name=label_of(found.entry),
        subject=subject.removeprefix("Subject: "),
        body=body,
        partners=_partners(seen.partners if seen and seen.partners else found.partners, found.entry),
        may_change=principal.may(Scope.CERTIFICATES),
    )


def _presented(asked: Request) -> Response:
    """What the listeners present at this moment; of the page of the changeover it is a part that comes later."""
    needs(asked, Scope.READ)
    gateway = gateway_of(asked)
    found = standing(gateway, asked.path_params["number"])
    rows = presented(gateway, found.entry) if found.entry.purpose is Purpose.SERVER else []
    name = label_of(found.entry)
    return render(asked, "certificates/presented.html", block="presented", entry=found.entry, name=name, rows=rows)


# the gates


def _look(asked: Request) -> Response:
    """With htmx what follows a look; without, the page when it has ended."""
    principal, gateway = needs(asked, Scope.CERTIFICATES), gateway_of(asked)
    entry = standing(gateway, asked.path_params["number"]).entry
    if asked.headers.get("hx-request") == "true":
        gates = gate_items(entry, {}, running=True)
        return render(asked, "certificates/gates.html", block="live", entry=entry, gates=gates, trouble="")
    found = waited(gateway, principal, entry.id)
    _looked(asked, found)
    said, level = _said(found.report, entry)
    return see_other(asked, f"/certificates/{entry.id}/changeover#gates", said, level)


def _said(report: GateReport | None, entry: Entry) -> tuple[str, str]:
    if report is None:
        return f"There is nothing to look at: it is {entry.state}.", "info"
    if report.light is Light.GREEN:
        return "All gates are open.", "pass"
    if report.light is Light.RED:
        return "A gate is red.", "fail"
    return "A gate could not be looked at.", "warn"


async def _live(asked: Request) -> Response:
    """Streams while a look runs; only for a page of ours, lest a foreign page's link has us ask others."""
    csrf = asked.state.csrf
    if csrf and not hmac.compare_digest(asked.headers.get("x-csrf-token", "").encode(), csrf.encode()):
        raise HTTPException(HTTPStatus.FORBIDDEN, "Begin the look from the page of the changeover.")
    needs(asked, Scope.CERTIFICATES)
    found = await run_in_threadpool(standing, gateway_of(asked), asked.path_params["number"])
    return followed(asked, found.entry, lambda look: _looked(asked, look))


def _looked(asked: Request, found: Look) -> None:
    """Whoever had the gateway ask others is on record."""
    _record(asked, "certificate-look", found.entry, {"light": str(found.report.light) if found.report else ""})


# the steps


def _switch(asked: Request) -> Response:
    principal, gateway = needs(asked, Scope.CERTIFICATES), gateway_of(asked)
    form = asked.state.form
    entry = standing(gateway, asked.path_params["number"]).entry
    given = {name: form.get(name, "").strip() for name in ("when", "at", "reason")}
    reason, detail = given["reason"][:_REASON], dict[str, Any]()
    try:
        at = _time(given["at"]) if given["when"] == "at" else None
        with changes_told(gateway, principal, detail):
            done = steps.switch(gateway, principal, entry.id, at=at, force=reason)
    except GatesClosed as closed:
        keep(gateway, Look(entry, {}, closed.report, None, (), closed.report.at))
        _record(asked, "certificate-switch", entry, {"reasons": closed.report.reasons}, Outcome.REFUSED)
        red = "A gate is red" if closed.report.light is Light.RED else "A gate could not be looked at"
        what = "nothing overrides the key's gate" if closed.report.unusable else "mend it, or give a reason"
        text = f"{red}, so that nothing was switched: {what}. {closed.report.reasons}"
        return _page(asked, HTTPStatus.UNPROCESSABLE_ENTITY, errors={"reason": text}, **given)
    except Refusal as refusal:
        _record(asked, "certificate-switch", entry, {"why": refusal.text}, Outcome.REFUSED)
        return _page(asked, HTTPStatus.UNPROCESSABLE_ENTITY, errors=errors_of(refusal), **given)
    _record(asked, "certificate-switch", entry, detail | switch_told(done, reason))
    if done.is_planned:
        said = f"{label_of(entry)} becomes current at {_text(done.new.switch_at)}, if the gates are open then."
        if reason:
            said = f"{label_of(entry)} becomes current at {_text(done.new.switch_at)}, whatever the gates say then."
    else:
        said = f"{label_of(entry)} is current. New sessions see it within two seconds."
    return see_other(asked, _path(entry), said, "warn" if reason else "pass")


def _time(text: str) -> float:
    """What a date field of a browser says (UTC), or "2h". Raises Refusal."""
    try:
        return ahead(text)
    except ValueError as error:
        wrong = FieldError("at", str(error))
        raise Refusal(Kind.INPUT, str(error), [wrong]) from error


def _text(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _step(asked: Request, name: Action, do: Callable[[Gateway, Principal, Entry], _Done]) -> Response:
    """A step without a form of its own: done and said, or said why not."""
    principal, gateway = needs(asked, Scope.CERTIFICATES), gateway_of(asked)
    entry = standing(gateway, asked.path_params["number"]).entry
    changed: dict[str, Any] = {}
    try:
        with changes_told(gateway, principal, changed):
            said, level, detail = do(gateway, principal, entry)
    except Refusal as refusal:
        _record(asked, name, entry, {"why": refusal.text}, Outcome.REFUSED)
        return see_other(asked, _path(entry), f"Not done: {refusal.text}.", "fail")
    _record(asked, name, entry, detail | changed)
    return see_other(asked, _path(entry), said, level)


def _cancel(asked: Request) -> Response:
    def do(gateway: Gateway, who: Principal, entry: Entry) -> _Done:
        steps.cancel(gateway, who, entry.id)
        return f"{label_of(entry)} stays staged, without a time.", "pass", {}

    return _step(asked, "certificate-cancel", do)


def _roll_back(asked: Request) -> Response:
    note = asked.state.form.get("back_note", "").strip()[:_REASON]

    def do(gateway: Gateway, who: Principal, entry: Entry) -> _Done:
        done = steps.roll_back(gateway, who, entry.id, note=note)
        names = ", ".join(label_of(one) for one in done.current)
        said = f"{names} is current again; {label_of(entry)} is staged. {' '.join(done.warnings)}".strip()
        return said, "warn" if done.warnings else "pass", {"current": [one.id for one in done.current], "note": note}

    return _step(asked, "certificate-roll-back", do)


def _withdraw(asked: Request) -> Response:
    reason = asked.state.form.get("reason", "").strip()[:_REASON]

    def do(gateway: Gateway, who: Principal, entry: Entry) -> _Done:
        left = steps.withdraw(gateway, who, entry.id, force=reason).key_file
        said = f"{label_of(entry)} is retired, and its key is gone."
        if left:
            said = f"{label_of(entry)} is retired. Its key was never in the store: remove {left} yourself."
        return said, "warn" if left else "pass", {"reason": reason}

    return _step(asked, "certificate-withdraw", do)


def _stage(asked: Request) -> Response:
    named = tuple(asked.state.form.getlist("replaces"))

    def do(gateway: Gateway, who: Principal, entry: Entry) -> _Done:
        changed = steps.stage(gateway, who, entry.id, named)
        places = ", ".join(changed.replaces) or "nobody"
        return (
            f"{label_of(entry)} is staged, and will take the place of {places}.",
            "pass",
            {"replaces": changed.replaces},
        )

    return _step(asked, "certificate-stage", do)


def _tell(asked: Request) -> Response:
    form = asked.state.form
    partners, note = form.getlist("partner"), form.get("told_note", "").strip()[:_REASON]
    everybody, waive = form.get("whom") == "all", form.get("how") == "waive"

    def do(gateway: Gateway, who: Principal, entry: Entry) -> _Done:
        done = steps.tell(gateway, who, entry.id, partners, everybody=everybody, waive=waive, note=note)
        left = f"{amount(len(done.left), 'is', 'are')} left to be told." if done.left else "All of them know."
        said = f"It is kept that {amount(len(done.told), 'partner knows', 'partners know')}. {left}"
        return said, "pass", {"told": done.told, "waived": waive}

    return _step(asked, "certificate-tell", do)


def _path(entry: Entry) -> str:
    return f"/certificates/{entry.id}/changeover"


def _record(
    asked: Request, action: Action, entry: Entry, detail: dict[str, Any], outcome: Outcome = Outcome.DONE
) -> None:
    organization = entry.organization if entry.purpose is Purpose.CLIENT else ""
    asked.app.state.accounts.record(
        actor_of(asked),
        action,
        outcome=outcome,
        organization=organization,
        subject=entry.id,
        detail=detail,
    )


_STEPS = {
    "switch": _switch,
    "cancel": _cancel,
    "roll-back": _roll_back,
    "withdraw": _withdraw,
    "stage": _stage,
    "told": _tell,
}

ROUTES = [
    Route("/certificates/changeover", _all),
    Route("/certificates/{number}/changeover", _page),
    Route("/certificates/{number}/notice", _notice),
    Route("/certificates/{number}/presented", _presented),
    Route("/certificates/{number}/gates", _live, methods=["GET"]),
    Route("/certificates/{number}/gates", _look, methods=["POST"]),
    *(Route(f"/certificates/{{number}}/{name}", handler, methods=["POST"]) for name, handler in _STEPS.items()),
]
