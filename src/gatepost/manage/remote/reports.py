"""The reports of another gateway. Records of REST become the values that `manage.use_cases.reports` gives."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.analysis.reports.received import FailedThere, Reported, SeenHere
from gatepost.analysis.reports.tls_record import report_of
from gatepost.manage.remote.times import time_text
from gatepost.manage.use_cases.reports import sessions_of
from gatepost.protocols.tlsrpt.received import ReceivedFailure
from gatepost.store.sent_reports import SentReport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.analysis.reports.received import Wished
    from gatepost.analysis.reports.tls import TlsReport, Wanted
    from gatepost.manage.remote.connection import Connection
    from gatepost.manage.use_cases.reports import DaySessions, Period


_MOST: Final = 10_000  # partners, which the interface tells apart at most


def tls_report(connection: Connection, wanted: Wanted, days: Period, most: int = 0) -> TlsReport:
    """As `manage.use_cases.reports.tls_report`, but 10,000 partners at most."""
    query = {
        "since": days.first,
        "until": days.last,
        "organization": wanted.organization,
        "partner": wanted.partner,
        "connector": wanted.connector,
        "at_least": wanted.at_least,
        "top": most or _MOST,
    }
    return report_of(connection.get("/reports/tls", **query).value)


def sessions(connection: Connection, day: str, domain: str = "") -> DaySessions:
    """As `manage.use_cases.reports.sessions`."""
    return sessions_of(connection.get("/reports/sessions", day=day, domain=domain).value)


def received_sums(connection: Connection, wished: Wished, since: float, until: float) -> list[Reported]:
    """As `manage.use_cases.reports.received_sums`."""
    found = connection.items("/reports/received", **_received(wished, since, until))
    return [Reported(**one | {"results": Counter(one["results"])}) for one in found]


def received_failed(connection: Connection, wished: Wished, since: float, until: float) -> list[FailedThere]:
    """As `manage.use_cases.reports.received_failed`."""
    found = connection.items("/reports/received/failures", **_received(wished, since, until))
    return [_failed(one) for one in found]


def _failed(record: Mapping[str, Any]) -> FailedThere:
    here = SeenHere(**record["here"]) if record["here"] is not None else None
    return FailedThere(**{**record, "failure": ReceivedFailure(**record["failure"]), "here": here})


def sent(connection: Connection, since: str, domain: str = "") -> list[SentReport]:
    """As `manage.use_cases.reports.sent`."""
    return [msgspec.convert(one, SentReport) for one in connection.items("/reports/sent", since=since, domain=domain)]


def _received(wished: Wished, since: float, until: float) -> Mapping[str, Any]:
    return {
        "domain": wished.domain,
        "reporter": wished.reporter,
        "result": wished.result,
        "since": time_text(since),
        "until": time_text(until),
    }
