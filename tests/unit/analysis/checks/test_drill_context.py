"""The stage of a drill: whatever connector it is, a message is found that takes it, and a certificate that is good."""

from __future__ import annotations

import pytest

from gatepost.analysis.checks.drill_context import DrillImpossible, make_context
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.outbound import describe


def context(connector, profile="default", **own):
    own = {"accepted_domain": [{"name": "contoso.example"}], **own}
    base = {"name": "Out", "recipient_domains": ["b.example"]}
    others = own.pop("others", [])
    document = {"organization": {"contoso": {**own, "outbound_connector": [*others, base | connector]}}}
    directory = Directory(parse(document), 7)
    (organization,) = directory.resources.organizations
    return make_context(directory, organization, organization.outbound_connectors[-1], profile=profile, marker="77")


FORCED = {"tls_settings": "domain-validation"}
ON_PREMISES = {"connector_type": "on-premises", "smart_hosts": ["hub.contoso.example"], "recipient_domains": []}

WAYS = [
    # fields, recipient's domain, requirement, names of a good certificate
    ({}, "b.example", "opportunistic", "b.example"),
    ({"tls_settings": "encryption-only"}, "b.example", "encrypted", "b.example"),
    ({"tls_settings": "certificate-validation"}, "b.example", "authenticated", "b.example"),
    (FORCED, "b.example", "authenticated(b.example)", "b.example"),
    (
        FORCED | {"recipient_domains": ["*.c.example", "d.example"]},
        "d.example",
        "authenticated(d.example)",
        "d.example",
    ),
    (
        FORCED | {"recipient_domains": ["*", "*.c.example"]},
        "drill.c.example",
        "authenticated(drill.c.example)",
        "drill.c.example",
    ),
    (
        FORCED | {"recipient_domains": ["*"], "tls_domain": "*.d.example"},
        "partner.invalid",
        "authenticated(*.d.example)",
        "d.example *.d.example",
    ),
    (
        FORCED | {"smart_hosts": ["mx1.b.example", "192.0.2.1:26", "[2001:db8::1]"]},
        "b.example",
        "authenticated(mx1.b.example)",
        "mx1.b.example 192.0.2.1 2001:db8::1",
    ),
    (
        ON_PREMISES | {"all_accepted_domains": True} | FORCED,
        "contoso.example",
        "authenticated(hub.contoso.example)",
        "hub.contoso.example",
    ),
    (
        ON_PREMISES | {"route_all_messages_via_on_premises": True},
        "partner.invalid",
        "opportunistic",
        "hub.contoso.example",
    ),
    (FORCED | {"enabled": False, "mode": "rehearse"}, "b.example", "authenticated(b.example)", "b.example"),
]


@pytest.mark.parametrize(("fields", "domain", "requirement", "names"), WAYS)
def test_the_message_takes_the_connector(fields, domain, requirement, names):
    found = context(fields)
    assert found.recipient == f"drill-77@{domain}"
    assert found.sender == "drill-77@contoso.example"
    assert describe(found.requirement) == requirement
    assert list(found.names) == names.split()
    assert found.directory.version == 7
    assert found.connector.name == "Out"


def test_other_connectors_and_mailboxes_do_not_matter():
    mailbox = {"address": "ann@contoso.example"}
    other = {"name": "A", "recipient_domains": ["b.example"], "priority": 1}
    found = context({"tls_settings": "encryption-only"}, others=[other], mailbox=[mailbox])
    assert describe(found.requirement) == "encrypted"
    hub = ON_PREMISES | {"all_accepted_domains": True}
    assert context(hub, mailbox=[mailbox]).recipient == "drill-77@contoso.example"


def test_a_connector_that_mail_goes_past_is_told():
    """The drill passes all the same, and the mail of the domain is no safer for it."""
    other = {"name": "A", "recipient_domains": ["b.example"], "priority": 1}
    (note,) = context(FORCED, others=[other]).notes
    assert note.startswith("mail to b.example does not go by this connector: connector 'A' of contoso matches")
    assert context(FORCED, others=[other | {"priority": 200}]).notes == ()


NOTES = [
    ({}, []),
    ({"enabled": False}, ["the connector is disabled: no real mail takes it"]),
    (
        {"mode": "rehearse"},
        ["the connector is in rehearsal: its demands are only reported, REAL MAIL IS NOT PROTECTED YET"],
    ),
]


