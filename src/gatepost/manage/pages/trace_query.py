"""Read a trace search from the address of a page, and describe it in words. Pure but for the clock.

Used by `manage.pages.trace`. All fields of the form are those of `gatepost trace search`; `q` is the one box of every
page, which understands an address, a domain, a Message-ID, a queue id, a session id or an IP address, and takes what is
none of them for parts of addresses and subjects.

Messages are sorted by another column than time here, too. The trace has no index but time: the newest that match are
read at once, and the foot of the table says how far back they go.

The last searches of a person, and those that they keep under a name, are in a cookie of their browser, and nowhere
else.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode

import msgspec

from gatepost.decoding import from_json
from gatepost.language import _, in_sentence, translated_choices
from gatepost.manage.pages.code_labels import event_label
from gatepost.manage.pages.paging import foot, order_of, paged
from gatepost.manage.pages.trace_story import protection
from gatepost.manage.use_cases.paging import Columns, sorted_by
from gatepost.manage.use_cases.request_values import limits
from gatepost.manage.use_cases.times import last_moment, moment
from gatepost.manage.use_cases.trace import EVENTS, PROTECTIONS, SearchTrace, TracedMessage, meanings, search_command
from gatepost.texts import N_, NN_
from gatepost.times import with_offset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response


SPANS: Final = (
    ("1h", N_("Last hour")),
    ("24h", N_("Last 24 hours")),
    ("7d", N_("Last 7 days")),
    ("30d", N_("Last 30 days")),
    ("all", N_("All time")),
)
_HOUR: Final = "1h"
_WEEK: Final = "7d"  # of what is looked for by a word: an hour would hide most of it
_WHOLE: Final = "all"  # of an id, which is of one time anyway

FIELDS: Final = {
    "words": N_("Part of a name or subject"),
    "sender": N_("From"),
    "recipient": N_("To"),
    "subject": N_("Subject"),
    "address": N_("From or to"),
    "domain": N_("Domain"),
    "connector": N_("Connector"),
    "event": N_("Event"),
    "peer": N_("Remote server"),
    "protection": N_("Protection"),
    "achieved": N_("Achieved"),
    "tls_version": "TLS version",
    "tls_group": N_("Key exchange"),
    "result_type": "TLS failure",
    "message": N_("Queue ID"),
    "message_id": N_("Message-ID"),
    "session": N_("Session"),
}
"""Names of the form's fields and of SearchTrace's, and what they are called."""
_IDS: Final = {"message", "message_id", "session"}
_LONGEST: Final = 1000
_LIMITS: Final = limits(SearchTrace)


@dataclass(frozen=True, slots=True)
class TraceQuery:
    """A search of the trace.

    q: the one box. fields: what else was filled in, by name. since, until: as they were written. searches: to be tried
    one after the other until one finds something, each with what it makes of q. errors: by field.
    """

    q: str
    fields: Mapping[str, str]
    since: str
    until: str
    searches: Sequence[tuple[Mapping[str, str], SearchTrace]] = ()
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether nothing but a time is asked for."""
        return not self.q and not self.fields

    def names_one(self, meaning: Mapping[str, str]) -> bool:
        """Whether the one box held an id, as `meaning` says, and nothing else was filled in."""
        return not self.fields and not _IDS.isdisjoint(meaning)


def read_query(given: Mapping[str, str], organization: str, limit: int, zone: tzinfo = UTC) -> TraceQuery:
    """Read a search from an address. organization: "" for all that are seen. zone: of times without an offset."""
    q = given.get("q", "").strip()[:_LONGEST]
    fields = {name: _field(name, given[name]) for name in FIELDS if given.get(name, "").strip()}
    meant = [meaning for meaning in meanings(q) if fields.keys().isdisjoint(meaning)] or [{}]
    default = _WHOLE if _IDS & (fields.keys() | set().union(*meant)) else _WEEK if q else _HOUR
    since, until = given.get("since", "").strip() or default, given.get("until", "").strip()
    errors: dict[str, str] = {}
    if fields.get("event", "") not in {"", *EVENTS}:
        errors["event"] = _("must be one of %(value)s", value=", ".join(EVENTS))
    if fields.get("protection", "") not in {"", *PROTECTIONS}:
        errors["protection"] = _("must be one of %(value)s", value=", ".join(PROTECTIONS))
    begin = "" if since == _WHOLE else _time("since", with_offset(since, zone), errors)
    end = _time("until", with_offset(last_moment(until), zone), errors) if until else ""
    if errors:
        return TraceQuery(q, fields, since, until, (), errors)
    sort = "time" if given.get("sort") == "time" else ""
    more: dict[str, Any] = {"organization": organization, "since": begin, "until": end, "limit": limit, "sort": sort}
    searches = [(meaning, SearchTrace(**{**fields, **meaning, **more})) for meaning in meant]
    return TraceQuery(q, fields, since, until, searches)


def _field(name: str, text: str) -> str:
    cut = text.strip()[: _LIMITS.get(name, _LONGEST)]
    return cut.upper() if name == "event" else cut


def _time(name: str, text: str, errors: dict[str, str]) -> str:
    """The same text, if it is a time."""
    try:
        moment(text)
    except ValueError as error:
        errors[name] = str(error)
    return text


def wider_searches(query: TraceQuery) -> Sequence[tuple[str, str, str]]:
    """Longer times for a search that found nothing: value and label of each, and the command line for it."""
    values = [value for value, _label in SPANS]
    longer = SPANS[values.index(query.since) + 1 :] if query.since in values else SPANS[-1:]
    if not query.searches:
        return ()
    search = query.searches[-1][1]
    return [
        (value, _(label), search_command(search, since="" if value == _WHOLE else value, until=""))
        for value, label in longer
    ]


