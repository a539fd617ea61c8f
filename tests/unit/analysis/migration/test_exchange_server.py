"""Send and Receive connectors of Exchange Server; what is in them was printed by ConvertTo-Json -Depth 5."""

from __future__ import annotations

import json

import pytest

from gatepost.analysis.migration.exchange import convert
from gatepost.analysis.migration.exchange_json import read_objects
from gatepost.analysis.migration.report import ImportResult
from gatepost.policy.connectors.model import parse

DOMAIN = {"DomainName": "contoso.example", "DomainType": "InternalRelay", "MatchSubDomains": False}
SEND = {
    "Name": "Bank", "AddressSpaces": ["SMTP:bank.example;1"], "DNSRoutingEnabled": True, "SmartHosts": [], "Port": 25,
    "RequireTLS": False, "TlsAuthLevel": None, "TlsDomain": None, "Enabled": True, "Fqdn": None, "Comment": "",
    "SmartHostAuthMechanism": "None", "SourceIPAddress": "0.0.0.0", "IgnoreSTARTTLS": False, "ErrorPolicies": "Default",
    "MaxMessageSize": "35 MB (36,700,160 bytes)", "SourceTransportServers": ["EX1"], "DomainSecureEnabled": False,
    "CloudServicesMailEnabled": False, "TlsCertificateName": None, "ConnectionInactivityTimeOut": "00:10:00",
}  # fmt: skip
RECEIVE = {
    "Name": "From the bank", "Bindings": ["0.0.0.0:25", "[::]:25"], "RemoteIPRanges": ["192.0.2.77"], "Enabled": True,
    "PermissionGroups": "AnonymousUsers, ExchangeServers", "AuthMechanism": "Tls", "RequireTLS": True, "Comment": None,
    "TlsDomainCapabilities": [], "TransportRole": "FrontendTransport", "Server": "EX1", "TarpitInterval": "00:00:05",
    "MessageRateLimit": "Unlimited", "DomainSecureEnabled": False,
}  # fmt: skip
EVERYBODY = ["::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "0.0.0.0-255.255.255.255"]


def imported(*objects):
    found = convert(read_objects(json.dumps([DOMAIN, *objects]).encode(), "exchange.json"), "contoso")
    parse(found.document)
    return found


def tables(found, kind):
    return found.document["organization"]["contoso"].get(kind, [])


def told(found, outcome):
    return {
        finding.setting for finding in found.findings if finding.outcome is outcome and "mailbox" not in finding.detail
    }


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({}, {"tls_settings": "opportunistic", "use_mx_record": True}),
        ({"RequireTLS": True}, {"tls_settings": "encryption-only"}),
        ({"RequireTLS": True, "TlsAuthLevel": "CertificateValidation"}, {"tls_settings": "certificate-validation"}),
        ({"RequireTLS": True, "TlsAuthLevel": "DomainValidation", "TlsDomain": "*.bank.example"},
         {"tls_settings": "domain-validation", "tls_domain": "*.bank.example"}),
        ({"TlsAuthLevel": "CertificateValidation"}, {"tls_settings": "certificate-validation"}),
        ({"DomainSecureEnabled": True}, {"tls_settings": "domain-validation"}),
        ({"Enabled": False}, {"enabled": False}),
        ({"DNSRoutingEnabled": False, "SmartHosts": ["mx.bank.example", "[192.0.2.77]"]},
         {"smart_hosts": ["mx.bank.example", "[192.0.2.77]"], "smart_host_order": "shuffled", "use_mx_record": False}),
        ({"DNSRoutingEnabled": False, "SmartHosts": [], "SmartHostsString": "mx.bank.example", "Port": 587},
         {"smart_hosts": ["mx.bank.example:587"]}),
        ({"CloudServicesMailEnabled": True}, {"connector_type": "on-premises", "cloud_services_mail_enabled": True}),
        ({"DNSRoutingEnabled": False, "SmartHosts": ["mx.bank.example"], "SmartHostAuthMechanism": "BasicAuth"},
         {"tls_settings": "domain-validation"}),
        ({"RequireTLS": True, "TlsAuthLevel": "DomainValidation"},
         {"tls_settings": "domain-validation", "recipient_domains": ["bank.example"]}),
        ({"DNSRoutingEnabled": False, "SmartHosts": ["mx.bank.example"], "RequireTLS": True, "TlsDomain":
          "mail.bank.example", "TlsAuthLevel": "DomainValidation", "SmartHostAuthMechanism": "BasicAuthRequireTLS"},
         {"tls_settings": "domain-validation", "tls_domain": "mail.bank.example"}),
        ({"AddressSpaces": [{"Address": "*.bank.example", "Cost": 1, "Type": "SMTP"}]},
         {"recipient_domains": ["*.bank.example"]}),
    ],
)  # fmt: skip
def test_a_send_connector_demands_what_it_demanded(changes, fields):
    (connector,) = tables(imported(SEND | changes), "outbound_connector")
    assert connector | fields == connector
    assert connector["connector_type"] == fields.get("connector_type", "partner")


