"""Reports and evidence: how mail was protected, TLS reports of others and ours, the log that an auditor verifies."""

from __future__ import annotations

import io
import re
import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from gatepost.analysis.reports.evidence_export import Selection
from gatepost.analysis.reports.received import Wished
from gatepost.analysis.reports.tls import Wanted
from gatepost.analysis.reports.tls_record import report_record
from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.changing import TimeText, seconds
from gatepost.manage.rest.endpoint import Endpoint, ListOf, Reach
from gatepost.manage.rest.paging import Page, Paging, page_of
from gatepost.manage.use_cases import evidence, reports
from gatepost.manage.use_cases.refusal import Kind, Refusal

if TYPE_CHECKING:
    from gatepost.analysis.reports.received import FailedThere
    from gatepost.manage.rest.endpoint import Asked


_TAG = "reports"
_EVIDENCE = "evidence"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_FOREVER = 253_400_000_000.0  # in the year 9999, the last that a day can be told of
_EXPORT = 32 * 1024 * 1024  # bytes of an export over REST

type _Text = Annotated[str, Meta(max_length=1000)]
type _Day = Annotated[str, Meta(pattern=r"^(\d{4}-\d{2}-\d{2})?$", description="UTC day, 2026-11-24.")]


class ReportPeriod(msgspec.Struct, kw_only=True):
    """Whole UTC days, both included; without them, 30 days up to today."""

    since: _Day = ""
    until: _Day = ""
    organization: _Text = ""


class TlsQuery(ReportPeriod, kw_only=True):
    """What is counted. partner: a domain. top: partners and domains in the lists, at most."""

    partner: _Text = ""
    connector: _Text = ""
    at_least: Annotated[int, Meta(ge=1, le=1_000_000, description="Messages of a ready partner.")] = 10
    top: Annotated[int, Meta(ge=1, le=10_000, description="Partners and domains in the lists, at most.")] = 100


class TlsHops(msgspec.Struct, kw_only=True):
    """Rows, one for each recipient and hop. carried: of mail that went. The others: of them, by name."""

    carried: int
    post_quantum: int
    trusted: int
    refused: int
    protections: dict[str, int]
    versions: dict[str, int]
    groups: dict[str, int]
    suites: dict[str, int]
    failures: dict[str, int]


class TlsNamed(TlsHops, kw_only=True):
    """Those of a partner's domain or of a connector, in one direction."""

    name: str
    direction: str


class TlsDomain(msgspec.Struct):
    """A domain, and how much went there."""

    partner: str
    messages: int


class TlsReady(msgspec.Struct):
    """A partner of whom TLS could be demanded: the strictest demand that all mail would have met."""

    partner: str
    direction: str
    messages: int
    demand: str
    names: list[str]


class TlsReportAnswer(msgspec.Struct):
    """As `gatepost report tls --json` prints it; `top` bounds the lists. unreadable: files that are not counted."""

    first: str
    last: str
    unreadable: list[str]
    hops: dict[str, TlsHops]
    days: dict[str, dict[str, dict[str, int]]]
    partners: list[TlsNamed]
    connectors: list[TlsNamed]
    never_tls: list[TlsDomain]
    ready: list[TlsReady]


class ConnectorsAnswer(msgspec.Struct):
    """What each connector carried; "" is mail that no connector was for."""

    items: list[TlsNamed]


class ReceivedQuery(Paging, kw_only=True):
    """Which reports of others. reporter: a part of its name."""

    since: TimeText = ""
    until: TimeText = ""
    domain: _Text = ""
    reporter: _Text = ""
    result: Annotated[str, Meta(max_length=100, description="Of a failure (RFC 8460 section 4.3).")] = ""


class ReceivedSums(msgspec.Struct):
    """What a reporter said of one policy: reports, sessions, failed ones by result."""

    reporter: str
    domain: str
    policy: str
    reports: int
    passed: int
    failed: int
    results: dict[str, int]


class ReceivedFailed(msgspec.Struct):
    """Why sessions failed as their sender saw it; "" stands for what is not said."""

    result: str
    sessions: int
    sending_address: str
    mx_host: str
    helo: str
    receiving_address: str
    reason: str
    information: str


class ReceivedHere(msgspec.Struct):
    """Messages, by recipient, of the same client in our own trace of that time."""

    received: int
    refused: int


class ReceivedFailure(msgspec.Struct):
    """Sessions that failed by somebody's report. begin, end: of the report. here: null if no client is named."""

    begin: float
    end: float
    reporter: str
    domain: str
    policy: str
    failure: ReceivedFailed
    here: ReceivedHere | None


