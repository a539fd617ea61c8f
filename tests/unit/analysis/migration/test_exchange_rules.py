from __future__ import annotations

import pytest

from gatepost.analysis.migration.exchange_json import ExchangeObject, Unreadable
from gatepost.analysis.migration.exchange_rules import Known, convert_rule
from gatepost.analysis.migration.report import Part

KNOWN = Known(
    domains={"contoso.com": "contoso.com"},
    internal=["contoso.com", "*.fabrikam.com"],
    connectors={"to gateway": "To Gateway (2)"},
)

# As `Get-TransportRule | ConvertTo-Json -Depth 5 -EnumsAsStrings` prints a rule.
RULE = {
    "Priority": 3,
    "DlpPolicy": None,
    "DlpPolicyId": "00000000-0000-0000-0000-000000000000",
    "Comments": "\r\n\tMade by the security team\r\n",
    "CreatedBy": "Admin",
    "LastModifiedBy": "Admin",
    "ManuallyModified": False,
    "ActivationDate": None,
    "ExpiryDate": None,
    "Description": "If the message:\r\n\tIs sent to 'bank.example'\r\nTake the following actions:\r\n\trequire TLS",
    "RuleVersion": {"Major": 14, "Minor": 0, "Build": 0, "Revision": 0},
    "Size": 500,
    "Conditions": ["Microsoft.Exchange.MessagingPolicies.Rules.Tasks.RecipientDomainIsPredicate"],
    "Exceptions": None,
    "Actions": ["Microsoft.Exchange.MessagingPolicies.Rules.Tasks.RouteMessageOutboundRequireTlsAction"],
    "State": "Enabled",
    "Mode": "Enforce",
    "RuleErrorAction": "Ignore",
    "SenderAddressLocation": "Header",
    "RecipientAddressType": "Resolved",
    "RuleSubType": "None",
    "UseLegacyRegex": False,
    "From": None,
    "FromMemberOf": None,
    "FromScope": None,
    "SentTo": None,
    "SentToScope": None,
    "RecipientDomainIs": ["bank.example"],
    "SenderDomainIs": None,
    "HeaderContainsMessageHeader": None,
    "HeaderContainsWords": None,
    "SubjectContainsWords": None,
    "ExceptIfFrom": None,
    "RouteMessageOutboundConnector": None,
    "RouteMessageOutboundRequireTls": True,
    "StopRuleProcessing": False,
    "SetHeaderName": None,
    "Identity": "TLS to the bank",
    "Guid": "3c7fd6d2-7e2f-4b02-a5a7-1a2b3c4d5e6f",
    "ImmutableId": "3c7fd6d2-7e2f-4b02-a5a7-1a2b3c4d5e6f",
    "Name": "TLS to the bank",
    "IsValid": True,
    "WhenChanged": "2026-03-01T10:00:00+01:00",
    "ExchangeVersion": "0.1 (8.0.535.0)",
    "ObjectState": "Unchanged",
}


def converted(known: Known = KNOWN, /, **changes: object) -> Part:
    properties = {**RULE, **changes}
    one = ExchangeObject(
        "rule",
        "f, object 1",
        {name.lower(): value for name, value in properties.items()},
        {name.lower(): name for name in properties},
    )
    part = Part("mail_flow_rule", "rule", {"name": "r"})
    convert_rule(one, part, known)
    return part


def test_a_rule_that_requires_tls():
    part = converted()
    assert part.table == {
        "name": "r",
        "require_tls": True,
        "recipients": ["bank.example"],
        "priority": 3,
        "comment": "Made by the security team",
    }
    assert part.findings == []


