from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from gatepost.analysis.reports.tls import Direction, HopSummary, Protection, TlsCounter, Wanted, protection_of
from gatepost.store.trace import HopKind

DAY = "2026-11-24"


def kind(**fields: Any) -> HopKind:
    """Mail that was sent to the lab over TLS, with nothing required."""
    usual = {
        "organization": "contoso", "direction": "originating", "event": "SEND", "connector": "",
        "partner": "lab.example",
        "requirement": "opportunistic", "sources": '["default"]', "achieved": "none/encrypted",
        "tls_version": "TLSv1.3",
        "tls_group": "X25519MLKEM768", "suite": "TLS_AES_256_GCM_SHA384", "chain": "self-signed",
        "host": "mx.lab.example", "names": "[]", "result_type": "",
    }  # fmt: skip
    return HopKind(**{**usual, **fields})


def clear(**fields: Any) -> HopKind:
    return kind(**{"achieved": "none/none", "tls_version": "", "tls_group": "", "suite": "", "chain": "", **fields})


def received(**fields: Any) -> HopKind:
    return kind(**{"event": "RECEIVE", "direction": "incoming", "achieved": "encrypted", "sources": "", **fields})


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (clear(), Protection.CLEARTEXT),
        (received(achieved="none"), Protection.CLEARTEXT),
        (received(achieved=""), Protection.CLEARTEXT),
        (kind(), Protection.ENCRYPTED),
        (received(), Protection.ENCRYPTED),
        (kind(achieved="none/authenticated"), Protection.ENCRYPTED),
        (kind(requirement="encrypted", sources='["connector:out"]'), Protection.ENCRYPTED),
        (kind(achieved="none/authenticated", requirement="authenticated(lab.example)", sources='["connector:out"]'),
         Protection.VERIFIED),
        (received(achieved="authenticated", requirement="authenticated(*.lab.example)"), Protection.VERIFIED),
        (kind(achieved="dnssec/authenticated", requirement="authenticated(dane)", sources='["dane:mx.lab.example"]'),
         Protection.DANE),
        (kind(achieved="dnssec/authenticated", requirement="authenticated(dane)",
              sources='["connector:out","mta-sts:lab.example","dane:mx.lab.example"]'), Protection.DANE),
        (kind(achieved="mta-sts/authenticated", requirement="authenticated(mx.lab.example)",
              sources='["mta-sts:lab.example"]'), Protection.MTA_STS),
        (kind(achieved="none/authenticated", requirement="authenticated(mx)", sources='["connector:dane:x"]'),
         Protection.VERIFIED),
    ],
)  # fmt: skip
def test_what_protected_a_hop(one: HopKind, expected: Protection) -> None:
    assert protection_of(one) is expected


def counted(*rows: tuple[HopKind, int], wanted: Wanted | None = None, day: str = DAY) -> Any:
    counter = TlsCounter(wanted or Wanted())
    counter.add(day, dict(rows))
    return counter.report(day, day)


def test_hops_of_each_direction_are_summed_up() -> None:
    report = counted(
        (kind(), 5),
        (
            kind(
                tls_version="TLSv1.2", tls_group="", suite="ECDHE-RSA-AES256-GCM-SHA384", achieved="none/authenticated"
            ),
            2,
        ),
        (clear(partner="old.example"), 3),
        (kind(event="DEFER", result_type="certificate-expired"), 4),
        (kind(event="FAIL", result_type="certificate-expired"), 1),
        (kind(event="DEFER"), 100),  # not for TLS
        (kind(event="DELIVER"), 100),  # no hop
        (received(partner="a.example"), 7),
        (received(event="REFUSE", partner="a.example"), 2),
    )
    out, into = report.hops[Direction.OUTBOUND], report.hops[Direction.INBOUND]
    assert (out.carried, out.post_quantum, out.trusted, out.refused) == (10, 5, 2, 0)
    assert out.protections == {Protection.ENCRYPTED: 7, Protection.CLEARTEXT: 3}
    assert out.versions == {"TLSv1.3": 5, "TLSv1.2": 2}
    assert out.groups == {"X25519MLKEM768": 5, "none": 2}
    assert out.suites == {"TLS_AES_256_GCM_SHA384": 5, "ECDHE-RSA-AES256-GCM-SHA384": 2}
    assert out.failures == {"certificate-expired": 5}
    assert (into.carried, into.refused) == (7, 2)
    assert report.days[DAY][Direction.OUTBOUND] == {Protection.ENCRYPTED: 7, Protection.CLEARTEXT: 3}
    assert report.never_tls == (("old.example", 3),)


def test_by_partner_and_connector_most_mail_first() -> None:
    report = counted(
        (kind(), 1), (kind(connector="bank", partner="bank.example"), 9), (received(partner="lab.example"), 2)
    )
    assert [(one.name, one.direction, one.hops.carried) for one in report.partners] == [
        ("bank.example", "outbound", 9),
        ("lab.example", "inbound", 2),
        ("lab.example", "outbound", 1),
    ]
    assert [(one.name, one.direction) for one in report.connectors] == [
        ("bank", "outbound"),
        ("", "inbound"),
        ("", "outbound"),
    ]


def test_who_failed_for_tls_has_offered_it() -> None:
    failed = kind(event="DEFER", result_type="validation-failure", partner="old.example")
    assert counted((clear(partner="old.example"), 3), (failed, 1)).never_tls == ()
    assert counted((clear(partner="old.example"), 3), (kind(partner="old.example"), 1)).never_tls == ()


@pytest.mark.parametrize(
    ("wanted", "carried"),
    [
        ({}, 7),
        ({"organization": "Contoso"}, 3),
        ({"partner": "LAB.example."}, 3),
        ({"connector": "BANK"}, 4),
        ({"connector": "bank", "organization": "contoso"}, 0),
    ],
)
def test_only_what_is_wanted(wanted: dict[str, str], carried: int) -> None:
    rows = (kind(), 3), (kind(organization="fabrikam", connector="bank", partner="bank.example"), 4)
    assert counted(*rows, wanted=Wanted(**wanted)).hops[Direction.OUTBOUND].carried == carried


def test_days_are_in_order_and_their_parts_are_added() -> None:
    counter = TlsCounter(Wanted())
    for day in ("2026-11-25", "2026-11-24", "2026-11-25"):
        counter.add(day, Counter({kind(): 2}))
    report = counter.report("2026-11-24", "2026-11-25", ["x.db"])
    assert [(day, ways[Direction.OUTBOUND].total()) for day, ways in report.days.items()] == [
        ("2026-11-24", 2),
        ("2026-11-25", 4),
    ]
    assert report.unreadable == ("x.db",)


def test_nothing_is_a_report_too() -> None:
    report = TlsCounter(Wanted()).report(DAY, DAY)
    assert report.hops == {Direction.INBOUND: HopSummary(), Direction.OUTBOUND: HopSummary()}
    assert (report.partners, report.ready, dict(report.days)) == ((), (), {})