def test_a_plain_send_connector_is_carried_over_without_a_word():
    found = imported(SEND)
    assert (told(found, ImportResult.DIFFERS), told(found, ImportResult.LOST)) == (set(), set())


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"AddressSpaces": ["SMTP:*;1"], "DomainSecureEnabled": True}, "DomainSecureEnabled"),
        ({"DNSRoutingEnabled": False, "SmartHosts": ["a.example"], "SmartHostAuthMechanism": "BasicAuth"},
         "AuthenticationCredential"),
        ({"TlsCertificateName": "<I>CN=x<S>CN=y"}, "TlsCertificateName"),
        ({"SourceIPAddress": "192.0.2.5"}, "SourceIPAddress"),
        ({"ErrorPolicies": "DowngradeDnsFailures"}, "ErrorPolicies"),
        ({"Port": 2525}, "Port"),
        ({"SmartHostAuthMechanism": "ExchangeServer"}, "SmartHostAuthMechanism"),
        ({"Weather": "fine"}, "Weather"),
    ],
)  # fmt: skip
def test_what_a_send_connector_loses_is_told(changes, setting):
    assert told(imported(SEND | changes), ImportResult.LOST) == {setting}


@pytest.mark.parametrize(
    ("changes", "setting", "said", "left"),
    [
        ({"SmartHosts": ["mx.bank.example"]}, "SmartHosts", '["mx.bank.example"]: left out', "smart_hosts"),
        ({"RequireTLS": True, "TlsAuthLevel": "CertificateValidation", "TlsDomain": "mx.bank.example"}, "TlsDomain",
         '"mx.bank.example": left out', "tls_domain"),
        ({"IgnoreSTARTTLS": True}, "IgnoreSTARTTLS", "wherever it is offered", ""),
        ({"Fqdn": "mail.contoso.example"}, "Fqdn", '"mail.contoso.example": the gateway says its own', "hello_name"),
        ({"IsScopedConnector": True}, "IsScopedConnector", "all mail for these domains", ""),
        ({"UseExternalDNSServersEnabled": True}, "UseExternalDNSServersEnabled", "[dns]", ""),
    ],
)  # fmt: skip
def test_what_a_send_connector_does_differently_is_told(changes, setting, said, left):
    found = imported(SEND | changes)
    (connector,) = tables(found, "outbound_connector")
    assert left not in connector
    (differs,) = [finding for finding in found.findings if finding.outcome is ImportResult.DIFFERS]
    assert (differs.setting, said in differs.detail) == (setting, True)
    assert told(found, ImportResult.LOST) == set()


def test_a_level_that_was_demanded_already_is_not_told_as_a_change_for_the_password():
    mechanism = {"DNSRoutingEnabled": False, "SmartHosts": ["mx.bank.example"], "SmartHostAuthMechanism": "BasicAuth"}
    validated = {"RequireTLS": True, "TlsAuthLevel": "DomainValidation"}
    assert told(imported(SEND | mechanism), ImportResult.DIFFERS) == {"SmartHostAuthMechanism"}
    assert told(imported(SEND | mechanism | validated), ImportResult.DIFFERS) == {"TlsAuthLevel"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"RequireTLS": "perhaps"}, "true or false"),
        ({"TlsAuthLevel": 2}, "-EnumsAsStrings"),
        ({"DNSRoutingEnabled": False}, "SmartHosts is not in the file"),
        ({"AddressSpaces": []}, "recipient_domains"),
    ],
)
def test_a_send_connector_that_cannot_be_read_is_left_out(changes, why):
    found = imported(SEND | changes)
    assert tables(found, "outbound_connector") == []
    assert why in found.left_out[0][1]