CARRIED = [
    ({"RouteMessageOutboundConnector": "To gateway", "RouteMessageOutboundRequireTls": False},
     {"route_via_connector": "To Gateway (2)"}),
    ({"RouteMessageOutboundConnector": {"Name": "To Gateway"}}, {"route_via_connector": "To Gateway (2)"}),
    ({"From": ["a@contoso.com"]}, {"senders": ["a@contoso.com"]}),
    ({"RecipientDomainIs": None, "SentTo": "b@bank.example"}, {"recipients": ["b@bank.example"]}),
    ({"ExceptIfFrom": ["a@contoso.com"], "ExceptIfSenderDomainIs": ["x.example"]},
     {"except_senders": ["a@contoso.com", "x.example"]}),
    ({"ExceptIfSentTo": ["b@bank.example"], "ExceptIfRecipientDomainIs": "c.example d.example"},
     {"except_recipients": ["b@bank.example", "c.example", "d.example"]}),
    ({"HeaderContainsMessageHeader": "X-Class", "HeaderContainsWords": ["secret stuff"]},
     {"header_name": "X-Class", "header_contains": ["secret stuff"]}),
    ({"HeaderContainsMessageHeader": "X-Class"}, {"header_name": "X-Class"}),
    ({"SubjectContainsWords": ["confidential", "for the board"]},
     {"header_name": "Subject", "header_contains": ["confidential", "for the board"]}),
    ({"State": "Disabled"}, {"enabled": False}),
    ({"Mode": "Audit"}, {"mode": "rehearse"}),
    ({"Mode": "AuditAndNotify"}, {"mode": "rehearse"}),
    ({"StopRuleProcessing": True}, {"stop_rule_processing": True}),
    ({"Priority": 2000}, {"priority": 1000}),
    ({"SentToScope": "NotInOrganization"}, {"except_recipients": ["contoso.com", "*.fabrikam.com"]}),
    ({"SentToScope": "NotInOrganization", "ExceptIfSentTo": ["b@bank.example"]},
     {"except_recipients": ["b@bank.example", "contoso.com", "*.fabrikam.com"]}),
    ({"ExceptIfSentToScope": "InOrganization"}, {"except_recipients": ["contoso.com", "*.fabrikam.com"]}),
    ({"RecipientDomainIs": None, "SentToScope": "InOrganization"}, {"recipients": ["contoso.com", "*.fabrikam.com"]}),
    ({"RecipientDomainIs": None, "ExceptIfSentToScope": "NotInOrganization"},
     {"recipients": ["contoso.com", "*.fabrikam.com"]}),
    ({"RecipientDomainIs": ["eu.fabrikam.com"], "SentToScope": "InOrganization"}, {"recipients": ["eu.fabrikam.com"]}),
    ({"FromScope": "InOrganization"}, {"recipients": ["bank.example"]}),
    ({"FromScope": "InOrganization", "RecipientDomainIs": None, "SentToScope": "NotInOrganization"},
     {"except_recipients": ["contoso.com", "*.fabrikam.com"]}),
    ({"ExceptIfFromScope": "NotInOrganization"}, {"recipients": ["bank.example"]}),
    ({"SenderDomainIs": ["contoso.com"], "SenderAddressLocation": "Envelope"}, {"senders": ["contoso.com"]}),
    ({"SetHeaderName": "X-Seen"}, {}),
    ({"RecipientAddressType": "Original"}, {"recipients": ["bank.example"]}),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "fields"), CARRIED)
def test_conditions_exceptions_and_order(changes, fields):
    table = converted(**changes).table
    assert {key: table[key] for key in fields} == fields


DIFFERENT = [
    ({"SenderDomainIs": ["contoso.com"]}, "SenderDomainIs", "reverse-path"),
    ({"ExceptIfSenderDomainIs": ["contoso.com"]}, "ExceptIfSenderDomainIs", "reverse-path"),
    ({"SentToScope": "NotInOrganization"}, "SentToScope", "keep them in step"),
    ({"RecipientDomainIs": None, "SentToScope": "InOrganization"}, "SentToScope", "written as recipients"),
    ({"FromScope": "InOrganization"}, "FromScope", "only mail of the organization's own leaves"),
    ({"Priority": 2000}, "Priority", "1000"),
    ({"RecipientDomainIs": ["contoso.com"]}, "RecipientAddressType", "resolves a recipient's other addresses"),
    ({"ExceptIfSentTo": ["b@contoso.com"]}, "RecipientAddressType", "resolves a recipient's other addresses"),
    ({"SubjectContainsWords": ["secret"]}, "SubjectContainsWords", "whole words"),
    (
        {"HeaderContainsMessageHeader": "X-Class", "HeaderContainsWords": ["secret"]},
        "HeaderContainsWords",
        "whole words",
    ),
]


