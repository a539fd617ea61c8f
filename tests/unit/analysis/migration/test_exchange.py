from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.analysis.migration.exchange import convert
from gatepost.analysis.migration.exchange_json import ExchangeObject, read_objects
from gatepost.analysis.migration.exchange_properties import DOMAIN, INBOUND, METADATA, OUTBOUND
from gatepost.analysis.migration.report import Imported, ImportRefused, ImportResult
from gatepost.policy.connectors.model import parse

# Full objects, as ConvertTo-Json -Depth 5 prints them over ExchangeOnlineManagement.
INBOUND_HYBRID = """
{
  "Enabled": true,
  "ConnectorType": "OnPremises",
  "ConnectorSource": "HybridWizard",
  "Comment": null,
  "SenderIPAddresses": [],
  "SenderDomains": ["smtp:*;1"],
  "TrustedOrganizations": [],
  "ClientHostNames": [],
  "AssociatedAcceptedDomains": [],
  "RequireTls": true,
  "RestrictDomainsToIPAddresses": false,
  "RestrictDomainsToCertificate": false,
  "CloudServicesMailEnabled": true,
  "TreatMessagesAsInternal": false,
  "TlsSenderCertificateName": "*.contoso.com",
  "EFTestMode": false,
  "ScanAndDropRecipients": [],
  "EFSkipLastIP": false,
  "EFSkipIPs": [],
  "EFSkipMailGateway": [],
  "EFUsers": [],
  "AdminDisplayName": "",
  "ExchangeVersion": "0.1 (8.0.535.0)",
  "Name": "Inbound from 5e6f",
  "DistinguishedName": "CN=Inbound from 5e6f,CN=Transport Settings,DC=contoso",
  "Identity": "Inbound from 5e6f",
  "ObjectCategory": "Configuration/Schema/ms-Exch-SMTP-Receive-Connector",
  "ObjectClass": ["top", "msExchSMTPReceiveConnector"],
  "WhenChanged": "2026-07-23T22:55:13+00:00",
  "WhenCreated": "\\/Date(1784847304000)\\/",
  "WhenChangedUTC": "2026-07-23T22:55:13.0000000Z",
  "WhenCreatedUTC": {"value": "\\/Date(1784847304000)\\/", "DateTime": "Thursday, July 23, 2026"},
  "Guid": "ac4d5ab0-6637-4e91-8d47-f5c2e95c71d9",
  "OrganizationId": "EUR.contoso - contoso",
  "Id": "Inbound from 5e6f",
  "OriginatingServer": "server",
  "IsValid": true,
  "ObjectState": "Unchanged"
}
"""
OUTBOUND_HYBRID = """
{
  "Enabled": true,
  "UseMXRecord": false,
  "Comment": "",
  "ConnectorType": "OnPremises",
  "ConnectorSource": "HybridWizard",
  "RecipientDomains": ["contoso.com"],
  "SmartHosts": ["mail.contoso.com"],
  "TlsDomain": "mail.contoso.com",
  "TlsSettings": "DomainValidation",
  "IsTransportRuleScoped": false,
  "RouteAllMessagesViaOnPremises": false,
  "CloudServicesMailEnabled": true,
  "AllAcceptedDomains": false,
  "SenderRewritingEnabled": false,
  "MtaStsMode": "Opportunistic",
  "SmtpDaneMode": "Opportunistic",
  "TestMode": false,
  "ValidationRecipients": ["admin@contoso.com"],
  "IsValidated": true,
  "LastValidationTimestamp": "2026-07-24T18:59:12.0000000",
  "LinkForModifiedConnector": "00000000-0000-0000-0000-000000000000",
  "AdminDisplayName": "",
  "Name": "Outbound to 5e6f",
  "Identity": "Outbound to 5e6f",
  "WhenChangedUTC": "2026-07-24T19:01:54.0000000Z",
  "WhenCreatedUTC": "2026-07-24T18:58:31.0000000Z",
  "Guid": "d0d71cb9-6105-410f-8193-3640e12852a5",
  "IsValid": true
}
"""
ACCEPTED = """
{
  "DomainName": "contoso.com",
  "CatchAllRecipientID": null,
  "DomainType": "Authoritative",
  "MatchSubDomains": false,
  "AddressBookEnabled": true,
  "Default": true,
  "EmailOnly": false,
  "ExternallyManaged": false,
  "AuthenticationType": "Managed",
  "LiveIdInstanceType": "Business",
  "PendingRemoval": false,
  "PendingCompletion": false,
  "FederatedOrganizationLink": null,
  "MailFlowPartner": null,
  "OutboundOnly": false,
  "IsCoexistenceDomain": false,
  "PerimeterDuplicateDetected": false,
  "IsDefaultFederatedDomain": false,
  "EnableNego2Authentication": false,
  "InitialDomain": false,
  "SendingFromDomainDisabled": false,
  "SendingToDomainDisabled": false,
  "Name": "Contoso main",
  "Identity": "Contoso main",
  "IsValid": true
}
"""
HYBRID = [json.loads(one) for one in (INBOUND_HYBRID, OUTBOUND_HYBRID, ACCEPTED)]
PARTNER_IN = HYBRID[0] | {
    "Name": "bank in",
    "ConnectorType": "Partner",
    "ConnectorSource": "AdminUI",
    "SenderDomains": ["smtp:bank.example;1", "smtp:*.bank.example;1"],
    "TlsSenderCertificateName": None,
    "CloudServicesMailEnabled": False,
}
PARTNER_OUT = HYBRID[1] | {
    "Name": "bank out",
    "ConnectorType": "Partner",
    "ConnectorSource": "Default",
    "RecipientDomains": ["bank.example"],
    "UseMXRecord": True,
    "SmartHosts": [],
    "TlsSettings": None,
    "TlsDomain": None,
    "CloudServicesMailEnabled": False,
}
OTHER_DOMAIN = HYBRID[2] | {"DomainName": "fabrikam.com", "Name": "fabrikam.com", "Default": False}


