from __future__ import annotations

import time
import tomllib

import pytest

from gatepost.analysis.alarms.alarm import ALARMS_CONTENT, Alarm, AlarmStatus, Memory, Severity, encoded
from gatepost.analysis.alarms.alarm import Kind as AlarmKind
from gatepost.analysis.checks.records import VALIDATIONS, CheckRecords
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.client import LocalClient
from gatepost.manage.use_cases.queue_actions import QueueAction, QueueActions, act_on_queue
from gatepost.manage.use_cases.work_list import ListWork, WorkKind, list_work
from gatepost.store.nodes import EXPIRY_SECONDS, NodeIdentity
from gatepost.store.site_tables import SITE
from gatepost.values import replace

NODE = NodeIdentity("mx1", "1", "data 1", "host1", "1.0")
OWNER = Principal("ann", frozenset(Scope))
CONTOSO = Principal("con", frozenset(Scope), frozenset({"contoso"}))
FABRIKAM = Principal("fab", frozenset(Scope), frozenset({"fabrikam"}))
RESOURCES = """
[organization.contoso]
[[organization.contoso.outbound_connector]]
name = "bank"
recipient_domains = ["bank.example"]
[[organization.contoso.outbound_connector]]
name = "off"
enabled = false
recipient_domains = ["off.example"]
[organization.fabrikam]
[[organization.fabrikam.outbound_connector]]
name = "secret partner"
recipient_domains = ["partner.example"]
"""


def alarm(kind, about, severity=Severity.ERROR):
    return Alarm(kind, severity, "", f"about {about}", "Detail.", "Do it.", about, since=1000.0)


ALARMS = (
    alarm(AlarmKind.NAMESERVERS_DOWN, "", Severity.CRITICAL),
    alarm(AlarmKind.PROTECTION_DROP, "fabrikam/partner.example"),
    alarm(AlarmKind.SENDING_LIMIT, "contoso/user ann", Severity.CRITICAL),
    *(alarm(AlarmKind.JOURNAL_WAITS, f"contoso/j{number}@x.example", Severity.WARNING) for number in range(9)),
)


def work(gateway, who, **wanted):
    return LocalClient(gateway, who).call(list_work, ListWork(**wanted)).items


def kinds(items):
    return [str(item.kind) for item in items]


@pytest.fixture
def busy(gateway, queued):
    """Held mail, alarms and failed validations of two organizations; the gateway does not run."""
    queued(gateway.data, {"contoso": ["a@bank.example"]}, {"fabrikam": ["b@partner.example"]})
    with gateway.config() as store:
        standing = tuple(AlarmStatus(one, 1) for one in ALARMS)
        content = {ALARMS_CONTENT: encoded(Memory(looked=time.time(), standing=standing))}
        store.apply(tomllib.loads(RESOURCES), author="test", content=content)
    hold = QueueActions(action=QueueAction.HOLD, all=True)
    LocalClient(gateway, OWNER).call(act_on_queue, hold)
    for organization, name, outcome in (
        ("contoso", "bank", "validated"),
        ("contoso", "off", "not-validated"),
        ("fabrikam", "secret partner", "not-validated"),
    ):
        records = CheckRecords(gateway.storage, VALIDATIONS, organization)
        records.keep("outbound", name, {"at": 1.0, "outcome": outcome, "verdict": f"verdict of {name}"})
    return gateway


def test_a_gateway_that_was_not_started_is_one_thing_to_do(gateway):
    (item,) = (item for item in work(gateway, OWNER) if item.kind is WorkKind.NODE)
    assert (item.title, item.severity) == ("The gateway does not run", Severity.ERROR)
    assert item.detail.startswith("Start it with systemctl start gatepost, or gatepost serve.")


def test_nodes_that_do_nothing_for_each_other_are_told(gateway):
    registry = gateway.storage.nodes()
    registry.enter(NODE)
    registry.drain("mx1")
    titles = [item.title for item in work(gateway, OWNER) if item.kind is WorkKind.NODE]
    assert titles == ["No node takes mail", "The gateway does not run"]
    registry.drain("mx1", undo=True)
    assert "No node takes mail" not in [item.title for item in work(gateway, OWNER)]
    with gateway.storage.database(SITE).single() as connection:
        connection.execute("UPDATE node SET seen = seen - ?", (EXPIRY_SECONDS + 1,))
    dead = "Node mx1 is dead"
    (item,) = (item for item in work(gateway, OWNER) if item.title == dead)
    assert item.detail == "It has not been heard from, and no other node runs that could take its mail over."
    registry.enter(replace(NODE, name="mx2", instance="2", origin="data 2"))
    (item,) = (item for item in work(gateway, OWNER) if item.title == dead)
    assert item.detail == "It has not been heard from; other nodes took its mail over."
    registry.close()


def test_what_is_critical_comes_first_and_of_one_severity_the_machine_last(busy):
    items = work(busy, OWNER)
    severities = [item.severity for item in items]
    assert severities == sorted(severities, key=["critical", "error", "warning"].index)
    assert list(dict.fromkeys(kinds(items))) == ["held-mail", "alarm", "resolver", "failed-validation", "node"]
    assert [item.title for item in items[:2]] == ["1 delivery of contoso is held", "1 delivery of fabrikam is held"]
    assert items[0].page == "/queue?state=held&organization=contoso"
    (failed,) = (item for item in items if item.kind is WorkKind.FAILED_VALIDATION)
    assert failed.detail == "verdict of secret partner", "a connector that is disabled is no work"
    assert failed.page == "/connectors/fabrikam/outbound/secret%20partner#validation"
    assert all(item.action and item.page.startswith("/") for item in items)


def test_many_of_a_kind_are_counted_by_the_last(busy):
    alarms = [item for item in work(busy, OWNER) if item.kind is WorkKind.ALARM]
    assert [item.severity for item in alarms[:2]] == ["critical", "error"]
    assert (len(alarms), alarms[-1].title, alarms[-1].count) == (6, "6 more of this kind", 6)


def test_a_tenant_sees_what_is_its_own(busy):
    own = work(busy, CONTOSO)
    assert {item.organization for item in own if "more of this kind" not in item.title} == {"contoso"}
    assert not {"node", "resolver", "certificate", "failed-validation"} & set(kinds(own))
    others = work(busy, FABRIKAM)
    assert {item.organization for item in others} == {"fabrikam"}
    assert kinds(others) == ["held-mail", "alarm", "failed-validation"]
    assert work(busy, CONTOSO, organization="fabrikam") == []
    assert {item.organization for item in work(busy, OWNER, organization="fabrikam")} == {"fabrikam"}


def test_what_is_not_counted_yet_is_unknown(busy):
    told = LocalClient(busy, CONTOSO).call(list_work, ListWork(wait=0.0))
    assert told.unknown in (["validations and rehearsals of connectors are still being counted"], [])
