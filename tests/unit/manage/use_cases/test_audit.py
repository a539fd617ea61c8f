from __future__ import annotations

from contextlib import closing

import pytest

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Principal, Role, Scope
from gatepost.manage.access.records import Actor, DeedFilter, Outcome
from gatepost.manage.use_cases.audit import (
    AuditPlace,
    audit,
    audit_entry_record,
    deed,
    deed_differences,
    every_entry,
)
from gatepost.manage.use_cases.refusal import Kind, Refusal

EVERYBODY = Principal("ann", frozenset(Scope))
TINA = Principal("tina", frozenset({Scope.READ}), frozenset({"contoso"}))
ROOT = Actor("root")


@pytest.fixture
def accounts(gateway):
    """Ten deeds and ten versions, one by one."""
    with closing(Accounts(gateway.data / "access.db")) as found:
        for number in range(10):
            found.record(ROOT, "queue-drop", organization="contoso" if number % 2 else "", subject=str(number))
            with gateway.config() as store:
                names = ["contoso", "fabrikam"] if number == 9 else ["contoso" if number % 2 else "fabrikam"]
                document = {"display_name": str(number)}
                store.apply({"organization": dict.fromkeys(names, document)}, author="ann", note=f"note {number}")
        yield found


def test_deeds_and_changes_are_one_list_by_time(gateway, accounts):
    found = list(every_entry(gateway, accounts, EVERYBODY, DeedFilter()))
    assert [(one.version or one.deed, bool(one.version)) for one in found] == [
        (number, is_change) for number in range(10, 0, -1) for is_change in (True, False)
    ]
    newest = audit_entry_record(found[0])
    assert (newest["organization"], newest["organizations"], newest["subject"]) == ("", 2, "version 10")
    assert newest["detail"] == {"note": "note 9"}
    assert (found[2].organization, found[2].who, found[2].outcome) == ("fabrikam", "ann", Outcome.DONE)


@pytest.mark.parametrize("limit", [1, 3, 7, 19, 20, 50])
def test_pages_repeat_and_hide_nothing(gateway, accounts, limit):
    place, found = AuditPlace(), []
    while place is not None:
        page, place = audit(gateway, accounts, EVERYBODY, DeedFilter(), limit=limit, before=place)
        assert 0 < len(page) <= limit
        found += page
    assert found == list(every_entry(gateway, accounts, EVERYBODY, DeedFilter()))


@pytest.mark.parametrize(
    ("wanted", "deeds", "changes"),
    [
        (DeedFilter(action="change"), 0, 10),
        (DeedFilter(action="queue-drop"), 10, 0),
        (DeedFilter(outcome=Outcome.REFUSED), 0, 0),
        (DeedFilter(outcome=Outcome.DONE), 10, 10),
        (DeedFilter(organization="contoso"), 5, 5),
        (DeedFilter(organization=""), 5, 0),
        (DeedFilter(who="ann"), 0, 10),
        (DeedFilter(since=4e9), 0, 0),
        (DeedFilter(until=1.0), 0, 0),
    ],
)
def test_what_is_asked_for(gateway, accounts, wanted, deeds, changes):
    found = list(every_entry(gateway, accounts, EVERYBODY, wanted))
    assert (sum(1 for one in found if one.deed), sum(1 for one in found if one.version)) == (deeds, changes)


def test_who_sees_some_organizations_sees_no_more(gateway, accounts):
    found = list(every_entry(gateway, accounts, TINA, DeedFilter()))
    assert {one.organization for one in found} == {"contoso"}
    assert {one.organizations for one in found if one.version} == {1}
    assert list(every_entry(gateway, accounts, TINA, DeedFilter(organization="fabrikam"))) == []


def test_one_deed_as_far_as_one_sees(accounts):
    assert deed(accounts, EVERYBODY, 3).subject == "2"
    assert deed(accounts, TINA, 2).subject == "1"
    for who, number in ((TINA, 3), (EVERYBODY, 11), (EVERYBODY, 0), (EVERYBODY, 2**70)):
        with pytest.raises(Refusal) as refused:
            deed(accounts, who, number)
        assert refused.value.kind is Kind.MISSING


def test_what_a_deed_changed(accounts):
    accounts.add_user("tom", Role.OPERATOR, "correct horse battery", by=ROOT)
    accounts.set_user("tom", role=Role.AUDITOR, by=ROOT)
    accounts.remove_user("tom", by=ROOT)
    removed, changed, added, other = accounts.deeds(EVERYBODY, limit=4)
    assert [str(one) for one in deed_differences(changed)] == ['~ role: "operator" -> "auditor"']
    assert {one.sign for one in deed_differences(added)} == {"+"}
    assert {one.sign for one in deed_differences(removed)} == {"-"}
    assert deed_differences(other) == []