def imported(*objects: object, organization: str = "") -> Imported:
    result = convert(read_objects(json.dumps(list(objects)).encode(), "f.json"), organization)
    parse(result.document)
    return result


def only(result: Imported, kind: str) -> dict[str, object]:
    ((_, own),) = result.document["organization"].items()
    (table,) = own[kind]
    return table


def told(result: Imported, outcome: ImportResult) -> dict[str, str]:
    return {one.setting: one.detail for one in result.findings if one.outcome is outcome}


def test_a_hybrid_organization():
    result = imported(*HYBRID)
    assert result.organization == "contoso"
    assert result.document["organization"]["contoso"] == {
        "accepted_domain": [{"name": "contoso.com", "type": "authoritative"}],
        "inbound_connector": [
            {
                "name": "Inbound from 5e6f",
                "connector_type": "on-premises",
                "tls_sender_certificate_name": "*.contoso.com",
                "match_common_name": True,
                "require_tls": True,
                "cloud_services_mail_enabled": True,
            }
        ],
        "outbound_connector": [
            {
                "name": "Outbound to 5e6f",
                "connector_type": "on-premises",
                "recipient_domains": ["contoso.com"],
                "smart_hosts": ["mail.contoso.com"],
                "use_mx_record": False,
                "tls_settings": "domain-validation",
                "tls_domain": "mail.contoso.com",
                "cloud_services_mail_enabled": True,
            }
        ],
    }
    assert set(told(result, ImportResult.DIFFERS)) == {
        "TlsSenderCertificateName",
        "CloudServicesMailEnabled",
        "ConnectorSource",
        "SmartHosts",
        "TlsSettings",
        "mailboxes",
    }
    assert told(result, ImportResult.LOST) == {}
    assert "client_certificate" in told(result, ImportResult.DIFFERS)["CloudServicesMailEnabled"]


