"""Where the changeovers of another gateway stand. That gateway looks at the gates, and says what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatepost.analysis.checks.changeover_watch import Traffic
from gatepost.analysis.checks.gates import Gate, GateFinding, GateReport
from gatepost.analysis.checks.gates_partners import Partner
from gatepost.analysis.checks.partner_report import Mark
from gatepost.manage.remote.certificates import entry_of, step_path
from gatepost.manage.use_cases.changeover import Look, Notice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.manage.remote.connection import Connection
    from gatepost.pki.certificates.entry import Entry


def looks(connection: Connection, number: str = "") -> list[Look]:
    """As `manage.use_cases.changeover.looks`, without the partners."""
    body = {"certificate": number}
    found = connection.call("POST", "/certificate_changeovers/look", body=body).value
    entries = {one.id: one for one in map(entry_of, found["certificates"])}
    return [_look(one, entries, found["at"]) for one in found["items"]]


def check(connection: Connection, number: str) -> GateReport:
    """As `manage.use_cases.changeover.check`."""
    return report_of(connection.call("POST", step_path(connection, number, "gates")).value)


def notice(connection: Connection, number: str) -> Notice:
    """As `manage.use_cases.changeover.notice`."""
    found = connection.get(step_path(connection, number, "notice")).value
    partners = tuple(Partner(one["partner"], tuple(one["why"]), one["told"]) for one in found["partners"])
    return Notice(entry_of(found["certificate"]), found["text"], partners)


def report_of(record: Mapping[str, Any]) -> GateReport:
    """A look at the gates, with the certificate that it is of."""
    findings = tuple(map(_finding, record["findings"]))
    return GateReport(entry_of(record["certificate"]), record["at"], findings, record["seconds"])


def _finding(record: Mapping[str, Any]) -> GateFinding:
    text, evidence, fix = (record[name] for name in ("text", "evidence", "fix"))
    return GateFinding(Gate(record["gate"]), Mark(record["verdict"]), text, evidence, fix, record["until"] or 0.0)


def _look(record: Mapping[str, Any], entries: Mapping[str, Entry], now: float) -> Look:
    entry = entries[record["certificate"]["id"]]
    report = report_of(record["gates"]) if record["gates"] else None
    traffic = record["traffic"]
    both = (_traffic(traffic["since"]), _traffic(traffic["before"])) if traffic else None
    return Look(entry, entries, report, both, (), now)


def _traffic(record: Mapping[str, Any]) -> Traffic:
    refused = record["refused_for_want_of_tls"]
    return Traffic(record["over_tls"], record["in_clear"], refused, set(record["domains"]))
