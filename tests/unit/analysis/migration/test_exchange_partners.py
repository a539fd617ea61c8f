from __future__ import annotations

import pytest

from gatepost.analysis.migration.exchange_json import ExchangeObject
from gatepost.analysis.migration.exchange_partners import (
    convert_enhanced_filtering,
    convert_partner,
    put_lock_downs_first,
)
from gatepost.analysis.migration.report import ImportResult, Part


def partner(*domains, **properties):
    """A partner connector as far as it was converted before."""
    part = Part("inbound_connector", "inbound connector 'p'")
    part.table.update(connector_type="partner", sender_domains=list(domains))
    if name := properties.pop("TlsSenderCertificateName", ""):
        part.table.update(tls_sender_certificate_name=name, match_common_name=True)
        part.differs("TlsSenderCertificateName", "the CN")
    if addresses := properties.get("SenderIPAddresses"):
        part.table["sender_ip_addresses"] = addresses
    item = ExchangeObject("inbound", "f.json", {key.lower(): value for key, value in properties.items()})
    convert_partner(item, part)
    convert_enhanced_filtering(item, part, on_premises=False)
    return part


def told(part):
    return {(finding.setting, finding.outcome) for finding in part.findings}


CERTIFICATE = {"RequireTls": True, "TlsSenderCertificateName": "*.gw.example", "RestrictDomainsToCertificate": True}
ADDRESS = {"RequireTls": False, "SenderIPAddresses": ["192.0.2.1"], "RestrictDomainsToIPAddresses": True}
OPEN = {"RequireTls": True}


@pytest.mark.parametrize(
    ("lock", "other", "priority"),
    [
        ("*", "friend.example", 50),
        ("*", "*.friend.example", 50),
        ("*.friend.example", "FRIEND.example", 50),
        ("*.friend.example", "*.sub.friend.example", 50),
        ("*", "*", None),  # of two for one domain that know nobody the restricting goes first
        ("friend.example", "friend.example", None),
        ("friend.example", "*.friend.example", None),
        ("*.bank.example", "friend.example", None),
    ],
)
@pytest.mark.parametrize("fields", [CERTIFICATE, ADDRESS])
def test_an_exception_that_exchange_does_not_make_is_none_here(lock, other, priority, fields):
    locked, friend = partner(lock, **fields), partner(other, **OPEN)
    put_lock_downs_first([locked, friend, Part("accepted_domain", "accepted domain 'o.example'")])
    assert locked.table.get("priority") == priority
    assert (("SenderDomains", ImportResult.DIFFERS) in told(locked)) is (priority is not None)
    assert "priority" not in friend.table


@pytest.mark.parametrize("domain", ["*", "*.friend.example", "FRIEND.example"])
@pytest.mark.parametrize(
    "proof", [{"SenderIPAddresses": ["192.0.2.9"]}, {"TlsSenderCertificateName": "mx.friend.example"}]
)
def test_who_is_known_otherwise_passes_no_lock_down_of_the_same_domain(domain, proof):
    """Of two for one domain the connector goes first whose certificate or address a client has."""
    locked, friend = partner(domain.lower(), **CERTIFICATE), partner(domain, **OPEN, **proof)
    put_lock_downs_first([locked, friend])
    assert (locked.table.get("priority"), "priority" in friend.table) == (50, False)
    assert ("SenderDomains", ImportResult.DIFFERS) in told(locked)


def test_lock_downs_keep_their_order_among_themselves():
    locks = [partner("*", **CERTIFICATE), partner("bank.example", **ADDRESS)]
    put_lock_downs_first(locks)
    assert ["priority" in lock.table for lock in locks] == [False, False]
    told_of = [finding.detail for lock in locks for finding in lock.findings if finding.setting == "SenderDomains"]
    assert [detail.partition(";")[0] for detail in told_of] == ["mail of these domains must meet this connector"]
    assert ("SenderDomains", ImportResult.DIFFERS) in told(locks[1])
    put_lock_downs_first([*locks, partner("friend.example", **OPEN)])
    assert [lock.table["priority"] for lock in locks] == [50, 50]


def test_what_a_partner_must_show_is_never_less_than_in_exchange():
    assert partner("*").table["require_tls"] is True
    by_both = partner("*", **CERTIFICATE | ADDRESS)
    assert by_both.table["require_tls"] is True
    assert {setting for setting, _ in told(by_both)} >= {"RequireTls", "RestrictDomainsToIPAddresses"}
    unasked = partner("*", RequireTls=False, TlsSenderCertificateName="*.gw.example")
    assert "tls_sender_certificate_name" not in unasked.table
    assert told(unasked) == {("TlsSenderCertificateName", ImportResult.LOST)}


@pytest.mark.parametrize("name", ["CloudServicesMailEnabled", "TreatMessagesAsInternal"])
def test_rights_of_own_servers_are_not_carried_over(name):
    assert (name, ImportResult.LOST) in told(partner("*", RequireTls=True, **{name: True}))


@pytest.mark.parametrize(
    ("fields", "table", "lost"),
    [
        ({}, {}, False),
        ({"EFSkipLastIP": True}, {"ef_skip_last_ip": True}, False),
        ({"EFSkipIPs": ["192.0.2.9"]}, {"ef_skip_ips": ["192.0.2.9"]}, False),
        ({"EFSkipIPs": ["192.0.2.8-192.0.2.9"]}, {"ef_skip_ips": ["192.0.2.8/31"]}, False),
        ({"EFSkipIPs": ["192.0.2.9-192.0.2.8"]}, {"ef_skip_ips": []}, True),
        ({"EFSkipLastIP": True, "SenderIPAddresses": []}, {}, True),
    ],
)
def test_hops_that_are_skipped(fields, table, lost):
    part = partner("*", **{"RequireTls": True, "SenderIPAddresses": ["192.0.2.1"]} | fields)
    assert {key: value for key, value in part.table.items() if key.startswith("ef_")} == table
    assert any(outcome is ImportResult.LOST for _, outcome in told(part)) is lost


def test_own_servers_skip_no_hops():
    part = Part("inbound_connector", "inbound connector 'own'")
    convert_enhanced_filtering(ExchangeObject("inbound", "f.json", {"efskiplastip": True}), part, on_premises=True)
    assert told(part) == {("EFSkipLastIP", ImportResult.LOST)}