def test_every_property_of_the_fixtures_is_known():
    for table, names in zip(HYBRID, (INBOUND, OUTBOUND, DOMAIN), strict=True):
        unread = {key.lower() for key, value in table.items() if value not in (None, False, [], "")}
        assert unread <= names | METADATA


def test_partners():
    result = imported(PARTNER_IN, PARTNER_OUT, OTHER_DOMAIN | {"DomainType": "InternalRelay"})
    assert only(result, "inbound_connector") == {
        "name": "bank in",
        "connector_type": "partner",
        "sender_domains": ["bank.example", "*.bank.example"],
        "require_tls": True,
        "restrict_domains_to_certificate": False,
        "restrict_domains_to_ip_addresses": False,
    }
    assert only(result, "outbound_connector") == {
        "name": "bank out",
        "connector_type": "partner",
        "recipient_domains": ["bank.example"],
        "use_mx_record": True,
        "tls_settings": "opportunistic",
    }
    assert {str(one.outcome) for one in result.findings} == {"carried over"}


# (changes to a connector, fields that it gets)
INBOUND_FIELDS = [
    (PARTNER_IN, {"Enabled": False}, {"enabled": False}),
    (PARTNER_IN, {"Comment": "two\r\nlines"}, {"comment": "two lines"}),
    (PARTNER_IN, {"Comment": "x" * 1200}, {"comment": "x" * 1000}),
    (PARTNER_IN, {"SenderDomains": "smtp:a.example;1 smtp:b.example"}, {"sender_domains": ["a.example", "b.example"]}),
    (PARTNER_IN, {"SenderDomains": ["a.example", "SMTP:a.example;1"]}, {"sender_domains": ["a.example"]}),
    (PARTNER_IN, {"SenderIPAddresses": ["192.0.2.1/25"], "RestrictDomainsToIPAddresses": True},
     {"sender_ip_addresses": ["192.0.2.1/25"], "restrict_domains_to_ip_addresses": True}),
    (PARTNER_IN, {"TlsSenderCertificateName": "mail.bank.example", "RestrictDomainsToCertificate": True},
     {"tls_sender_certificate_name": "mail.bank.example", "restrict_domains_to_certificate": True}),
    (PARTNER_IN,
     {"TlsSenderCertificateName": "x.example", "RestrictDomainsToCertificate": True, "RequireTls": False},
     {"require_tls": True}),
    (PARTNER_IN, {"RequireTls": False}, {"require_tls": False}),
    (PARTNER_IN, {"ConnectorType": 2}, {"connector_type": "partner"}),
    (PARTNER_IN, {"ConnectorType": {"value": 2, "Value": "Partner"}}, {"connector_type": "partner"}),
    (PARTNER_IN, {"AssociatedAcceptedDomains": ["Contoso main"]}, {"associated_accepted_domains": ["contoso.com"]}),
    (PARTNER_IN, {"AssociatedAcceptedDomains": "Contoso main"}, {"associated_accepted_domains": ["contoso.com"]}),
    (PARTNER_IN, {"AssociatedAcceptedDomains": "contoso.com fabrikam.com"},
     {"associated_accepted_domains": ["contoso.com", "fabrikam.com"]}),
    (PARTNER_IN, {"EFSkipIPs": ["192.0.2.9", "198.51.100.0/24"], "SenderIPAddresses": ["192.0.2.1"]},
     {"ef_skip_ips": ["192.0.2.9", "198.51.100.0/24"]}),
    (PARTNER_IN, {"EFSkipIPs": ["192.0.2.1-192.0.2.6", "192.0.2.9 - 192.0.2.9"], "SenderIPAddresses": ["192.0.2.1"]},
     {"ef_skip_ips": ["192.0.2.1/32", "192.0.2.2/31", "192.0.2.4/31", "192.0.2.6/32", "192.0.2.9/32"]}),
    (PARTNER_IN, {"EFSkipLastIP": True, "EFSkipIPs": ["192.0.2.9"], "SenderIPAddresses": ["192.0.2.1"]},
     {"ef_skip_last_ip": True, "ef_skip_ips": None}),
    (HYBRID[0], {"ConnectorType": 1, "ConnectorSource": "AdminUI"}, {"connector_type": "on-premises"}),
    (HYBRID[0], {"TreatMessagesAsInternal": True, "CloudServicesMailEnabled": False},
     {"treat_messages_as_internal": True}),
    (HYBRID[0], {"SenderIPAddresses": ["192.0.2.7"], "RequireTls": False},
     {"sender_ip_addresses": ["192.0.2.7"], "require_tls": False}),
]  # fmt: skip


