from __future__ import annotations

import logging

import pytest

from gatepost.node.snapshot import SnapshotSource
from gatepost.policy.connectors.resources import PrefixLimits
from gatepost.store.changes import ConfigStore

PREFIXES = PrefixLimits(ipv4=24, ipv6=48)
CONTOSO = {"accepted_domain": [{"name": "contoso.example"}]}
FABRIKAM = {"accepted_domain": [{"name": "fabrikam.example"}]}
NEWER = {"colour": "red"}  # as a later version of gatepost might store it


@pytest.fixture
def stores(tmp_path):
    """(the worker's, the administrator's): two processes have two connections."""
    pair = [ConfigStore(tmp_path / "config.db") for _ in range(2)]
    yield pair
    for store in pair:
        store.close()


def apply(store, **organizations):
    return store.apply({"organization": organizations}, author="test")


def known(source):
    domains = ("contoso.example", "fabrikam.example")
    return [domain for domain in domains if source.current.directory.organization_of(domain)]


def test_before_anything_was_applied_nobody_is_known(stores):
    source = SnapshotSource(stores[0], PREFIXES)
    assert (source.current.version, known(source)) == (0, [])
    assert not source.refresh()


def test_what_was_applied_before_the_start_is_in_force_and_is_said(stores, caplog):
    caplog.set_level(logging.INFO)
    apply(stores[1], contoso=CONTOSO)
    source = SnapshotSource(stores[0], PREFIXES)
    assert caplog.messages == ["resources version 1 in force"]
    assert (source.current.version, known(source)) == (1, ["contoso.example"])
    assert not source.refresh()


def test_a_change_is_taken_up_once_and_those_who_hold_the_old_one_keep_it(stores, caplog):
    caplog.set_level(logging.INFO)
    source = SnapshotSource(stores[0], PREFIXES)
    before = source.current
    apply(stores[1], contoso=CONTOSO)
    apply(stores[1], fabrikam=FABRIKAM)
    assert source.is_outdated()
    assert source.refresh()
    assert not source.is_outdated()
    assert (source.current.version, known(source)) == (2, ["contoso.example", "fabrikam.example"])
    assert before.directory.organization_of("contoso.example") is None
    assert not source.refresh()
    assert caplog.messages == ["resources version 2 in force"]


def test_what_cannot_be_used_leaves_the_old_configuration_in_force_and_is_said_once(stores, caplog):
    source = SnapshotSource(stores[0], PREFIXES)
    apply(stores[1], contoso=CONTOSO)
    assert source.refresh()
    apply(stores[1], fabrikam=NEWER)
    assert [source.refresh() for _ in range(3)] == [False] * 3
    assert (source.current.version, known(source)) == (1, ["contoso.example"])
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.message.startswith("stored resources version 2 cannot be used, the old ones stay in force:\n")
    assert "organization.fabrikam.colour" in record.message


def test_after_what_cannot_be_used_comes_what_can(stores, caplog):
    source = SnapshotSource(stores[0], PREFIXES)
    apply(stores[1], fabrikam=NEWER)
    assert not source.refresh()
    apply(stores[1], fabrikam=FABRIKAM)
    assert source.refresh()
    assert (source.current.version, known(source)) == (2, ["fabrikam.example"])
    assert len(caplog.records) == 1


def test_a_start_with_what_cannot_be_used_knows_nobody(stores, caplog):
    apply(stores[1], fabrikam=NEWER)
    source = SnapshotSource(stores[0], PREFIXES)
    assert (source.current.version, known(source)) == (0, [])
    assert [source.refresh() for _ in range(2)] == [False] * 2
    assert len(caplog.records) == 1


def test_what_is_not_granted_is_said_once_by_one_process(stores, caplog):
    box = {"address": "ann@contoso.example", "delivery": "lmtp:unix:/run/lmtp"}
    stores[1].apply({"organization": {"contoso": CONTOSO | {"mailbox": [box]}}, "grant": {"contoso": {}}}, author="x")
    silent, source = (SnapshotSource(stores[0], PREFIXES, tells=tells) for tells in (False, True))
    apply(stores[1], fabrikam=FABRIKAM)
    assert all(one.refresh() for one in (silent, source))
    assert len([one for one in caplog.records if "gatepost grant add" in one.message]) == 1


def test_networks_are_as_wide_as_the_settings_allow(stores):
    connector = {"name": "hq", "connector_type": "on-premises", "sender_ip_addresses": ["192.0.0.0/16"]}
    apply(stores[1], contoso=CONTOSO | {"inbound_connector": [connector]})
    assert known(SnapshotSource(stores[0], PREFIXES)) == []
    assert known(SnapshotSource(stores[0], PrefixLimits(ipv4=16, ipv6=48))) == ["contoso.example"]