class SentQuery(Paging, kw_only=True):
    """Which reports of ours. since: a UTC day."""

    since: _Day = ""
    domain: _Text = ""


class SentAnswer(msgspec.Struct):
    """A TLS report of ours to one address; times in seconds since 1970, 0 for none."""

    day: str
    domain: str
    rua: str
    state: str
    tries: int
    first: float
    next: float
    tried: float
    detail: str
    message: str


class SessionsQuery(msgspec.Struct, kw_only=True):
    """Which day; today if none is given."""

    day: _Day = ""
    domain: _Text = ""


class SessionsAnswer(msgspec.Struct):
    """Report objects of RFC 8460 section 4.4, without the fields that say who sends them. days: that have counts."""

    day: str
    left_to_the_sender: list[str]
    reports: list[dict[str, Any]]
    days: list[str]


class Head(msgspec.Struct):
    """One hash for all that was logged up to the end of a day; the last entry of each writer."""

    day: str
    hash: str
    writers: dict[str, dict[str, int | str]]


class HeadsQuery(Paging, kw_only=True):
    """since: a UTC day."""

    since: _Day = ""


class KeyAnswer(msgspec.Struct):
    """A public key, PEM."""

    id: str
    pem: str


class KeysAnswer(msgspec.Struct):
    """That the log is, or was, signed with."""

    items: list[KeyAnswer]


class VerificationAnswer(msgspec.Struct, kw_only=True):
    """The verification that runs, else the last one since the process began. Times in seconds since 1970, 0 for none.

    verified: null if nobody can tell, and while it runs. found: what `gatepost evidence verify --json` prints.
    """

    running: bool
    begun: float
    ended: float
    verified: bool | None
    error: str
    found: dict[str, Any]


class ExportQuery(msgspec.Struct, kw_only=True):
    """Which entries. partner: a connector's name, or a domain and those below it. message: queue id or Message-ID.

    since, until: UTC days, both included, as for reports; or, where either has a time, times, open if not given.
    """

    since: TimeText = ""
    until: TimeText = ""
    organization: _Text = ""
    partner: _Text = ""
    domain: _Text = ""
    message: _Text = ""
    address: _Text = ""


def _tls(asked: Asked) -> dict[str, Any]:
    return report_record(_report(asked, reports.domain_name("query.partner", asked.query.partner)))


def _connectors(asked: Asked) -> dict[str, Any]:
    return {"items": reports.connectors_record(_report(asked, ""))}


def _report(asked: Asked, partner: str) -> Any:
    query: TlsQuery = asked.query
    days = reports.period(query.since, query.until)
    wanted = Wanted(query.organization, partner, query.connector, query.at_least)
    return reports.tls_report(asked.gateway, asked.principal, wanted, days, query.top)


def _received(asked: Asked) -> Page:
    found = reports.received_sums(asked.gateway, asked.principal, *_wished(asked.query))
    return page_of(found, lambda one: f"{one.reporter} {one.domain} {one.policy}", asked.query, reports.received_record)


def _received_failures(asked: Asked) -> Page:
    found = reports.received_failed(asked.gateway, asked.principal, *_wished(asked.query))

    def name(one: FailedThere) -> str:
        return f"{one.begin} {one.reporter} {one.domain} {one.policy} {one.failure.result}"

    return page_of(found, name, asked.query, reports.failures_record)


def _wished(query: ReceivedQuery) -> tuple[Wished, float, float]:
    """Which reports, and from when to when."""
    wished = Wished(reports.domain_name("query.domain", query.domain), query.reporter, query.result)
    until = seconds("until", query.until) if query.until else time.time()
    since = seconds("since", query.since) if query.since else until - reports.DAYS * 86_400.0
    return wished, since, until


def _sent(asked: Asked) -> Page:
    query: SentQuery = asked.query
    since = reports.utc_day("query.since", query.since or reports.period().first)
    domain = reports.domain_name("query.domain", query.domain)
    found = reports.sent(asked.gateway, asked.principal, since, domain)
    return page_of(found, lambda one: f"{one.day} {one.domain} {one.rua}", query, reports.sent_record)


def _sessions(asked: Asked) -> dict[str, Any]:
    query: SessionsQuery = asked.query
    day = reports.period("", query.day).last
    domain = reports.domain_name("query.domain", query.domain)
    return reports.sessions_record(reports.sessions(asked.gateway, asked.principal, day, domain))


def _heads(asked: Asked) -> Page:
    query: HeadsQuery = asked.query
    found = evidence.heads(asked.gateway, asked.principal, query.since)
    return page_of(found, lambda one: one.day, query, evidence.head_record)