@pytest.mark.parametrize(("base", "changes", "fields"), INBOUND_FIELDS)
def test_fields_of_inbound_connectors(base, changes, fields):
    table = only(imported(base | changes, HYBRID[2], OTHER_DOMAIN), "inbound_connector")
    assert {key: table.get(key) for key in fields} == fields


OUTBOUND_FIELDS = [
    ({"TlsSettings": "EncryptionOnly"}, {"tls_settings": "encryption-only"}),
    ({"TlsSettings": 1}, {"tls_settings": "encryption-only"}),
    ({"TlsSettings": 2}, {"tls_settings": "certificate-validation"}),
    ({"TlsSettings": "CertificateValidation", "TlsDomain": "x.example"},
     {"tls_settings": "certificate-validation", "tls_domain": None}),
    ({"TlsSettings": "DomainValidation"}, {"tls_settings": "domain-validation", "tls_domain": None}),
    ({"SmartHosts": ["a.example"]}, {"smart_hosts": None, "use_mx_record": True}),
    ({"SmartHosts": ["[192.0.2.1]", "192.0.2.2/32", "192.0.2.3/25"], "UseMXRecord": False},
     {"smart_hosts": ["[192.0.2.1]", "192.0.2.2"], "smart_host_order": "shuffled", "use_mx_record": False}),
    ({"SmtpDaneMode": "None"}, {"smtp_dane_mode": "none"}),
    ({"MtaStsMode": "None"}, {"mta_sts_mode": "none"}),
    ({"TestMode": True}, {"enabled": False}),
    ({"IsTransportRuleScoped": True}, {"is_transport_rule_scoped": True}),
    ({"ConnectorType": "OnPremises", "SenderRewritingEnabled": True}, {"sender_rewriting_enabled": True}),
    ({"ConnectorType": "OnPremises", "AllAcceptedDomains": True, "RouteAllMessagesViaOnPremises": True},
     {"all_accepted_domains": True, "route_all_messages_via_on_premises": True}),
]  # fmt: skip


def test_a_connector_for_an_accepted_domain_with_subdomains_holds_for_them_too():
    domain = json.loads(ACCEPTED) | {"Name": "Contoso main", "DomainType": "InternalRelay", "MatchSubDomains": True}
    for name in ("Contoso main", "contoso.com", "*.contoso.com"):
        limited = PARTNER_IN | {"AssociatedAcceptedDomains": [name]}
        table = only(imported(limited, domain), "inbound_connector")
        assert table["associated_accepted_domains"] == ["*.contoso.com"]


@pytest.mark.parametrize(("changes", "fields"), OUTBOUND_FIELDS)
def test_fields_of_outbound_connectors(changes, fields):
    table = only(imported(PARTNER_OUT | changes), "outbound_connector")
    assert {key: table.get(key) for key in fields} == fields


def test_a_demand_for_dane_is_never_weakened():
    for level in (None, "EncryptionOnly", "CertificateValidation"):
        result = imported(PARTNER_OUT | {"SmtpDaneMode": "Mandatory", "TlsSettings": level})
        table = only(result, "outbound_connector")
        assert table["smtp_dane_mode"] == "mandatory"


