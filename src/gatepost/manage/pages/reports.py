"""The reports: how mail was protected, in pictures that are drawn from tables, with the trace behind every number.

A page shows what was counted last, and asks again by itself while newer numbers are counted; it never waits for them.
`?table=NAME&format=csv` (or json) of any of them is a table as a file.
"""

from __future__ import annotations

import time
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gatepost import __version__
from gatepost.analysis.reports.tls import Direction, Ready
from gatepost.language import _
from gatepost.manage.pages import report_charts
from gatepost.manage.pages.exports import exported, wants_file
from gatepost.manage.pages.guard import context_of, every, not_there, perform, principal_of
from gatepost.manage.pages.rendering import link, render
from gatepost.manage.pages.report_charts import QUICK, ReportView, read_view
from gatepost.manage.pages.report_tables import TABLES, ReportTable, ordered, report_order
from gatepost.manage.use_cases.evidence import ListKeys, list_keys
from gatepost.manage.use_cases.queue import ListQueue, list_queue
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.reports import LONGEST, GetTlsPictures, get_tls_pictures, period
from gatepost.manage.use_cases.tls_reports import ListReceivedReports, list_received_reports
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.requests import Request

    from gatepost.analysis.reports.pictures import DayResult, HeatRow, TlsPictures
    from gatepost.manage.use_cases.jobs import BackgroundResult


_WAIT: Final = 0.05  # seconds that a page waits for a count that may be done at once
_FILE_WAIT: Final = 30.0  # and a file
_LIVE: Final = "10s"  # after which a live table asks again
_FEW: Final = 25  # of those tables of which a page has several
_LINES: Final = 36  # of partners, beside two tables more
_WAITING: Final = 1000  # deliveries looked at for "waits now"
_LONGEST_NAME: Final = 40  # letters of a domain whose days lead to the trace one by one

SHOWN: Final = 50
"""Rows of a table in a page; its files have all."""
_TABS: Final = (
    (N_("Protection"), "/reports"),
    (N_("Incoming"), "/reports/incoming"),
    (N_("Domains"), "/reports/domains"),
    (N_("Partners"), "/reports/partners"),
    (N_("Key exchange"), "/reports/key-exchange"),
    (N_("Held back"), "/reports/blocked"),
    (N_("Connectors"), "/reports/connectors"),
    ("TLS reports", "/reports/tls-rpt"),
    (N_("Evidence"), "/reports/evidence"),
)


def _bars() -> dict[str, Any]:
    return {"protections": report_charts.protections(), "share_bar": report_charts.share_bar}


type Content = Callable[[TlsPictures, ReportView], Mapping[str, Any]]


def frame_of(request: Request, path: str) -> tuple[ReportView, dict[str, Any]]:
    """The view that the address names, and the data of `reports/page.html`. Raises Refusal (INPUT)."""
    view = read_view(request.query_params, time.time())
    if view.organization and not principal_of(request).sees(view.organization):
        raise not_there()
    tabs = [(_(text), view.link(tab), tab == path) for text, tab in _TABS]
    sort = report_order(request.query_params.get("sort", ""))
    quick = [(days, view.last_days(path, days)) for days in QUICK]
    return view, {
        "view": view,
        "tabs": tabs,
        "quick": quick,
        "path": path,
        "refresh": "",
        "sort": sort,
        "ordered": partial(ordered, sort),
        "csv": lambda table: view.link(path, table=table, format="csv"),
        "json": lambda table: view.link(path, table=table, format="json"),
    }


def _counted(request: Request, view: ReportView, wait: float) -> BackgroundResult[TlsPictures] | None:
    days = {"since": view.days.first, "until": view.days.last}
    wanted = GetTlsPictures(organization=view.organization, wait=wait, **days)
    return perform(request, get_tls_pictures, wanted)


def _page(path: str, part: str, heading: str, content: Content) -> Route:
    """A page of what is counted. content: what its template needs."""

    def handler(request: Request) -> Response:
        return _shown(request, path, part, _(heading), content)

    return Route(path, handler)


def _shown(request: Request, path: str, part: str, heading: str, content: Content, **more: Any) -> Response:
    view, frame = frame_of(request, path)
    if wants_file(request):
        return _file(request, view)
    counted = _counted(request, view, _WAIT)
    frame |= {"heading": heading, "part": part, "counted": counted, "shown": SHOWN}
    if counted is not None:
        frame |= content(counted.value, view)
    return render(request, "reports/page.html", block="report", **frame, **more)


