from __future__ import annotations

from contextlib import closing

import pytest

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Principal, Role, Scope
from gatepost.manage.access.records import Actor, AuditOutcome
from gatepost.manage.use_cases.audit import ListAudit, ShowAuditEvent, differences, get_audit_event, list_audit
from gatepost.manage.use_cases.client import LocalClient, all_items
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage

EVERYBODY = Principal("ann", frozenset(Scope))
TINA = Principal("tina", frozenset({Scope.READ}), frozenset({"contoso"}))
ROOT = Actor("root")


@pytest.fixture
def accounts(gateway):
    """Ten audit events and ten versions, one by one."""
    with closing(Accounts(Storage(SQLITE, gateway.data))) as found:
        for number in range(10):
            found.record(ROOT, "queue-drop", organization="contoso" if number % 2 else "", subject=str(number))
            with gateway.config() as store:
                names = ["contoso", "fabrikam"] if number == 9 else ["contoso" if number % 2 else "fabrikam"]
                document = {"display_name": str(number)}
                store.apply({"organization": dict.fromkeys(names, document)}, author="ann", note=f"note {number}")
        yield found


def listed(gateway, principal=EVERYBODY, **wanted):
    return list(all_items(LocalClient(gateway, principal).call, list_audit, ListAudit(**wanted)))


def test_events_and_changes_are_one_list_by_time(gateway, accounts):
    found = listed(gateway)
    assert [(one.version or one.event, bool(one.version)) for one in found] == [
        (number, is_change) for number in range(10, 0, -1) for is_change in (True, False)
    ]
    newest = found[0]
    assert (newest.organization, newest.organizations, newest.subject) == ("", 2, "revision 10")
    assert (newest.event, newest.detail) == (None, {"note": "note 9"})
    assert (found[2].organization, found[2].who, found[2].outcome) == ("fabrikam", "ann", AuditOutcome.DONE)


@pytest.mark.parametrize("limit", [1, 3, 7, 19, 20, 50])
def test_pages_repeat_and_hide_nothing(gateway, accounts, limit):
    client, found, after = LocalClient(gateway, EVERYBODY), [], ""
    while after is not None:
        page = client.call(list_audit, ListAudit(limit=limit, after=after))
        assert 0 < len(page.items) <= limit
        found += page.items
        after = page.after
    assert found == listed(gateway)


@pytest.mark.parametrize(
    ("wanted", "events", "changes"),
    [
        ({"action": "change"}, 0, 10),
        ({"action": "queue-drop"}, 10, 0),
        ({"outcome": AuditOutcome.REFUSED}, 0, 0),
        ({"outcome": AuditOutcome.DONE}, 10, 10),
        ({"organization": "contoso"}, 5, 5),
        ({"organization": ""}, 5, 0),
        ({"who": "ann"}, 0, 10),
        ({"subject": "3"}, 1, 0),
        ({"since": "2100-01-01"}, 0, 0),
        ({"until": "1970-01-02"}, 0, 0),
        ({"changes": False}, 10, 0),
        ({"changes": False, "before": 4}, 3, 0),
    ],
)
def test_what_is_asked_for(gateway, accounts, wanted, events, changes):
    found = listed(gateway, **wanted)
    assert (sum(1 for one in found if one.event), sum(1 for one in found if one.version)) == (events, changes)


@pytest.mark.parametrize("field", ["since", "until", "after"])
def test_what_cannot_be_read(gateway, accounts, field):
    with pytest.raises(Refusal) as refused:
        LocalClient(gateway, EVERYBODY).call(list_audit, ListAudit(**{field: "soon"}))
    assert [one.path for one in refused.value.errors] == [field]


def test_who_sees_some_organizations_sees_no_more(gateway, accounts):
    found = listed(gateway, TINA)
    assert {one.organization for one in found} == {"contoso"}
    assert {one.organizations for one in found if one.version} == {1}
    assert listed(gateway, TINA, organization="fabrikam") == []


def test_one_event_as_far_as_one_sees(gateway, accounts):
    def event(principal, number):
        return LocalClient(gateway, principal).call(get_audit_event, ShowAuditEvent(event=number))

    assert event(EVERYBODY, 3).subject == "2"
    assert event(TINA, 2).subject == "1"
    for principal, number in ((TINA, 3), (EVERYBODY, 11), (EVERYBODY, 0), (EVERYBODY, 2**62)):
        with pytest.raises(Refusal) as refused:
            event(principal, number)
        assert refused.value.kind is RefusalKind.MISSING


def test_what_an_event_changed(gateway, accounts):
    accounts.add_user("tom", Role.OPERATOR, "correct horse battery", actor=ROOT)
    accounts.set_user("tom", role=Role.AUDITOR, actor=ROOT)
    accounts.remove_user("tom", actor=ROOT)
    removed, changed, added, other = listed(gateway, changes=False)[:4]
    assert [str(one) for one in differences(changed)] == ['~ role: "operator" -> "auditor"']
    assert {one.sign for one in differences(added)} == {"+"}
    assert {one.sign for one in differences(removed)} == {"-"}
    assert differences(other) == []