def test_a_demand_for_dane_of_an_address_becomes_one_that_can_be_met():
    by_address = {"SmtpDaneMode": "Mandatory", "UseMXRecord": False, "SmartHosts": ["192.0.2.1"]}
    table = only(imported(PARTNER_OUT | by_address), "outbound_connector")
    assert "smtp_dane_mode" not in table
    assert table["tls_settings"] == "domain-validation"


DOMAINS = [
    ({"DomainType": "InternalRelay"}, {"name": "contoso.com", "type": "internal-relay"}, ""),
    ({"DomainType": "InternalRelay", "MatchSubDomains": True}, {"name": "*.contoso.com", "type": "internal-relay"}, ""),
    ({"DomainType": "ExternalRelay"}, {"name": "contoso.com", "type": "internal-relay"}, "DomainType"),
    ({"DomainType": 2}, {"name": "contoso.com", "type": "internal-relay"}, "DomainType"),
    ({"DomainName": {"Domain": "contoso.com", "IncludeSubDomains": False, "Address": "contoso.com"}},
     {"name": "contoso.com", "type": "authoritative"}, "mailboxes"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "table", "differs"), DOMAINS)
def test_accepted_domains(changes, table, differs):
    result = imported(HYBRID[2] | changes)
    assert only(result, "accepted_domain") == table
    assert list(told(result, ImportResult.DIFFERS)) == ([differs] if differs else [])


IN_DIFFERS = [
    (PARTNER_IN, {"SenderDomains": ["smtp:a.example;5"]}, "SenderDomains", "the cost has no effect"),
    (PARTNER_IN, {"Comment": "x" * 1200}, "Comment", "1000"),
    (PARTNER_IN, {"ConnectorType": 2}, "ConnectorType", "read as partner"),
    (PARTNER_IN, {"TlsSenderCertificateName": "x.example"}, "TlsSenderCertificateName", "match_common_name"),
    (PARTNER_IN,
     {"TlsSenderCertificateName": "x.example", "RestrictDomainsToCertificate": True, "RequireTls": False},
     "RequireTls", "written as true"),
    (PARTNER_IN,
     {"TlsSenderCertificateName": "x.example", "RestrictDomainsToCertificate": True,
      "SenderIPAddresses": ["192.0.2.1"], "RestrictDomainsToIPAddresses": True},
     "RestrictDomainsToIPAddresses", "both"),
    (HYBRID[0], {"SenderIPAddresses": ["192.0.2.1"]}, "RequireTls", "is refused"),
    (HYBRID[0], {"SenderIPAddresses": ["192.0.2.1"]}, "SenderIPAddresses", "either"),
    (HYBRID[0], {"RestrictDomainsToCertificate": True}, "RestrictDomainsToCertificate", "no effect"),
    (HYBRID[0], {"RestrictDomainsToIPAddresses": True}, "RestrictDomainsToIPAddresses", "no effect"),
    (HYBRID[0], {"SenderIPAddresses": ["192.0.2.1"], "TlsSenderCertificateName": ""},
     "CloudServicesMailEnabled", "by certificate"),
    (HYBRID[0], {}, "ConnectorSource", "hybrid"),
    (HYBRID[0] | {"Name": "x" * 70}, {}, "Name", "too long"),
]  # fmt: skip
OUT_DIFFERS = [
    (PARTNER_OUT, {"TlsSettings": 1}, "TlsSettings", "read as encryption-only"),
    (PARTNER_OUT, {"TlsSettings": "DomainValidation"}, "TlsDomain", "it is empty"),
    (PARTNER_OUT, {"TlsSettings": "DomainValidation"}, "TlsSettings", "subjectAltName"),
    (PARTNER_OUT, {"TlsDomain": "x.example"}, "TlsDomain", "left out"),
    (PARTNER_OUT, {"SmartHosts": ["a.example"]}, "SmartHosts", "left out"),
    (HYBRID[1], {}, "SmartHosts", "MX of a smart host"),
    (HYBRID[1], {}, "ConnectorSource", "hybrid"),
]


