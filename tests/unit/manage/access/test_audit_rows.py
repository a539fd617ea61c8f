from __future__ import annotations

import datetime as dt

import pytest

from gatepost.manage.access import audit_rows
from gatepost.manage.access.actions import RENAMED
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.access.records import AuditEvent, AuditFilter, AuditOutcome

DAY = 86_400.0
NOW = 1_795_528_800.0
GATEWAY = Principal("ann", frozenset({Scope.READ}))


def write(rows, at=NOW, who="ann", action="queue-drop", **rest):
    return audit_rows.write(rows, AuditEvent(rest.pop("begun", 0), at, who, "192.0.2.1", action, **rest))


def find(rows, principal=GATEWAY, limit=100, before=0, **wanted):
    return audit_rows.find(rows, principal, AuditFilter(**wanted), limit, before)


def kept(rows, detail):
    write(rows, detail=detail)
    return find(rows)[0].detail


def test_a_event(rows):
    write(rows, organization="contoso", subject="7Q", outcome=AuditOutcome.FAILED, detail={"why": "gone"})
    [found] = find(rows)
    assert found == AuditEvent(
        found.id, NOW, "ann", "192.0.2.1", "queue-drop", "contoso", "7Q", AuditOutcome.FAILED, {"why": "gone"}
    )


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, "abcde"),
        ({"who": "bob"}, "b"),
        ({"action": "log-in"}, "cd"),
        ({"organization": ""}, "cd"),
        ({"organization": "contoso"}, "ae"),
        ({"subject": "mx1.CONTOSO"}, "e"),
        ({"subject": "%"}, "e"),
        ({"subject": "m_1"}, ""),
        ({"outcome": AuditOutcome.REFUSED}, "d"),
        ({"since": NOW + 2, "until": NOW + 4}, "cd"),
        ({"who": "ann", "action": "log-in", "outcome": AuditOutcome.DONE}, "c"),
        ({"who": "' OR 1 --"}, ""),
        ({"subject": "\ud800"}, ""),
    ],
)
def test_filters(rows, wanted, found):
    write(rows, NOW, organization="contoso")
    write(rows, NOW + 1, who="bob", organization="fabrikam")
    write(rows, NOW + 2, action="log-in")
    write(rows, NOW + 3, action="log-in", outcome=AuditOutcome.REFUSED)
    write(rows, NOW + 4, organization="contoso", subject="100% of mx1.contoso.example")
    assert ["abcde"[int(one.at - NOW)] for one in find(rows, **wanted)] == list(reversed(found))


@pytest.mark.parametrize(("before", "now"), RENAMED.items())
def test_what_was_stored_under_a_former_name(rows, before, now):
    """It is read under the name of now, and found under both."""
    write(rows, action=before)
    write(rows, action=now)
    write(rows, action=f"{now}-not")
    for name in (before, now):
        assert [one.action for one in find(rows, action=name)] == [now, now]
    assert [one.action for one in find(rows)] == [f"{now}-not", now, now]


def test_a_tenant_sees_its_organizations_only(rows):
    for name in ("contoso", "fabrikam", "", "contoso "):
        write(rows, organization=name)
    tenant = Principal("t", frozenset(Scope), frozenset({"contoso", "woodgrove"}))
    assert [one.organization for one in find(rows, tenant)] == ["contoso"]
    assert find(rows, tenant, organization="fabrikam") == find(rows, tenant, organization="") == []
    assert find(rows, Principal("nobody", frozenset(Scope), frozenset())) == []


def test_pages(rows):
    for at in range(5):
        write(rows, at=NOW - at)  # a clock that goes back changes no order
    first = find(rows, limit=2)
    second = find(rows, limit=2, before=first[-1].id)
    third = find(rows, limit=2, before=second[-1].id)
    numbers = [one.id for one in first + second + third]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == 5
    assert len(find(rows, limit=0)) == 1
    assert len(find(rows, before=2**70)) == 5
    assert len(find(rows, limit=10**9)) == 5