def _file(request: Request, view: ReportView) -> Response:
    name = request.query_params.get("table", "")
    if name not in TABLES:
        raise not_there(_("There is no table of this name. Tables: %(value)s.", value=", ".join(TABLES)))
    counted = _counted(request, view, _FILE_WAIT)
    if counted is None:
        raise Refusal(
            RefusalKind.UNREADABLE, _("The gateway is still counting the mail of this period. Try again in a minute.")
        )
    return table_file(request, name, TABLES[name](counted.value, view))


def table_file(request: Request, name: str, table: ReportTable) -> Response:
    """A table as the file that is asked for. Raises Refusal (INPUT) for another format."""
    file = exported(request, name, table.columns, table.records)
    assert file is not None  # noqa: S101 - whoever calls this knows that one is wanted
    return file


# what the pages show


def _protection(pictures: TlsPictures, view: ReportView) -> dict[str, Any]:
    out, into = (pictures.hops[direction] for direction in (Direction.OUTBOUND, Direction.INBOUND))
    return {
        "chart": report_charts.by_protection(pictures, view, Direction.OUTBOUND),
        "out": out,
        "into": into,
        "clear": [(direction, pictures.in_clear(direction)) for direction in (Direction.OUTBOUND, Direction.INBOUND)],
        "protections": report_charts.protections(),
    }


def _incoming(pictures: TlsPictures, view: ReportView) -> dict[str, Any]:
    return {
        "versions": report_charts.by_version(pictures, view),
        "certificates": report_charts.by_certificate(pictures, view),
        "hops": pictures.hops[Direction.INBOUND],
    }


def _key_exchange(pictures: TlsPictures, view: ReportView) -> dict[str, Any]:
    ways = (Direction.OUTBOUND, Direction.INBOUND)
    return {
        "charts": [(direction, report_charts.by_group(pictures, view, direction)) for direction in ways],
        "hops": {direction: pictures.hops[direction] for direction in ways},
    }


def _connectors(pictures: TlsPictures, _view: ReportView) -> dict[str, Any]:
    return {"connectors": pictures.connectors, **_bars()}


def _domains(pictures: TlsPictures, view: ReportView, way: Direction) -> dict[str, Any]:
    days = [
        (Markup('<time datetime="{}">{}</time>').format(part.first, part.label), f"heat.{place}")
        for place, part in enumerate(view.parts)
    ]
    return {"way": way, "days": days, "rows": _heat(pictures.heat[way], view, way)}


def _partners(pictures: TlsPictures, view: ReportView) -> dict[str, Any]:
    forced = [(partner, _wizard(partner, view)) for partner in pictures.ready]
    return {"forced": forced, "partners": pictures.partners, "few": _FEW, "shown": _LINES, **_bars()}


def _heat(
    found: Sequence[HeatRow], view: ReportView, way: Direction
) -> list[tuple[HeatRow, list[tuple[DayResult, str]]]]:
    """Rows with a cell for each part of the time: the worst of its days, and the way to them."""
    rows = []
    for row in found:
        base = f"t/{view.organization or '-'}/{row.name}/{way[0]}"
        short = len(row.name) <= _LONGEST_NAME and row.name.replace("-", "").replace(".", "").isalnum()
        cells = []
        for part in view.parts:
            worst = max(row.days[slice(*part.places)])
            cells.append((worst, f"{base}{part.code}" if worst and short else ""))
        rows.append((row, cells))
    return rows


def _wizard(ready: Ready, view: ReportView) -> str:
    """The wizard for a connector, with what is known of it answered."""
    if ready.inbound:
        certificate = ready.demand == "restrict_domains_to_certificate"
        answers = {
            "scenario": "from-partner",
            "sender_domains": ready.partner,
            "require_tls": "on",
            "restrict_domains_to_certificate": "on" if certificate else "",
            "tls_sender_certificate_name": ready.names[0] if certificate else "",
        }
    else:
        answers = {
            "scenario": "to-partner",
            "use": "domains",
            "recipient_domains": ready.partner,
            "routing": "mx",
            "tls_settings": ready.demand,
            "tls_domain": _common(ready.names) if ready.demand == "domain-validation" else "",
        }
    return link("/connectors/new", step="name", organization=view.organization, name=ready.partner, **answers)