@pytest.mark.parametrize(("base", "changes", "setting", "words"), [*IN_DIFFERS, *OUT_DIFFERS])
def test_differences_are_told(base, changes, setting, words):
    assert words in told(imported(base | changes), ImportResult.DIFFERS)[setting]


LOST = [
    (PARTNER_IN, {"TrustedOrganizations": ["fabrikam"]}, "TrustedOrganizations", "certificate"),
    (PARTNER_IN, {"EFSkipLastIP": True}, "EFSkipLastIP", "does not say who the filter is"),
    (HYBRID[0], {"EFSkipIPs": ["192.0.2.9"]}, "EFSkipIPs", "no hops are skipped"),
    (PARTNER_IN, {"EFSkipIPs": ["192.0.2.9-192.0.2.1"], "SenderIPAddresses": ["192.0.2.1"]}, "EFSkipIPs",
     "as networks"),
    (PARTNER_IN, {"EFSkipIPs": ["192.0.2.1-", "192.0.2.7"], "SenderIPAddresses": ["192.0.2.1"]}, "EFSkipIPs",
     "192.0.2.1-"),
    (PARTNER_IN, {"EFUsers": ["a@contoso.com"]}, "EFUsers", "associated_accepted_domains"),
    (PARTNER_IN, {"ScanAndDropRecipients": ["a@contoso.com"]}, "ScanAndDropRecipients", "reserved"),
    (PARTNER_IN, {"ClientHostNames": ["x"]}, "ClientHostNames", "undocumented"),
    (PARTNER_IN, {"Novelty": "on"}, "Novelty", "not known to this import"),
    (PARTNER_IN, {"CloudServicesMailEnabled": True}, "CloudServicesMailEnabled", "partner"),
    (PARTNER_IN, {"TreatMessagesAsInternal": True}, "TreatMessagesAsInternal", "never internal"),
    (PARTNER_IN, {"TlsSenderCertificateName": "x.example", "RequireTls": False}, "TlsSenderCertificateName", "demand"),
    (HYBRID[0], {"SenderDomains": ["smtp:a.example;1"]}, "SenderDomains", "every domain"),
    (PARTNER_OUT, {"SenderRewritingEnabled": True}, "SenderRewritingEnabled", "OnPremises connectors only"),
    (PARTNER_OUT, {"CloudServicesMailEnabled": True}, "CloudServicesMailEnabled", "OnPremises connectors only"),
    (PARTNER_OUT, {"TestMode": True}, "TestMode", "rehearse"),
    (PARTNER_OUT, {"SmartHosts": ["192.0.2.0/25"]}, "SmartHosts", "network"),
    (HYBRID[2], {"CatchAllRecipientID": "admin"}, "CatchAllRecipientID", "catch-all"),
    (HYBRID[2], {"OutboundOnly": True}, "OutboundOnly", "both directions"),
    (HYBRID[2], {"SendingFromDomainDisabled": True}, "SendingFromDomainDisabled", "held back"),
]  # fmt: skip


@pytest.mark.parametrize(("base", "changes", "setting", "words"), LOST)
def test_losses_are_told_with_what_to_do(base, changes, setting, words):
    assert words in told(imported(base | changes), ImportResult.LOST)[setting]


