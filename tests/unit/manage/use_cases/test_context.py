from __future__ import annotations

from gatepost.manage.access.principal import Principal
from gatepost.manage.use_cases.client import LocalClient
from gatepost.manage.use_cases.context import AuditTrail, Context, Gateway


class Cache:
    """Needs another that is kept."""

    gateway: Gateway

    def __init__(self, settings):
        self.settings = settings
        self.other = self.gateway.kept(list_of)


def list_of(settings):
    return [settings.server.hostname]


def test_one_instance_for_all_calls_of_a_process(gateway, monkeypatch):
    monkeypatch.setattr(Cache, "gateway", gateway, raising=False)
    one, other = (Context(gateway, Principal(name, frozenset()), lambda: None) for name in ("ann", "bob"))
    assert one.kept(Cache) is other.kept(Cache)
    assert one.kept(Cache).other is other.kept(list_of)
    assert Gateway(gateway.settings).kept(list_of) is not one.kept(list_of)
    assert (one.settings, one.data, one.actor.name, one.actor.address) == (
        gateway.settings,
        gateway.data,
        "ann",
        "",
    )
    assert one.audit is not other.audit


def test_what_a_call_is_about_stays_until_something_is_recorded_in_its_place():
    trail = AuditTrail()
    trail.describe("queue-hold", subject="x", reason="a")
    trail.describe(organization="contoso", reason="b")
    (one,) = trail.records
    assert (one.action, one.organization, one.subject, one.detail) == ("queue-hold", "contoso", "x", {"reason": "b"})
    trail.add("queue-hold", organization="fabrikam")
    assert [one.organization for one in trail.records] == ["fabrikam"]


def test_a_command_that_only_looks_opens_no_accounts(gateway):
    from gatepost.manage.use_cases.alarms import ListAlarms, list_alarms  # noqa: PLC0415 - for this test alone

    client = LocalClient(gateway, Principal("root", frozenset({"owner"})))
    client.call(list_alarms, ListAlarms())
    client.close()
    assert not (gateway.data / "access.db").exists()