@pytest.mark.parametrize(("fields", "notes"), NOTES)
def test_what_an_administrator_is_told_of_the_state(fields, notes):
    assert list(context(fields).notes) == notes


def test_rules_that_require_tls_are_left_out_and_named():
    rules = [
        {"name": "secret", "header_name": "Subject", "require_tls": True},
        {"name": "off", "enabled": False, "require_tls": True},
        {"name": "elsewhere", "route_via_connector": "Out"},
    ]
    found = context({}, mail_flow_rule=rules)
    assert describe(found.requirement) == "opportunistic"
    assert list(found.notes) == [
        "mail flow rules that require TLS ('secret') are left out: the drill shows the connector alone"
    ]


def test_a_rule_scoped_connector_is_reached_by_its_rule():
    rule = {
        "name": "by word",
        "header_name": "X-Secret",
        "senders": ["ann@contoso.example"],
        "recipients": ["*.nowhere.example"],
        "except_recipients": ["b.example"],
        "route_via_connector": "Out",
        "require_tls": True,
    }
    found = context({"is_transport_rule_scoped": True}, mail_flow_rule=[rule])
    assert (describe(found.requirement), found.demand.tls) == ("encrypted", True)
    assert list(found.notes) == [
        "the message is sent by mail flow rule 'by word', which requires TLS; its conditions count as met"
    ]


def test_of_several_rules_the_one_that_protects_least_is_played():
    """Or a connector seems to be safe that one rule asks TLS of, while another sends mail by it in clear."""

    def rule(name, **fields):
        return {"name": name, "route_via_connector": "Out", **fields}

    rules = [
        rule("a", require_tls=True, priority=1),
        rule("b", priority=2),
        rule("c", priority=0, mode="rehearse"),
    ]
    found = context({"is_transport_rule_scoped": True}, mail_flow_rule=rules)
    assert (describe(found.requirement), found.demand.tls) == ("opportunistic", False)
    assert list(found.notes) == ["the message is sent by mail flow rule 'b'; its conditions count as met"]


def test_a_rule_in_rehearsal_is_taken_as_enforced_and_told():
    rule = {"name": "soon", "mode": "rehearse", "route_via_connector": "Out", "require_tls": True}
    found = context({"is_transport_rule_scoped": True, "recipient_domains": []}, mail_flow_rule=[rule])
    assert describe(found.requirement) == "encrypted"
    assert found.notes[-1] == "mail flow rule 'soon' is in rehearsal: no real mail takes the connector by it yet"


def test_a_rule_scoped_connector_that_no_rule_names_is_told():
    found = context({"is_transport_rule_scoped": True, "recipient_domains": []} | FORCED)
    assert list(found.notes) == ["no mail flow rule in force routes mail to this connector: no real mail takes it"]
    assert found.recipient == "drill-77@partner.invalid"


def test_an_organization_without_domains_sends_all_the_same():
    assert context({}, accepted_domain=[]).sender == "drill-77@sender.invalid"
    below = {"name": "*.contoso.example", "type": "internal-relay"}
    assert context({}, accepted_domain=[below]).sender == "drill-77@drill.contoso.example"
    with pytest.raises(DrillImpossible, match="no connector matches it"):
        context(ON_PREMISES | {"all_accepted_domains": True}, accepted_domain=[])


def test_mail_that_cannot_take_the_connector_is_no_drill(monkeypatch):
    from gatepost.policy.decisions import route  # noqa: PLC0415 - only here

    monkeypatch.setattr(route.RoutePlanner, "_along", lambda *_: route.Unroutable(route._NO_NAME, "no name"))
    with pytest.raises(DrillImpossible, match=r"mail to drill-77@b\.example would not take the connector: no name"):
        context({})


def test_dane_is_not_played():
    with pytest.raises(DrillImpossible, match="demands DANE and nothing else of TLS"):
        context({"smtp_dane_mode": "mandatory"})
    found = context(FORCED | {"smtp_dane_mode": "mandatory"})
    assert found.notes == ('DANE is left out: smtp_dane_mode = "mandatory" protects from more than this shows',)
    assert found.directory.resources.organizations[0].outbound_connectors[0].smtp_dane_mode == "none"