LEFT_OUT = [
    (PARTNER_IN, {"ConnectorType": None}, "ConnectorType is not in the file"),
    (PARTNER_IN, {"ConnectorType": 7}, "-EnumsAsStrings"),
    (PARTNER_IN, {"ConnectorType": "Other"}, "only OnPremises, Partner are known"),
    (PARTNER_IN, {"SenderDomains": "System.Object[]"}, "-Depth 5"),
    (PARTNER_IN, {"SenderDomains": ["smtp:a.example;1;2"]}, "smtp:*.b.example;1"),
    (PARTNER_IN, {"SenderDomains": []}, "sender_domains"),
    (PARTNER_IN, {"SenderIPAddresses": ["192.0.0.0/16"]}, "wider than /24"),
    (PARTNER_IN, {"TlsSenderCertificateName": "<I>CN=x<S>O=y"}, "no CN that names a server"),
    (PARTNER_IN, {"RequireTls": "perhaps"}, "true or false"),
    (PARTNER_IN, {"AssociatedAcceptedDomains": ["gone.example"]}, "associated_accepted_domains"),
    (PARTNER_OUT, {"SmtpDaneMode": 1}, "-EnumsAsStrings"),
    (PARTNER_OUT, {"SmartHosts": ["192.0.2.0/25"], "UseMXRecord": False}, "smart_hosts"),
    (PARTNER_OUT, {"RouteAllMessagesViaOnPremises": True}, "on-premises"),
    (HYBRID[2], {"DomainType": None}, "DomainType is not in the file"),
    (HYBRID[2], {"DomainName": "*"}, "name"),
    (HYBRID[2], {"DomainType": [1]}, "DomainType is [1]"),
]


@pytest.mark.parametrize(("base", "changes", "words"), LEFT_OUT)
def test_what_cannot_be_carried_over_is_left_out_whole(base, changes, words):
    result = imported(base | changes, HYBRID[1] | {"Name": "another"})
    assert len(result.left_out) == 1
    assert words in told(result, ImportResult.LOST)[""]


def test_tlssettings_that_were_not_printed_are_not_taken_for_none():
    table = {key: value for key, value in PARTNER_OUT.items() if key != "TlsSettings"}
    assert "unencrypted" in told(imported(table, HYBRID[1]), ImportResult.LOST)[""]


def test_requiretls_that_was_not_printed_is_taken_for_true():
    table = {key: value for key, value in PARTNER_IN.items() if key != "RequireTls"}
    result = imported(table)
    assert only(result, "inbound_connector")["require_tls"] is True
    assert "RequireTls" in told(result, ImportResult.DIFFERS)


def test_the_organization():
    result = imported(
        {
            "MessageExpiration": "0.12:00:00",
            "JournalingReportNdrTo": "SMTP:ndr@a.example",
            "TLSSendDomainSecureList": ["a.example"],
            "MaxSendSize": "36 MB",
        },
        {"RejectDirectSend": True, "DisplayName": "Contoso", "Name": "contoso.onmicrosoft.com"},
        organization="own",
    )
    assert result.document == {
        "organization": {
            "own": {
                "message_expiration": "12h",
                "reject_direct_send": True,
                "display_name": "Contoso",
            }
        }
    }
    # Without a journal rule there is nothing that could fail.
    assert list(told(result, ImportResult.LOST)) == ["TLSSendDomainSecureList", "journal_failures_to"]
    quiet = imported({"RejectDirectSend": False}, {"TLSSendDomainSecureList": []}, organization="own")
    assert quiet.document == {"organization": {"own": {}}}


ORGANIZATIONS = [
    ([HYBRID[2], OTHER_DOMAIN | {"DomainName": "corp.onmicrosoft.com", "InitialDomain": True}], "corp"),
    ([OTHER_DOMAIN, HYBRID[2]], "contoso"),
    ([OTHER_DOMAIN], "fabrikam"),
    ([OTHER_DOMAIN | {"DomainName": 7, "Default": True}, PARTNER_OUT], "fabrikam"),
    ([PARTNER_OUT], "imported"),
]


@pytest.mark.parametrize(("objects", "name"), ORGANIZATIONS)
def test_the_name_of_the_organization(objects, name):
    assert imported(*objects).organization == name


def test_names_become_unique_and_rules_follow():
    rule = {
        "Name": "by gateway",
        "State": "Enabled",
        "Mode": "Enforce",
        "Priority": 0,
        "RouteMessageOutboundConnector": "bank out " + "x" * 70,
        "RouteMessageOutboundRequireTls": False,
        "RecipientDomainIs": ["bank.example"],
        "ApplyHtmlDisclaimerText": "hello",
    }
    long = PARTNER_OUT | {"Name": "bank out " + "x" * 70, "IsTransportRuleScoped": True, "RecipientDomains": []}
    result = imported(PARTNER_OUT | {"Name": "bank out " + "x" * 80}, long, rule)
    names = [one["name"] for one in result.document["organization"]["imported"]["outbound_connector"]]
    assert [len(name) for name in names] == [64, 64]
    assert only(result, "mail_flow_rule")["route_via_connector"] == names[1]
    assert "ApplyHtmlDisclaimerText" in told(result, ImportResult.LOST)


