from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.analysis.reports.pictures import (
    HEAT_ROWS,
    Blocked,
    ClientCertificate,
    DayResult,
    HeatRow,
    PictureCounter,
    TlsPictures,
    span,
)
from gatepost.analysis.reports.tls import Direction, Protection, Wanted
from gatepost.store.trace import HopKind

FIRST, DAY, LAST = "2026-11-23", "2026-11-24", "2026-11-25"
OUT, IN = Direction.OUTBOUND, Direction.INBOUND


def kind(**fields: Any) -> HopKind:
    """Mail that was sent to the lab over TLS, with nothing required."""
    usual = {
        "organization": "contoso", "direction": "originating", "event": "SEND", "connector": "",
        "partner": "lab.example", "requirement": "opportunistic", "sources": '["default"]',
        "achieved": "none/encrypted", "tls_version": "TLSv1.3", "tls_group": "X25519MLKEM768", "suite": "S",
        "chain": "trusted", "host": "mx.lab.example", "names": "[]", "result_type": "",
    }  # fmt: skip
    return HopKind(**{**usual, **fields})


def clear(**fields: Any) -> HopKind:
    return kind(**{"achieved": "none/none", "tls_version": "", "tls_group": "", "suite": "", "chain": "", **fields})


def received(**fields: Any) -> HopKind:
    return kind(**{"event": "RECEIVE", "direction": "incoming", "achieved": "encrypted", "sources": "", **fields})


def dane(**fields: Any) -> HopKind:
    known = {"achieved": "dnssec/authenticated", "requirement": "authenticated(dane)", "sources": '["dane:mx"]'}
    return kind(**{**known, **fields})


def failed(**fields: Any) -> HopKind:
    return kind(**{"event": "DEFER", "result_type": "tlsa-invalid", "sources": '["dane:mx"]', **fields})


def drawn(*days: tuple[str, dict[HopKind, int]], wanted: Wanted | None = None, most: int = 100) -> TlsPictures:
    counter = PictureCounter(wanted or Wanted(), FIRST, LAST, most)
    for day, kinds in days:
        counter.add(day, kinds)
    return counter.pictures()


def test_every_day_is_there_with_its_sums() -> None:
    found = drawn((DAY, {kind(): 5, dane(tls_version="TLSv1.2", tls_group=""): 2, clear(): 3, failed(): 4}))
    assert list(found.days) == [FIRST, DAY, LAST]
    sums = found.days[DAY][OUT]
    assert sums.protections == {Protection.ENCRYPTED: 5, Protection.DANE: 2, Protection.CLEARTEXT: 3}
    assert sums.versions == {"TLSv1.3": 5, "TLSv1.2": 2, "none": 3}
    assert sums.groups == {"X25519MLKEM768": 5, "unknown": 2, "none": 3}
    assert (sums.failures, sums.carried, found.days[FIRST][OUT].carried) == (4, 10, 0)
    assert found.hops[OUT].carried == 10
    assert not found.is_empty
    assert drawn((DAY, {})).is_empty


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (received(achieved="authenticated", requirement="authenticated(x)"), ClientCertificate.PROVED),
        (received(), ClientCertificate.TRUSTED),
        (received(chain="self-signed"), ClientCertificate.UNTRUSTED),
        (received(chain="no-certificate"), ClientCertificate.NONE),
        (received(chain=""), ClientCertificate.NONE),
        (received(achieved="none", tls_version="", chain="trusted"), ClientCertificate.CLEARTEXT),
    ],
)
def test_what_a_client_showed(one: HopKind, expected: ClientCertificate) -> None:
    assert drawn((DAY, {one: 1})).days[DAY][IN].certificates == {expected: 1}


def test_the_worst_of_a_day_is_what_its_strip_shows() -> None:
    found = drawn(
        (FIRST, {dane(): 9, kind(): 1}),
        (DAY, {dane(): 9, failed(): 1, received(partner="in.example"): 1}),
        (LAST, {clear(): 1, failed(): 3, kind(event="REFUSE", partner="bad.example"): 2}),
    )
    assert found.heat[OUT] == (
        HeatRow("lab.example", 20, (DayResult.ENCRYPTED, DayResult.FAILED, DayResult.CLEARTEXT)),
    )
    assert [row.name for row in found.heat[IN]] == ["in.example"], "who was only refused is in no strip"
    assert found.days[LAST][IN].refused == 2


def test_a_strip_has_the_domains_with_most_mail() -> None:
    kinds = {kind(partner=f"d{number}.example"): number + 1 for number in range(HEAT_ROWS + 5)}
    rows = drawn((DAY, kinds)).heat[OUT]
    assert len(rows) == HEAT_ROWS
    assert rows[0].name == f"d{HEAT_ROWS + 4}.example"


