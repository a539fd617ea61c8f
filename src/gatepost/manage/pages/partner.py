"""The pages that check a partner or one host, live as the stages end, and the report for the partner's postmaster.

A check runs on a thread of its own (`manage.use_cases.jobs`); a page shows it at its address for an hour. Without
a script the page loads itself anew until the check has ended.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from gatepost.language import _
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.event_stream import followed
from gatepost.manage.pages.guard import context_of, needs_scope, perform
from gatepost.manage.pages.partner_report import check_view
from gatepost.manage.pages.rendering import environment, fragment, render, see_other
from gatepost.manage.use_cases import partner
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.times import stamp
from gatepost.sentences import ours
from gatepost.texts import N_
from gatepost.values import replace

if TYPE_CHECKING:
    from starlette.requests import Request

    from gatepost.analysis.checks.partner_report import PartnerCheck
    from gatepost.manage.pages.partner_report import CheckView
    from gatepost.manage.use_cases.jobs import Job

    type Run = Job[partner.CheckTarget, PartnerCheck]


_PARTNER, _HOST = "/check", "/check/host"
_MOST: Final = 1800  # letters of a message that a link begins; programs cut what is longer
_SHORT: Final = 2.0  # seconds that a form waits, so that most answers are there at once


def _form(request: Request) -> Response:
    needs_scope(request, Scope.READ)
    is_host = request.url.path == _HOST
    if request.method == "GET":
        return _form_page(request, is_host=is_host, text=request.query_params.get("target", ""))
    text = request.state.form.get("target", "").strip()
    try:
        state = _started(request, text, is_host=is_host)
    except Refusal as refusal:
        status = _STATUSES.get(refusal.kind)
        if status is None:
            raise
        error = ours(refusal.errors[0].message if refusal.errors else refusal.text)
        return _form_page(request, status, is_host=is_host, text=text, errors={"target": error})
    return see_other(request, f"{_PARTNER}/run/{state.id}")


_STATUSES: Final = {
    RefusalKind.INPUT: HTTPStatus.UNPROCESSABLE_ENTITY,
    RefusalKind.CONFLICT: HTTPStatus.TOO_MANY_REQUESTS,
}


def _started(request: Request, text: str, *, is_host: bool) -> partner.CheckState:
    context = context_of(request)
    if is_host:
        return execute(partner.check_host, context, partner.CheckHost(host=text, wait=_SHORT)).value
    return execute(partner.check_partner, context, partner.CheckPartner(domain=text, wait=_SHORT)).value


def _form_page(request: Request, status: int = 0, *, is_host: bool, **given: Any) -> Response:
    recent = perform(request, partner.list_recent_checks, partner.ListRecentChecks()).items
    context: dict[str, Any] = {"errors": {}, "text": ""} | given
    return render(
        request,
        "partner/form.html",
        status,
        is_host=is_host,
        ports=partner.MAIL_PORTS,
        recent=[(job, _view(job)) for job in recent],
        **context,
    )


def _run(request: Request) -> Run:
    needs_scope(request, Scope.READ)
    return perform(request, partner.follow_check, partner.FollowCheck(id=request.path_params["run"]))


def _view(run: Run) -> CheckView | None:
    result, done = run.result, run.done
    if result is None:
        return None
    if run.trouble:  # nothing is looked at any more
        result = replace(result, rows=tuple(replace(row, looking=None) for row in result.rows))
    return check_view(result, done=done and not run.trouble)


def _result(request: Request) -> Response:
    if request.query_params.get("format") == "json":
        return _json(request)
    run = _run(request)
    return render(request, "partner/result.html", **_context(run))


def _context(run: Run) -> dict[str, Any]:
    view = _view(run)
    is_whole = view is not None and run.done and run.subject.kind == "partner"
    return {"run": run, "view": view, "post": _letter(view) if view is not None and is_whole else ""}


def _json(request: Request) -> Response:
    state = perform(request, partner.show_check, partner.ShowCheck(id=request.path_params["run"], wait=0.0))
    record = {"id": state.id, "done": state.done, "result": state.result}
    return Response(msgspec.json.encode(record), media_type="application/json")


async def _events(request: Request) -> Response:
    run = await run_in_threadpool(_run, request)
    return followed(request, run, lambda: fragment(request, "partner/result.html", "found", **_context(run)))


def _report(request: Request) -> Response:
    """A file that needs nothing else, for the partner's postmaster."""
    run = _run(request)
    view = _view(run)
    if view is None or not run.done:
        raise Refusal(RefusalKind.CONFLICT, N_("the check is still running; reload the page in some seconds"))
    if run.trouble:
        raise Refusal(
            RefusalKind.CONFLICT,
            _("the check did not finish, so there is no report; check again: %(trouble)s", trouble=ours(run.trouble)),
        )
    own = context_of(request).settings.server.hostname
    text = check_report(view, own)
    name = f"check-{run.subject.name.replace(':', '-')}.html"
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return Response(text, media_type="text/html; charset=utf-8", headers=headers)


def check_report(view: CheckView, by: str) -> str:
    """The HTML file to hand on. by: the name of the gateway that checked."""
    return environment().get_template("partner/report.html").render(view=view, by=by, at=stamp(view.at))


def _letter(view: CheckView) -> str:
    """An address that begins a message to the partner's postmaster, all of it in the language of the page."""
    theirs = [item for item in view.loud if item.actor == "theirs"][:10]
    begin = _(
        "Dear postmaster of %(target)s,\n\nwe checked the protection of mail to your domain:\n%(headline)s\n\n",
        target=view.target,
        headline=view.headline,
    )
    items = "\n".join(
        f"* {ours(item.text)}{f' ({item.where})' if item.where else ''}\n  {ours(item.fix)}" for item in theirs
    )
    body = _(
        "%(begin)s%(items)s\n\nThe full report is attached.",
        begin=begin[:_MOST],
        items=items[: max(0, _MOST - len(begin))],
    )
    return f"mailto:postmaster@{view.target}?subject={quote(f'TLS of {view.target}')}&body={quote(body)}"


ROUTES = [
    Route(_PARTNER, _form, methods=["GET", "POST"]),
    Route(_HOST, _form, methods=["GET", "POST"]),
    Route(f"{_PARTNER}/run/{{run}}", _result),
    Route(f"{_PARTNER}/run/{{run}}/events", _events),
    Route(f"{_PARTNER}/run/{{run}}/report", _report),
]