def test_what_was_printed_twice_counts_once():
    assert (
        len(imported(PARTNER_OUT, HYBRID[1], PARTNER_OUT).document["organization"]["imported"]["outbound_connector"])
        == 2
    )


def test_objects_of_other_kinds_are_told():
    remote = {"Name": "Default", "DomainName": "*", "AllowedOOFType": "External"}
    result = imported(PARTNER_OUT, remote, {"Weather": "fine"}, 7)
    details = [one.detail for one in result.findings if one.outcome is ImportResult.LOST]
    assert "remote domains" in details[0]
    assert "Get-InboundConnector" in details[1]
    assert len(details) == 3


WIZARD = "<I>CN=DigiCert TLS RSA SHA256 2020 CA1, O=DigiCert Inc, C=US<S>CN=*.contoso.com, O=Contoso AG, C=DE"


def test_the_name_in_the_certificate_that_the_hybrid_wizard_wrote_is_taken_and_nobody_relays_by_it_yet():
    result = imported(HYBRID[0] | {"TlsSenderCertificateName": WIZARD}, HYBRID[2])
    (connector,) = result.document["organization"][result.organization]["inbound_connector"]
    assert (connector["tls_sender_certificate_name"], connector["enabled"]) == ("*.contoso.com", False)
    (lost,) = [one for one in result.findings if one.outcome is ImportResult.LOST]
    assert "trust_anchors" in lost.detail


def test_a_partner_by_issuer_and_subject_still_has_to_show_the_name():
    name = {"TlsSenderCertificateName": "<I>CN=x<S>CN=mail.bank.example", "RestrictDomainsToCertificate": True}
    (connector,) = imported(PARTNER_IN | name).document["organization"]["imported"]["inbound_connector"]
    assert connector["tls_sender_certificate_name"] == "mail.bank.example"
    assert (connector["restrict_domains_to_certificate"], connector.get("enabled", True)) == (True, True)


@pytest.mark.parametrize("objects", [[], [{"Weather": "fine"}], [{"DomainName": "*", "AllowedOOFType": "None"}]])
def test_a_file_with_nothing_to_read_is_refused(objects):
    with pytest.raises(ImportRefused, match="Get-InboundConnector"):
        imported(*objects)


def test_a_bad_name_is_refused():
    with pytest.raises(ImportRefused, match="--organization"):
        imported(PARTNER_OUT, organization="Not Good")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 4)
    | st.sampled_from(
        ["*", "a.example", "smtp:*.a.example;1", "Partner", "OnPremises", "DomainValidation", "192.0.2.1"]
    )
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["value", "Value", "Name"]), inner),
    max_leaves=6,
)
NAMES = sorted({*HYBRID[0], *HYBRID[1], *HYBRID[2], "RouteMessageOutboundConnector", "MessageExpiration", "State"})


@given(
    st.lists(
        st.tuples(
            st.sampled_from([{}, *HYBRID, PARTNER_IN, PARTNER_OUT]), st.dictionaries(st.sampled_from(NAMES), VALUES)
        ),
        max_size=3,
    )
)
def test_whatever_is_read_the_document_can_be_applied(changed):
    objects = [base | changes for base, changes in changed]
    try:
        result = convert(read_objects(json.dumps(objects).encode(), "f"))
    except ImportRefused:
        return
    parse(result.document)


def test_an_object_without_properties_is_no_trouble():
    with pytest.raises(ImportRefused):
        convert([ExchangeObject("", "f", {})])