def test_what_was_blocked_by_domain_and_demand() -> None:
    expired = failed(event="EXPIRE", result_type="certificate-expired")
    found = drawn(
        (DAY, {failed(): 4, expired: 1}), (LAST, {failed(): 2, failed(sources=""): 1, failed(event="HOLD"): 1})
    )
    assert found.blocked == (
        Blocked("lab.example", ("dane:mx",), 8, 1, (("tlsa-invalid", 7), ("certificate-expired", 1)), LAST),
        Blocked("lab.example", (), 1, 0, (("tlsa-invalid", 1),), LAST),
    )


def test_blocked_domains_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.analysis.reports.pictures._MOST_BLOCKED", 1)
    found = drawn((DAY, {failed(): 1, failed(partner="b.example"): 5}))
    assert len(found.blocked) == 1
    assert found.unblocked + found.blocked[0].attempts == found.hops[OUT].failures.total() == 6


def test_cleartext_by_name() -> None:
    found = drawn((DAY, {clear(partner="a.example"): 1, clear(partner="b.example"): 2, kind(): 5}))
    assert [(one.name, one.cleartext) for one in found.in_clear(OUT)] == [("b.example", 2), ("a.example", 1)]
    assert found.in_clear(IN) == []


def test_who_is_asked_for() -> None:
    kinds = {kind(): 1, kind(organization="fabrikam"): 2, kind(organization=""): 4}
    assert drawn((DAY, kinds)).hops[OUT].carried == 7
    assert drawn((DAY, kinds), wanted=Wanted("contoso")).hops[OUT].carried == 1
    seen = Wanted(organizations=frozenset({"fabrikam"}))
    assert drawn((DAY, kinds), wanted=seen).days[DAY][OUT].carried == 2


def test_too_many_partners_are_summed_up_and_nothing_is_lost() -> None:
    heavy = {clear(partner="heavy.example"): 50}
    spam = {kind(partner=f"s{number}.example"): 1 for number in range(20)}
    late = {clear(partner="late.example"): 12}
    found = drawn((FIRST, heavy | spam), (DAY, late), most=10)
    assert found.hops[OUT].carried == sum(one.carried for one in (*found.partners, *found.others)) == 82
    assert len(found.partners) <= 10
    assert found.others[0].name == ""
    assert [name for name, _ in found.never_tls] == ["heavy.example"], "of late ones nobody knows what was before"
    assert "heavy.example" in {row.name for row in found.heat[OUT]}


def test_late_partners_are_not_called_ready() -> None:
    spam = {kind(partner=f"s{number}.example"): 1 for number in range(20)}
    known = {kind(partner="known.example"): 40}
    found = drawn((FIRST, spam | known), (DAY, {kind(partner="late.example"): 40}), most=10)
    assert [one.partner for one in found.ready] == ["known.example"]


def test_pictures_are_not_changed_by_what_is_counted_later() -> None:
    counter = PictureCounter(Wanted(), FIRST, LAST)
    counter.add(DAY, {kind(): 1})
    before = counter.pictures()
    counter.add(DAY, {kind(): 1, failed(): 1})
    assert (before.days[DAY][OUT].carried, before.hops[OUT].carried, before.partners[0].carried) == (1, 1, 1)
    assert counter.pictures(["x.db"]).unreadable == ("x.db",)


KINDS = st.sampled_from(
    [
        kind(),
        clear(),
        dane(),
        received(),
        failed(),
        received(event="REFUSE"),
        kind(partner="b.example"),
        kind(event="DROP"),
    ]
)


@given(st.lists(st.tuples(st.sampled_from([FIRST, DAY, LAST]), KINDS, st.integers(1, 9)), max_size=30))
def test_sums_of_days_are_sums_of_all(rows: list[tuple[str, HopKind, int]]) -> None:
    found = drawn(*((day, {one: count}) for day, one, count in rows), most=2)
    for direction in Direction:
        days = [ways[direction] for ways in found.days.values()]
        assert sum(day.carried for day in days) == found.hops[direction].carried
        assert sum(day.versions.total() for day in days) == found.hops[direction].carried
        assert sum(day.groups.total() for day in days) == found.hops[direction].carried
        assert sum(day.refused for day in days) == found.hops[direction].refused
        named = [one for one in (*found.partners, *found.others) if one.direction is direction]
        assert sum(one.carried for one in named) == found.hops[direction].carried


def test_a_span_of_days() -> None:
    assert span("2026-02-27", "2026-03-01") == ["2026-02-27", "2026-02-28", "2026-03-01"]
