"""A TLS report as plain data, and back: for JSON, for CSV, and what a chart draws. No I/O."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from gatepost.analysis.reports.tls import Direction, HopSummary, Named, Protection, TlsReport
from gatepost.analysis.reports.tls_ready import Ready

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


CSV_COLUMNS = (
    "kind", "name", "direction", *(protection.value for protection in Protection),
    "carried", "post_quantum", "failures", "refused",
)  # fmt: skip


def report_record(report: TlsReport) -> dict[str, Any]:
    """All of it, in the names of the dataclasses."""
    return {
        "first": report.first,
        "last": report.last,
        "unreadable": list(report.unreadable),
        "hops": {direction.value: _hops(report.hops[direction]) for direction in Direction},
        "days": {
            day: {direction.value: _counts(counts) for direction, counts in ways.items()}
            for day, ways in report.days.items()
        },
        "partners": [_named(partner) for partner in report.partners],
        "connectors": [_named(connector) for connector in report.connectors],
        "never_tls": [{"partner": name, "messages": messages} for name, messages in report.never_tls],
        "ready": [_ready(partner) for partner in report.ready],
    }


def report_of(record: Mapping[str, Any]) -> TlsReport:
    """Rebuild a report from `report_record`. Raises ValueError or LookupError for any other data."""
    return TlsReport(
        record["first"],
        record["last"],
        {
            day: {Direction(way): _protections(counts) for way, counts in ways.items()}
            for day, ways in record["days"].items()
        },
        {direction: _hops_of(record["hops"][direction.value]) for direction in Direction},
        tuple(_named_of(partner) for partner in record["partners"]),
        tuple(_named_of(connector) for connector in record["connectors"]),
        tuple((row["partner"], row["messages"]) for row in record["never_tls"]),
        tuple(_ready_of(row) for row in record["ready"]),
        tuple(record["unreadable"]),
    )


def csv_rows(report: TlsReport) -> Iterator[tuple[object, ...]]:
    """A line for each day, partner and connector, by direction, in the columns of `CSV_COLUMNS`."""
    for day, ways in report.days.items():
        for direction, counts in ways.items():
            shares = (counts[protection] for protection in Protection)
            yield ("day", day, direction.value, *shares, counts.total(), "", "", "")
    for kind, rows in (("partner", report.partners), ("connector", report.connectors)):
        for row in rows:
            hops = row.hops
            shares = (hops.protections[protection] for protection in Protection)
            rest = hops.carried, hops.post_quantum, hops.failures.total(), hops.refused
            yield (kind, row.name, row.direction.value, *shares, *rest)


def _hops(hops: HopSummary) -> dict[str, Any]:
    return {
        "carried": hops.carried,
        "post_quantum": hops.post_quantum,
        "trusted": hops.trusted,
        "refused": hops.refused,
        "protections": _counts(hops.protections),
        "versions": _most(hops.versions),
        "groups": _most(hops.groups),
        "suites": _most(hops.suites),
        "failures": _most(hops.failures),
    }


def _counts(counts: Counter[Protection]) -> dict[str, int]:
    return {protection.value: counts[protection] for protection in Protection}


def _most(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _named(one: Named) -> dict[str, Any]:
    return {"name": one.name, "direction": one.direction.value, **_hops(one.hops)}


def _ready(one: Ready) -> dict[str, Any]:
    way = Direction.INBOUND if one.inbound else Direction.OUTBOUND
    return {
        "partner": one.partner,
        "direction": way.value,
        "messages": one.messages,
        "demand": one.demand,
        "names": list(one.names),
    }


def _hops_of(record: Mapping[str, Any]) -> HopSummary:
    return HopSummary(
        _protections(record["protections"]),
        Counter(record["versions"]),
        Counter(record["groups"]),
        Counter(record["suites"]),
        Counter(record["failures"]),
        record["trusted"],
        record["refused"],
    )


def _protections(record: Mapping[str, int]) -> Counter[Protection]:
    return Counter({Protection(name): count for name, count in record.items()})


def _named_of(record: Mapping[str, Any]) -> Named:
    return Named(record["name"], Direction(record["direction"]), _hops_of(record))


def _ready_of(record: Mapping[str, Any]) -> Ready:
    inbound = Direction(record["direction"]) is Direction.INBOUND
    return Ready(record["partner"], inbound, record["messages"], record["demand"], tuple(record["names"]))