def _common(names: Sequence[str]) -> str:
    """A pattern for the names of all hosts, "" if there is none: one name, or those directly below one domain."""
    if len(names) == 1:
        return names[0]
    above = {name.partition(".")[2] for name in names}
    return f"*.{above.pop()}" if len(above) == 1 and "." in next(iter(above)) else ""


def _to_trace(request: Request) -> Response:
    """From a short address of a day and a domain to the filter of the trace."""
    values = request.path_params
    organization = "" if values["organization"] == "-" else values["organization"]
    way = {"o": Direction.OUTBOUND, "i": Direction.INBOUND}.get(values["day"][:1])
    begin, _dot, count = values["day"][1:].partition(".")
    try:
        first = date.fromisoformat(begin)
        last = first + timedelta(days=min(int(count or 1), LONGEST) - 1)
        days = period(first.isoformat(), last.isoformat())
    except (ValueError, OverflowError, Refusal):
        raise not_there() from None
    if way is None:
        raise not_there()
    view = ReportView(days, organization, days.last)
    return RedirectResponse(view.trace(**view.partner(way, values["domain"])), 303)


def _strip(request: Request) -> Response:
    way = Direction.INBOUND if request.query_params.get("way") == Direction.INBOUND else Direction.OUTBOUND
    return _shown(request, "/reports/domains", "reports/domains.html", _("Domains"), partial(_domains, way=way))


# blocked, live


def _blocked(request: Request) -> Response:
    def content(_pictures: TlsPictures, view: ReportView) -> dict[str, Any]:
        return {"waiting": _waiting(request, view), "refresh": _LIVE}

    return _shown(request, "/reports/blocked", "reports/blocked.html", _("Held back by TLS policy"), content)


def _waiting(request: Request, view: ReportView) -> dict[str, int]:
    """How many deliveries wait now, by the destination's domain, of the first thousand."""
    queue = ListQueue(organization=view.organization)
    waiting: dict[str, int] = {}
    for delivery in every(request, list_queue, queue, _WAITING):
        if delivery.attempts:
            domain = delivery.domain
            waiting[domain] = waiting.get(domain, 0) + 1
    return waiting


# on paper


def _print(request: Request) -> Response:
    view, frame = frame_of(request, "/reports/print")
    counted = _counted(request, view, _WAIT)
    node = context_of(request).settings.server.hostname
    frame |= {"counted": counted, "few": SHOWN, "version": __version__, "node": node}
    if counted is not None:
        pictures = counted.value
        frame |= {
            "pictures": pictures,
            **_protection(pictures, view),
            **_incoming(pictures, view),
            **_key_exchange(pictures, view),
            "protections": report_charts.protections(),
            "strip": _heat(pictures.heat[Direction.OUTBOUND], view, Direction.OUTBOUND),
            "received": list(every(request, list_received_reports, received_in(view))),
            "keys": _keys(request),
        }
    return render(request, "reports/print.html", block="report", **frame)


def _keys(request: Request) -> Sequence[Any]:
    """Keys to verify the evidence with; none for principals that do not see the whole gateway."""
    return perform(request, list_keys, ListKeys()).items if principal_of(request).is_of_gateway else ()


def received_in(view: ReportView) -> ListReceivedReports:
    """Reports of others about the days."""
    until = date.fromisoformat(view.days.last) + timedelta(days=1)
    return ListReceivedReports(since=view.days.first, until=until.isoformat())


ROUTES: Final = [
    _page("/reports", "reports/protection.html", N_("Protection of mail"), _protection),
    _page("/reports/incoming", "reports/incoming.html", N_("Incoming mail"), _incoming),
    _page("/reports/partners", "reports/partners.html", N_("Partners"), _partners),
    _page("/reports/key-exchange", "reports/key_exchange.html", N_("Key exchange"), _key_exchange),
    _page("/reports/connectors", "reports/connectors.html", N_("Connectors"), _connectors),
    Route("/reports/domains", _strip),
    Route("/reports/blocked", _blocked),
    Route("/reports/print", _print),
    Route("/reports/t/{organization}/{domain}/{day}", _to_trace),
]