@pytest.mark.parametrize(
    ("detail", "found"),
    [
        (
            {"password": "hunter2", "new_password": "x", "is_password": True},
            {"password": "...", "new_password": "...", "is_password": True},
        ),
        (
            {"a": {"client_secret": "x", "Authorization": "y", "csrf": "z"}},
            {"a": {"client_secret": "...", "Authorization": "...", "csrf": "..."}},
        ),
        ({"note": "gp_abc", "token": "backup"}, {"note": "...", "token": "backup"}),
        ({"when": dt.date(2026, 1, 1), "set": {1}, "none": None}, {"when": "2026-01-01", "set": [1], "none": None}),
        ({"text": "x" * 5000}, {"text": "x" * 1000}),
        ({"half": "\ud800", "\ud800": 1}, {"half": "?", "?": 1}),
        ({"list": list(range(500))}, {"list": list(range(100))}),
        ({"a": {"b": {"c": {"d": {"e": 1}}}}}, {"a": {"b": {"c": {"d": "{'e': 1}"}}}}),
        ({f"key{at}": "x" * 999 for at in range(10)}, {"cut": [f"key{at}" for at in range(10)]}),
        ({"number": float("inf")}, {"number": None}),
    ],
)  # fmt: skip
def test_details_are_bounded_and_without_secrets(rows, detail, found):
    assert kept(rows, detail) == found


def test_texts_are_bounded(rows):
    audit_rows.write(rows, AuditEvent(0, NOW, *("x" * 9999,) * 5))
    [found] = find(rows)
    assert len(found.who + found.address + found.action + found.organization + found.subject) == 1024


def test_what_strangers_can_fill_is_bounded(rows, monkeypatch):
    monkeypatch.setattr(audit_rows, "_REFUSED", 3)
    write(rows, who="", action="done")
    for at in range(6):
        write(rows, NOW + at, who="", action="log-in", outcome=AuditOutcome.REFUSED)
        write(rows, NOW + at, who="", action="request", outcome=AuditOutcome.REFUSED)
        write(rows, NOW + at, who="eve", outcome=AuditOutcome.FAILED)
    assert [one.at - NOW for one in find(rows, who="eve")] == [5, 4, 3]
    assert [one.at - NOW for one in find(rows, action="log-in")] == [5, 4, 3], "other requests push out none of them"
    assert len(find(rows, action="request")) == 3
    assert len(find(rows, action="done")) == 1


def test_deeds_are_kept_for_400_days_and_a_wrong_clock_costs_few(rows):
    assert audit_rows.prune(rows, NOW) == 0
    for age in (450, 441, 410, 401, 399, 0):
        write(rows, NOW - age * DAY)
    assert audit_rows.prune(rows, NOW) == 2
    assert audit_rows.prune(rows, NOW) == 2
    assert audit_rows.prune(rows, NOW) == 0
    assert audit_rows.prune(rows, NOW + 4000 * DAY) == 1
    assert [round((NOW - one.at) / DAY) for one in find(rows)] == [0]


def test_what_was_begun_gets_its_outcome_in_place_and_once(rows):
    begun = write(rows, outcome=AuditOutcome.BEGUN, detail={"a": 1})
    assert [one.outcome for one in find(rows)] == [AuditOutcome.BEGUN]
    assert write(rows, NOW + 5, begun=begun, action="queue-hold", subject="7Q") == begun
    (event,) = find(rows)
    assert (event.id, event.at, event.action, event.subject, event.outcome, event.detail) == (
        begun, NOW, "queue-hold", "7Q", AuditOutcome.DONE, {}
    )  # fmt: skip
    later = write(rows, NOW + 6, begun=begun, subject="forged")
    assert [(one.id, one.subject) for one in find(rows)] == [(later, "forged"), (begun, "7Q")]


def test_nobody_pushes_out_what_was_begun(rows, monkeypatch):
    monkeypatch.setattr(audit_rows, "_REFUSED", 2)
    write(rows, outcome=AuditOutcome.BEGUN)
    for number in range(4):
        write(rows, NOW + number, outcome=AuditOutcome.REFUSED, subject=str(number))
    events = [(one.outcome.value, one.subject) for one in find(rows)]
    assert events == [("refused", "3"), ("refused", "2"), ("begun", "")]