def in_words(given: Mapping[str, str]) -> str:
    """A search as a person would name it: "to @partner.example, last 24 hours"."""
    spans = {since: label for since, label, *_more in translated_choices(SPANS)}
    words = [given["q"]] if given.get("q") else []
    words += [f"{in_sentence(_(label))} {given[name]}" for name, label in FIELDS.items() if given.get(name)]
    if organization := given.get("organization"):
        words.append(_("in %(organization)s", organization=organization))
    since = given.get("since", "")
    if since:
        words.append(in_sentence(spans[since]) if since in spans else _("since %(since)s", since=since))
    if until := given.get("until"):
        words.append(_("until %(until)s", until=until))
    return ", ".join(words) or _("all messages, last hour")


HELD: Final = 1000
"""Messages that are sorted at once."""
_WEAKEST_FIRST: Final = ("cleartext", "encrypted", "verified")
_SORTS: Final[Columns[TracedMessage]] = {
    "event": lambda message: event_label(message.events[0].event),
    "size": lambda message: message.events[0].size,
    "sender": lambda message: message.events[0].sender,
    "recipient": lambda message: message.events[0].recipient,
    "protection": lambda message: _strength(protection(message.events[0])),
    "connector": lambda message: message.events[0].connector or None,
    "subject": lambda message: message.events[0].subject,
    "reply": lambda message: message.events[0].reply or None,
}


class SortedMessages(NamedTuple):
    """A page of them. before, after: numbers of the pages beside it, 0 where there is none. shown: for the foot."""

    rows: Sequence[TracedMessage]
    shown: str
    before: int
    after: int


def trace_order(request: Request) -> str:
    """The column that messages are asked for in the order of, "" for time; a search that is watched has no other."""
    return "" if request.query_params.get("live") is not None else order_of(request, _SORTS)


def sorted_messages(request: Request, messages: Sequence[TracedMessage], sort: str, reached: str) -> SortedMessages:
    """The page that is asked for. messages: those that were read. reached: the day they go back to, "" if it is all."""
    page = paged(request, sorted_by(messages, sort, _SORTS))
    shown, before, after = foot(page, NN_("%(num)s message", "%(num)s messages"))
    if reached:
        shown = _(
            "%(shown)s, sorted. They go back to %(reached)s; older ones follow, sorted by themselves.",
            shown=shown,
            reached=reached,
        )
    return SortedMessages(page.rows, shown, before, after)


def _strength(level: str) -> int | None:
    return _WEAKEST_FIRST.index(level) if level in _WEAKEST_FIRST else None


COOKIE: Final = "__Host-gatepost-searches"
_KEPT: Final = (*FIELDS, "q", "since", "until", "organization")
_RECENT: Final = 6
_SAVED: Final = 12
_NAME: Final = 60
_LONGEST_COOKIE: Final = 3600  # of the cookie; browsers take 4096 octets with its name
_DAYS: Final = 90 * 86400


class Searches(msgspec.Struct, frozen=True, array_like=True):
    """who: whose they are, as browsers are shared. recent: queries, the newest first. saved: name to query."""

    who: str
    recent: tuple[str, ...] = ()
    saved: dict[str, str] = {}

    def used(self, query: str) -> Searches:
        """With one more."""
        others = tuple(text for text in self.recent if text != query)
        return msgspec.structs.replace(self, recent=(query, *others)[:_RECENT])

    def keeping(self, name: str, query: str) -> Searches:
        """With one under a name; one of that name is replaced, and beyond a dozen the oldest goes."""
        saved = {key: value for key, value in self.saved.items() if key != name} | {name[:_NAME]: query}
        return msgspec.structs.replace(self, saved=dict(list(saved.items())[-_SAVED:]))

    def without(self, name: str) -> Searches:
        """Without the one of that name."""
        return msgspec.structs.replace(self, saved={key: item for key, item in self.saved.items() if key != name})


def kept_query(given: Mapping[str, str]) -> str:
    """The search in a page's query, in one order."""
    return urlencode([(name, given[name]) for name in sorted(_KEPT) if given.get(name)])


def read_searches(cookies: Mapping[str, str], who: str) -> Searches:
    """Those of this person; none if the cookie is another's, or not ours."""
    try:
        searches = from_json(base64.urlsafe_b64decode(cookies.get(COOKIE, "")), Searches)
    except (ValueError, RecursionError):  # those of base64 and msgspec, too
        return Searches(who)
    if searches.who != who:
        return Searches(who)
    recent = tuple(kept_query(dict(parse_qsl(text))) for text in searches.recent[:_RECENT])
    saved = {name[:_NAME]: kept_query(dict(parse_qsl(text))) for name, text in list(searches.saved.items())[:_SAVED]}
    return Searches(who, tuple(filter(None, recent)), saved)


def remember_searches(response: Response, searches: Searches) -> None:
    """Keep them, the newest of them if it is too much."""
    kept = searches
    while len(text := base64.urlsafe_b64encode(msgspec.json.encode(kept)).decode()) > _LONGEST_COOKIE:
        if kept.recent:
            kept = msgspec.structs.replace(kept, recent=kept.recent[:-1])
        else:
            kept = kept.without(next(iter(kept.saved)))
    response.set_cookie(COOKIE, text, max_age=_DAYS, secure=True, httponly=True, samesite="strict", path="/")