def test_a_send_connector_without_its_demand_is_left_out():
    found = imported({key: value for key, value in SEND.items() if key != "RequireTLS"})
    assert "RequireTLS is not in the file" in found.left_out[0][1]


def test_a_receive_connector_without_its_demand_is_left_out():
    found = imported({key: value for key, value in RECEIVE.items() if key != "RequireTLS"})
    assert tables(found, "inbound_connector") == []
    assert "RequireTLS is not in the file" in found.left_out[0][1]


def test_clients_that_cannot_be_read_are_not_taken_for_everybody():
    found = imported(RECEIVE | {"RemoteIPRanges": ["192.0.2.77", "the bank"]})
    assert tables(found, "inbound_connector") == []
    ((kind, why, table),) = found.left_out
    assert (kind, "sender_ip_addresses" in why) == ("inbound_connector", True)
    assert table["sender_ip_addresses"] == ["192.0.2.77", "the bank"]


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({}, {"connector_type": "partner", "sender_domains": ["*"], "sender_ip_addresses": ["192.0.2.77"],
              "require_tls": True}),
        ({"RequireTLS": False, "AuthMechanism": "Tls, ExternalAuthoritative", "PermissionGroups": "ExchangeServers"},
         {"connector_type": "on-premises", "treat_messages_as_internal": True, "require_tls": False}),
        ({"RemoteIPRanges": ["10.1.4.1-10.1.4.3", {"Expression": "10.1.5.0/24"}]},
         {"sender_ip_addresses": ["10.1.4.1/32", "10.1.4.2/31", "10.1.5.0/24"]}),
        ({"RemoteIPRanges": ["2001:db8::-2001:db8::ff"]}, {"sender_ip_addresses": ["2001:db8::/120"]}),
    ],
)  # fmt: skip
def test_a_receive_connector_for_some_clients_demands_what_it_demanded(changes, fields):
    (connector,) = tables(imported(RECEIVE | changes), "inbound_connector")
    assert connector | fields == connector


@pytest.mark.parametrize(
    "changes",
    [
        {"RemoteIPRanges": EVERYBODY, "RequireTLS": False},
        {"RemoteIPRanges": ["0.0.0.0-255.255.255.255"], "RequireTLS": False},
        {"PermissionGroups": "ExchangeUsers, ExchangeServers", "RequireTLS": False},
    ],
)
def test_a_listener_is_no_connector_and_nothing_is_lost(changes):
    found = imported(RECEIVE | changes)
    assert tables(found, "inbound_connector") == []
    assert (told(found, ImportResult.DIFFERS), told(found, ImportResult.LOST)) == ({"Bindings"}, set())


def test_whether_clients_may_relay_is_not_guessed():
    """The right is in Active Directory; the connector stands as a comment, ready to be written."""
    found = imported(RECEIVE | {"RequireTLS": False, "RemoteIPRanges": ["10.1.2.3"]})
    assert tables(found, "inbound_connector") == []
    ((kind, why, table),) = found.left_out
    assert (kind, "Accept-Any-Recipient" in why) == ("inbound_connector", True)
    assert table == {
        "name": "From the bank", "sender_ip_addresses": ["10.1.2.3"], "require_tls": False,
        "connector_type": "on-premises",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("capability", "said"),
    [
        ("mail.protection.outlook.com:AcceptCloudServicesMail", "every tenant"),
        ("mx.own.example:AcceptCloudServicesMail", 'tls_sender_certificate_name = "mx.own.example"'),
    ],
)
def test_who_is_believed_by_certificate_is_told(capability, said):
    found = imported(
        RECEIVE | {"RemoteIPRanges": EVERYBODY, "RequireTLS": False, "TlsDomainCapabilities": [capability]}
    )
    (lost,) = [finding for finding in found.findings if finding.outcome is ImportResult.LOST]
    assert (lost.setting, said in lost.detail) == ("TlsDomainCapabilities", True)
    assert tables(found, "inbound_connector") == []


@pytest.mark.parametrize("capability", ["mail.protection.outlook.com:None", "mx.own.example:", "mx.own.example"])
def test_a_certificate_that_gives_no_right_needs_no_word(capability):
    assert told(imported(RECEIVE | {"TlsDomainCapabilities": [capability]}), ImportResult.LOST) == set()


def test_tls_of_everybody_is_lost_with_a_word():
    found = imported(RECEIVE | {"RemoteIPRanges": EVERYBODY})
    assert told(found, ImportResult.LOST) == {"RequireTLS"}