def _keys(asked: Asked) -> dict[str, Any]:
    return {"items": [evidence.key_record(one) for one in evidence.keys(asked.gateway, asked.principal)]}


def _verify(asked: Asked) -> VerificationAnswer:
    asked.gateway.verifying.start()
    return _verification(asked)


def _verification(asked: Asked) -> VerificationAnswer:
    run = asked.gateway.verifying.last()
    if run is None:
        return VerificationAnswer(running=False, begun=0.0, ended=0.0, verified=None, error="", found={})
    found = run.found
    return VerificationAnswer(
        running=run.is_running,
        begun=run.begun,
        ended=run.ended,
        verified=found.verified if found else None,
        error=run.error,
        found=found.data if found else {},
    )


def _export(asked: Asked) -> msgspec.Raw:
    query: ExportQuery = asked.query
    begin, end = _between(query)
    selection = Selection(
        partner=query.partner,
        domain=query.domain,
        organization=query.organization,
        message=query.message,
        address=query.address,
        since=begin,
        until=end,
    )
    told = asked.told[0]
    told.organization, told.subject, told.detail = query.organization, "json", selection.record()
    out = _Bounded()
    evidence.export(asked.gateway, asked.principal, selection, "json", out)
    return msgspec.Raw(out.getvalue())


def _between(query: ExportQuery) -> tuple[float, float]:
    """From when to when, both included; 0.0 for open. Raises Refusal or Problem."""
    if all(not one or _DAY.fullmatch(one) for one in (query.since, query.until)):
        since, until = reports.period(query.since, query.until).times
        return since, until - 0.001 if until < _FOREVER else 0.0
    since = max(0.0, seconds("since", query.since)) if query.since else 0.0
    until = max(0.001, seconds("until", query.until)) if query.until else 0.0
    return since, until if until < _FOREVER else 0.0


class _Bounded(io.BytesIO):
    """So much, and no more."""

    def write(self, chunk: Any, /) -> int:
        """Raises Refusal (INPUT)."""
        if self.tell() + len(chunk) > _EXPORT:
            text = "The export is too large for one answer: choose fewer days, or a partner; the admin centre and "
            raise Refusal(Kind.INPUT, text + "`gatepost evidence export` have no such bound.")
        return super().write(chunk)


def _get(path: str, summary: str, handler: Any, answer: Any, query: Any = None, **more: Any) -> Endpoint:
    reach, tag = more.pop("reach", Reach.SEEN), _EVIDENCE if path.startswith("/evidence") else _TAG
    given = {} if query is None else {"query": query}
    return Endpoint("GET", path, summary, handler, answer, Scope.READ, reach, tag, **given, **more)


ENDPOINTS = (
    _get("/reports/tls", "How mail was protected: counted now, which takes seconds the first time", _tls,
         TlsReportAnswer, TlsQuery),
    _get("/reports/connectors", "What each connector carried, and how it was protected", _connectors, ConnectorsAnswer,
         TlsQuery),
    _get("/reports/received", "What others report of their TLS sessions with us (RFC 8460), by reporter and policy",
         _received, ListOf(ReceivedSums), ReceivedQuery),
    _get("/reports/received/failures", "Every failure that others report, with what our own trace has of its client",
         _received_failures, ListOf(ReceivedFailure), ReceivedQuery),
    _get("/reports/sent", "Which TLS reports of ours went where", _sent, ListOf(SentAnswer), SentQuery,
         reach=Reach.GATEWAY),
    _get("/reports/sessions", "TLS sessions of a day by policy domain, as reports have them", _sessions, SessionsAnswer,
         SessionsQuery, reach=Reach.GATEWAY),
    _get("/evidence/heads", "The signed head of each day", _heads, ListOf(Head), HeadsQuery, reach=Reach.GATEWAY),
    _get("/evidence/keys", "The public keys of the signatures", _keys, KeysAnswer, reach=Reach.GATEWAY),
    _get("/evidence/verification", "The verification of the log: that which runs, or the last", _verification,
         VerificationAnswer, reach=Reach.GATEWAY),
    Endpoint("POST", "/evidence/verification", "Verify the log, behind the answer; ask with GET what came of it",
             _verify, VerificationAnswer, Scope.READ, Reach.GATEWAY, _EVIDENCE, status=202,
             action="evidence-verify"),
    _get("/evidence/export", "Entries with their proof, as `gatepost evidence export` writes them", _export,
         dict[str, Any], ExportQuery, action="evidence-export"),
)  # fmt: skip