@pytest.mark.parametrize(("changes", "setting", "words"), DIFFERENT)
def test_differences_are_told(changes, setting, words):
    (finding,) = converted(**changes).findings
    assert finding.setting == setting
    assert words in finding.detail


REFUSED = [
    ({"From": ["a@contoso.com"], "SenderDomainIs": ["contoso.com"]}, "must both hold"),
    ({"SentToScope": "InOrganization"}, "SentToScope means recipients of the organization, and the rule names others"),
    ({"RecipientDomainIs": ["*.contoso.com"], "SentToScope": "InOrganization"}, "the rule names others"),
    ({"RecipientDomainIs": ["*.contoso.com"], "FromScope": "InOrganization"}, "are outside"),
    ({"SentToScope": "ExternalPartner"}, "only InOrganization and NotInOrganization"),
    ({"SentToScope": "InOrganization", "ExceptIfSentToScope": "InOrganization"}, "never applies"),
    ({"FromScope": "InOrganization", "RecipientDomainIs": None}, "only if all recipients of the rule are outside"),
    ({"FromScope": "InOrganization", "RecipientDomainIs": ["bank.example", "contoso.com"]}, "are outside"),
    ({"FromScope": "InOrganization", "RecipientDomainIs": ["*"]}, "are outside"),
    ({"FromScope": "InOrganization", "RecipientDomainIs": None, "SentTo": ["a@Eu.Fabrikam.com"]}, "are outside"),
    ({"FromScope": "NotInOrganization"}, "would escape the rule"),
    ({"ExceptIfFromScope": "InOrganization"}, "would escape the rule"),
    ({"SubjectContainsWords": "a", "HeaderContainsMessageHeader": "b"}, "one field"),
    ({"FromMemberOf": ["group"]}, "FromMemberOf is .*a condition"),
    ({"ActivationDate": "2026-01-01T00:00:00"}, "ActivationDate"),
    ({"RouteMessageOutboundConnector": "gone"}, "IsTransportRuleScoped"),
    ({"Mode": "Loud"}, "only Enforce"),
    ({"State": 0}, "State is the number 0: .*EnumsAsText"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_a_rule_is_carried_over_with_all_its_conditions_or_not_at_all(changes, words):
    with pytest.raises(Unreadable, match=words):
        converted(**changes)


def test_a_rule_about_something_else():
    part = converted(RouteMessageOutboundRequireTls=False, Comments=None)
    assert "neither connectors, TLS nor quarantine" in part.refused
    assert "comment" not in converted(Comments=None).table


def test_a_rule_that_holds_messages():
    part = converted(RouteMessageOutboundRequireTls=False, Quarantine=True)
    assert part.table["quarantine"] is True
    assert "require_tls" not in part.table
    assert part.refused == ""


@pytest.mark.parametrize(
    ("known", "missing"),
    [(Known(), "Get-AcceptedDomain"), (Known(internal=["contoso.com"], unread=["b.example"]), "b.example")],
)
@pytest.mark.parametrize("scope", ["FromScope", "SentToScope", "ExceptIfSentToScope"])
def test_a_scope_needs_all_accepted_domains(known, missing, scope):
    value = "NotInOrganization" if scope == "SentToScope" else "InOrganization"
    with pytest.raises(Unreadable, match=missing):
        converted(known, **{scope: value})


def test_a_rule_that_is_refused_for_its_scope_shows_its_other_conditions():
    part = Part("mail_flow_rule", "rule", {"name": "r"})
    properties = {**RULE, "FromScope": "NotInOrganization", "SubjectContainsWords": ["invoice"]}
    lowered = {name.lower(): value for name, value in properties.items()}
    with pytest.raises(Unreadable):
        convert_rule(ExchangeObject("rule", "f, object 1", lowered), part, KNOWN)
    assert part.table["header_contains"] == ["invoice"]
