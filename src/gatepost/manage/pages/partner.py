"""The pages that check a partner or one host, live as the stages end, and the report for the partner's postmaster.

`check_view` shows what `analysis.checks.partner` found, on pages and in the report.

A check runs on a thread of its own (`manage.use_cases.jobs`); a page shows it at its address for an hour. Without a
script the page loads itself anew until the check has ended.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from gatepost.analysis.checks.partner_report import DeliveryForecast, Mark, PolicyKind, Stage, actor_of, effort_of
from gatepost.language import _
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.event_stream import followed
from gatepost.manage.pages.guard import context_of, needs_scope, perform
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
    from gatepost.manage.use_cases.jobs import Job

    type Run = Job[partner.CheckTarget, PartnerCheck]
    from collections.abc import Iterable, Sequence

    from gatepost.analysis.checks.partner_report import Finding, Row


_STAGES: Final = {
    Stage.DNS: "DNS",
    Stage.CONNECT: N_("Connect"),
    Stage.EHLO: "EHLO",
    Stage.TLS: "TLS",
    Stage.CERTIFICATE: N_("Certificate"),
    Stage.DANE: "DANE",
    Stage.MTA_STS: "MTA-STS",
    Stage.REVOCATION: N_("Revocation"),
    Stage.REQUIRETLS: "REQUIRETLS",
}
_NAMES: Final = _STAGES | {Stage.TLS_RPT: "TLS-RPT"}
_ORDER: Final = (Mark.FAIL, Mark.WARN, Mark.UNKNOWN, Mark.INFO, Mark.PASS)
_SHORT_CELL: Final = 28
_SHORT_WORDS: Final = (
    N_("address"),
    N_("alias"),
    N_("bogus"),
    N_("broken"),
    N_("certificate"),
    N_("mismatch"),
    N_("name"),
    N_("none"),
    N_("private"),
    N_("refused"),
    N_("revoked"),
    N_("silent"),
    N_("unencrypted"),
    N_("unsigned"),
    N_("unusable"),
)
"""What cells say in one word; words that are codes, such as "DANE", stay."""
_BY: Final = {
    PolicyKind.DANE: N_("verified by DANE"),
    PolicyKind.MTA_STS: N_("verified by MTA-STS"),
    PolicyKind.OPPORTUNISTIC: N_("encrypted, but not protected against an active attacker (opportunistic)"),
}


class Cell(NamedTuple):
    """One stage of one address. level: of the badge; "running" or "waiting" until it is known. text: what is in it."""

    level: str
    text: str
    hint: str


class HostLine(NamedTuple):
    """One address of one host. cells: a Cell for each stage, None where the stage does not apply. transcript: lines."""

    preference: int | None
    host: str
    address: str
    policy: str
    outcome: str
    cells: Sequence[Cell | None]
    transcript: str


class FindingItem(NamedTuple):
    """A finding. where: hosts that it is about, "" for the domain. actor: "ours", "theirs" or ""."""

    level: str
    stage: str
    text: str
    where: str
    evidence: str
    fix: str
    actor: str
    effort: str


class CheckView(NamedTuple):
    """All of it. level, headline: the answer. quiet: findings that are as they should be."""

    target: str
    kind: str
    level: str
    headline: str
    at: float
    seconds: float
    total: int
    counts: Sequence[tuple[str, int]]
    stages: Sequence[str]
    lines: Sequence[HostLine]
    loud: Sequence[FindingItem]
    quiet: Sequence[FindingItem]
    last_line: str


def check_view(check: PartnerCheck, *, done: bool) -> CheckView:
    """done: otherwise what is missing is still looked at."""
    items = sorted(_items(check), key=lambda item: _ORDER.index(Mark(item.level)))
    loud = [item for item in items if item.level in {Mark.FAIL, Mark.WARN, Mark.UNKNOWN}]
    used = [stage for stage in _STAGES if not done or any(row.cell(stage) for row in check.rows)]
    counts = check.counts
    level, headline = _answer(check) if done else ("running", _("Checking…"))
    return CheckView(
        check.target,
        check.kind,
        level,
        headline,
        check.at,
        check.seconds,
        counts.total(),
        [(str(mark), counts[mark]) for mark in _ORDER if counts[mark]],
        [_(_STAGES[stage]) for stage in used],
        [_line(row, used, done=done) for row in check.rows],
        loud,
        [item for item in items if item not in loud],
        check.last_line if done else "",
    )


def _answer(check: PartnerCheck) -> tuple[str, str]:
    row = check.deciding
    match check.outcome:
        case DeliveryForecast.DELIVER if row is not None and row.facts is not None and row.facts.tls is not None:
            dane = row.cell(Stage.DANE)
            unusable = row.policy is PolicyKind.DANE and (dane is None or dane.short == "unusable")
            by = _("encrypted as the TLSA records require, though none is usable") if unusable else _(_BY[row.policy])
            level = "info" if row.policy is PolicyKind.OPPORTUNISTIC or unusable else "pass"
            return level, _(
                "The gateway would deliver mail, %(by)s, %(version)s.", by=by, version=row.facts.tls.version
            )
        case DeliveryForecast.CLEARTEXT:
            return "fail", _("The gateway would send mail unencrypted.")
        case DeliveryForecast.HOLD:
            return "fail", _(
                "Mail would wait, and return to its sender when it expires%(reason)s.", reason=_reason(check, Mark.FAIL)
            )
        case _:
            return "unknown", _("The result is inconclusive%(reason)s.", reason=_reason(check, Mark.UNKNOWN))


def _reason(check: PartnerCheck, mark: Mark) -> str:
    several = [*check.findings, *(finding for row in check.rows for finding in row.findings)]
    text = next((finding.text for finding in several if finding.stops and finding.verdict is mark), "")
    return f": {ours(text)}" if text else ""


def _line(row: Row, stages: Sequence[Stage], *, done: bool) -> HostLine:
    looking = None if done else row.looking
    outcome = str(row.outcome) if looking is None else ""
    cells = [row.cell(stage) for stage in stages]
    # The policy is the domain's, and comes when it comes.
    shown = [
        _cell(cell) if cell is not None else _unknown(stage, looking, waits=not done and stage is Stage.MTA_STS)
        for stage, cell in zip(stages, cells, strict=True)
    ]
    text = "\n".join(row.transcript) if done else ""
    return HostLine(row.preference, row.host, row.address, str(row.policy), outcome, shown, text)


def _unknown(stage: Stage, looking: Stage | None, *, waits: bool) -> Cell | None:
    if stage is looking:
        return Cell("running", _("checking…"), _("check in progress"))
    return Cell("waiting", "…", _("not checked yet")) if waits or looking is not None else None


def _cell(finding: Finding) -> Cell:
    if finding.because is not None:
        return Cell("unknown", _("not reached"), finding.text)
    short = ours(finding.short) or str(finding.verdict)
    text = short if len(short) <= _SHORT_CELL else f"{short[: _SHORT_CELL - 1]}…"
    return Cell(str(finding.verdict), text, finding.text)


def _items(check: PartnerCheck) -> Iterable[FindingItem]:
    for finding in check.findings:
        if finding.because is None:
            yield _item(finding, "")
    places: dict[Finding, list[str]] = {}
    for row in check.rows:
        for finding in row.findings:
            if finding.because is None:
                places.setdefault(finding, []).append(f"{row.host} ({row.address})" if row.address else row.host)
    for finding, where in places.items():
        yield _item(finding, ", ".join(dict.fromkeys(where)))


def _item(finding: Finding, where: str) -> FindingItem:
    evidence = finding.evidence if finding.evidence != finding.text else ""
    return FindingItem(
        str(finding.verdict),
        _(_NAMES[finding.stage]),
        finding.text,
        where,
        evidence,
        finding.fix,
        str(actor_of(finding)),
        str(effort_of(finding)),
    )


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
