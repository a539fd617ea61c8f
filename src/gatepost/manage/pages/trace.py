"""The message trace: searched, watched live, and all of one message.

`/trace` finds rows, one for each recipient and event; `/trace/<id>` is the page of a message or session, for ever, as
long as the trace is kept. Nothing here changes mail: the buttons of a message lead to `manage.pages.queue`.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote

from msgspec.structs import replace
from starlette.exceptions import HTTPException
from starlette.routing import Route

from gatepost.language import _, ngettext, translated, translated_choices
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages import trace_query
from gatepost.manage.pages.code_labels import event_label
from gatepost.manage.pages.exports import chunks_of, download, exported
from gatepost.manage.pages.guard import context_of, every, not_there, or_not_there, perform, principal_of
from gatepost.manage.pages.message_head import head_of
from gatepost.manage.pages.rendering import link, render, see_other
from gatepost.manage.pages.time_zones import zone_of
from gatepost.manage.pages.trace_story import recipients_of, story
from gatepost.manage.use_cases import trace
from gatepost.manage.use_cases.evidence_export import OpenExport, open_export
from gatepost.manage.use_cases.paging import position
from gatepost.manage.use_cases.queue import GetQueued, QueueDelivery, get_queued
from gatepost.manage.use_cases.queue_actions import QueueActions
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.request_values import limits
from gatepost.manage.use_cases.times import time_text
from gatepost.store.trace import TracePlace
from gatepost.texts import N_
from gatepost.times import name_text, rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.mail.model.trace_event import TraceEvent


PAGE: Final = 50
_SOON: Final = N_("The message trace has no events of this message yet. They appear within seconds.")
_IN_MEMORY: Final = 1_000_000
_AROUND: Final = 60.0  # seconds: an entry is made a moment after its event
COLUMNS: Final = (
    "time", "event", "queue_id", "organization", "direction", "session", "sender", "recipient", "message_id", "subject",
    "size", "peer_host", "peer_address", "connector", "requirement", "achieved", "tls_version", "tls_group",
    "tls_suite", "reply", "result_type",
)  # fmt: skip


def _search(request: Request) -> Response:
    principal, params = principal_of(request), request.query_params
    organization = params.get("organization", "")
    sort = trace_query.trace_order(request)
    question = trace_query.read_query(params, organization, trace_query.HELD if sort else PAGE, zone_of(request).zone)
    items = partial(_all, request, question)
    if file := exported(request, f"trace-{name_text(time.time())}", COLUMNS, items, cells=_cells):
        return file
    if params.get("part") == "totals":
        return _totals(request, question)
    messages, after, meaning = _found(request, question, params.get("after", ""))
    is_first = not params.get("after") and params.get("live") is None
    if is_first and question.names_one(meaning) and len(messages) == 1:
        identity = messages[0].message or messages[0].session
        return see_other(request, link(f"/trace/{quote(identity)}", organization=organization))
    known = trace_query.read_searches(request.cookies, principal.name)
    used = known.used(trace_query.kept_query(params)) if is_first and not question.is_plain else known
    answer = _page(request, question, messages, after, meaning, used)
    if used != known:
        trace_query.remember_searches(answer, used)
    return answer


def _totals(request: Request, question: trace_query.TraceQuery) -> Response:
    """The sums of a search, which the page asks for by itself."""
    understood = _meant(request, question)
    if understood is None:
        return render(request, "trace/totals.html", totals=None)
    search = understood[1]
    same = {name: getattr(search, name) for name in trace.SumTrace.__struct_fields__}
    return render(request, "trace/totals.html", totals=perform(request, trace.sum_trace, trace.SumTrace(**same)))


def _page(
    request: Request,
    question: trace_query.TraceQuery,
    messages: Sequence[trace.TracedMessage],
    after: str,
    meaning: Mapping[str, str],
    known: trace_query.Searches,
) -> Response:
    params, sort, days = request.query_params, trace_query.trace_order(request), context_of(request).settings.trace.days
    in_order = trace_query.sorted_messages(request, messages, sort, _reached(after)) if sort else None
    return render(
        request,
        "trace/search.html",
        422 if question.errors else 200,
        block="rows",
        question=question,
        fields=translated(trace_query.FIELDS),
        spans=translated_choices(trace_query.SPANS)
        if question.since in dict(trace_query.SPANS)
        else ((question.since, _("Since %(since)s", since=question.since)), *translated_choices(trace_query.SPANS)),
        events=(("", _("Any")), *((event, f"{event_label(event)} ({event})") for event in trace.EVENTS)),
        found=in_order.rows if in_order else messages,
        in_order=in_order,
        wider=trace_query.wider_searches(question) if not messages and not after else (),
        after=after,
        meaning={_(trace_query.FIELDS[name]): text for name, text in meaning.items()} if question.q else {},
        sort=sort or ("time" if params.get("sort") == "time" else ""),
        reached=_reached(after),
        looked_for=[_(trace_query.FIELDS[name]) for fields, _text in question.searches for name in fields],
        live=params.get("live") is not None,
        recent=[(trace_query.in_words(dict(parse_qsl(text))), f"/trace?{text}") for text in known.recent],
        saved=[(name, f"/trace?{item}") for name, item in known.saved.items()],
        this_search=trace_query.kept_query(params),
        name_of_search=trace_query.in_words(params),
        searched=trace_query.in_words({"since": question.since, **params}),
        kept=ngettext("%(num)s day", "%(num)s days", days) if days else _("all days"),
    )


def _reached(after: str) -> str:
    """The day at which a page ended, "" if there is no next one."""
    return position(after, TracePlace).day if after else ""


def _found(
    request: Request, question: trace_query.TraceQuery, after: str
) -> tuple[Sequence[trace.TracedMessage], str, Mapping[str, str]]:
    """The messages of a page, the cursor of the next one, "" for none, and what the one box was taken for."""
    understood = _meant(request, question)
    if understood is None:
        return (), "", {}
    meaning, search = understood
    page = perform(request, trace.search_messages, replace(search, after=after))
    return page.items, page.after or "", meaning


def _meant(request: Request, question: trace_query.TraceQuery) -> tuple[Mapping[str, str], trace.SearchTrace] | None:
    """The first search that finds anything; the last one without a look, as it is the widest; None if there is none."""
    if not question.searches:
        return None
    *others, last = question.searches
    searches = trace.ChooseSearch(searches=[search for _path, search in others])
    place = perform(request, trace.choose_search, searches) if others else None
    return last if place is None else others[place]


def _only_one(events: Sequence[TraceEvent]) -> str | None:
    """The id of the message, or of the session without one, that all rows are of."""
    ids = {event.message or event.session for event in events}
    return ids.pop() if len(ids) == 1 else None


def _all(request: Request, question: trace_query.TraceQuery) -> Iterator[TraceEvent]:
    """As many rows of a search as a command gives at once, read as they are sent. Raises Refusal."""
    if question.errors:
        name, text = next(iter(question.errors.items()))
        raise Refusal(RefusalKind.INPUT, f"{name} {text}")
    understood = _meant(request, question)
    return every(request, trace.search_trace_events, understood[1], trace.MOST) if understood is not None else iter(())


def _cells(event: TraceEvent) -> tuple[object, ...]:
    return (
        rfc3339(event.at, "milliseconds"), event.event, event.message, event.organization, event.direction,
        event.session, event.sender, event.recipient, event.message_id, event.subject, event.size, event.peer_host,
        event.peer_address, event.connector, event.requirement, event.achieved, event.tls_version, event.tls_group,
        event.tls.get("suite", ""), event.reply, event.result_type,
    )  # fmt: skip


def _keep_search(request: Request) -> Response:
    """Keep a search under a name, or let one go."""
    form = request.state.form
    known = trace_query.read_searches(request.cookies, principal_of(request).name)
    query = trace_query.kept_query(dict(parse_qsl(form.get("query", ""))))
    name = form.get("name", "").strip()
    if forgotten := form.get("forget", ""):
        known, said = known.without(forgotten), _("Deleted the saved search “%(forgotten)s”.", forgotten=forgotten)
    elif name and query:
        known, said = known.keeping(name, query), _("Saved the search “%(name)s” in this browser.", name=name)
    else:
        return see_other(request, "/trace", _("Enter a name to save the search."), "warn")
    answer = see_other(request, f"/trace?{query}" if query else "/trace", said)
    trace_query.remember_searches(answer, known)
    return answer


def _evidence(request: Request) -> Response:
    """The entries of the evidence log about a message, with their proof, as a file."""
    message = request.path_params["message"]
    events = _found_events(request, message).items
    since, until = time_text(events[0].at - _AROUND), time_text(events[-1].at + _AROUND)
    export = perform(request, open_export, OpenExport(message=message, since=since, until=until))
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed once it is sent
    if not export.write(file).entries:
        file.close()
        text = _(
            "The evidence log has no entry for %(message)s. Check that [evidence] enabled is true.",
            message=message[:100],
        )
        raise not_there(text)
    file.seek(0)
    return download(chunks_of(file), f"evidence-{events[0].message}.json", "application/json")


def _found_events(request: Request, identity: str) -> trace.TraceEvents:
    """Rows of a message or session. Raises HTTPException if there is none that is seen."""
    text = _(
        "The message trace has no message or session %(identity)s, or you have no access to its organization.",
        identity=identity[:100],
    )
    with or_not_there(text):
        return perform(request, trace.show_trace, trace.ShowTrace(id=identity))


def _show(request: Request) -> Response:
    principal = principal_of(request)
    identity = request.path_params["identity"]
    try:
        traced = _found_events(request, identity)
    except HTTPException:
        if _waiting(request, identity):
            return see_other(request, link(f"/queue/{quote(identity)}"), _SOON, "info")
        raise
    events = traced.items
    name = f"trace-{_only_one(events) or 'rows'}"
    if file := exported(request, name, COLUMNS, lambda: events, cells=_cells):
        return file
    message = next((event.message for event in events if event.message), "")
    waiting = _waiting(request, message)
    return render(
        request,
        "trace/message.html",
        identity=identity,
        message=message,
        first=events[0],
        last=events[-1],
        items=story(events),
        rows=len(events),
        head=head_of(request, events, waiting, message, (traced.must_act, traced.next_step)),
        has_evidence=context_of(request).settings.evidence.enabled,
        recipients=recipients_of(events),
        waiting=waiting,
        others=sorted({event.message for event in events if event.message} - {message}),
        limits=limits(QueueActions),
        may_act=principal.may(Scope.QUEUE, events[0].organization),
    )


def _waiting(request: Request, message: str) -> Sequence[QueueDelivery]:
    """The message's deliveries that are still in the queue."""
    if not message:
        return ()
    try:
        return perform(request, get_queued, GetQueued(message=message)).items
    except (
        Refusal
    ):  # an id of another node of the site, or a shard that cannot be read: the trace is there all the same
        return ()


ROUTES = [
    Route("/trace", _search),
    Route("/trace/searches", _keep_search, methods=["POST"]),
    Route("/trace/{message}/evidence", _evidence),
    Route("/trace/{identity:path}", _show),
]
