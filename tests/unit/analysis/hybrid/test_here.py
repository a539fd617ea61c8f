from __future__ import annotations

import shlex

import pytest

from gatepost.analysis.hybrid.here import Finding, by_address, command, findings, inbound_of, outbound_of
from gatepost.pki.certificates.entry import CertificateRequestSpec, PendingRequest, Purpose
from gatepost.values import replace


def of(pair, subject) -> Finding:
    (found,) = [one for one in findings(pair) if one.subject == subject]
    return found


def test_a_complete_pair(given):
    found = findings(given())
    assert [one.subject for one in found if not one.complete] == []
    assert [one.commands for one in found if one.commands] == []
    assert [one.subject for one in found] == [
        "listener",
        "server-certificate",
        "accepted-domain contoso.example",
        "inbound-connector",
        "client-identity",
        "outbound-connector",
    ]


AUTHORITATIVE = [{"name": "contoso.example"}]
ANN = [{"address": "ann@contoso.example"}]
FILES = {"chain": "/a.pem", "key": "/a.key"}
ROUTED = [*AUTHORITATIVE, {"name": "gate.example"}]

# what is changed, the subject, words of the text, words of the command
LACKS = {
    "no listener": ({"listens": False}, "listener", '[[listener]] role = "mx"', ""),
    "no certificate": ({"server": []}, "server-certificate", "(presented: none)", "certificate request --name mx1."),
    "no domain": (
        {"accepted": [], "domains": [], "inbound": {"tls_sender_certificate_name": "ex1.contoso.example"}},
        "accepted-domain",
        "no accepted domain",
        "domain add DOMAIN --organization contoso type=internal-relay",
    ),
    "another domain": (
        {"domains": ["branch.example"]},
        "accepted-domain branch.example",
        "is not an accepted domain of contoso",
        "domain add branch.example --organization contoso type=internal-relay",
    ),
    "an authoritative domain with mailboxes": (
        {"accepted": AUTHORITATIVE, "mailboxes": ANN},
        "accepted-domain contoso.example",
        "are refused here",
        "domain set contoso.example type=internal-relay",
    ),
    "an authoritative domain with an alias": (
        {"accepted": ROUTED, "domains": ["gate.example"], "mailboxes": [ANN[0] | {"aliases": ["ann@gate.example"]}]},
        "accepted-domain gate.example",
        "are refused here",
        "domain set gate.example type=internal-relay",
    ),
    "no inbound connector": (
        {"inbound": None},
        "inbound-connector",
        "it may not relay",
        (
            "connector add inbound 'from Exchange' --organization contoso connector_type=on-premises "
            "'tls_sender_certificate_name=*.contoso.example' require_tls=true cloud_services_mail_enabled=true"
        ),
    ),
    "by address alone": (
        {"inbound": {"tls_sender_certificate_name": None, "sender_ip_addresses": ["192.0.2.1"], "require_tls": False}},
        "inbound-connector",
        "it does not name ex1.contoso.example; from known addresses it accepts unencrypted mail",
        (
            "connector set 'from hq' --organization contoso --direction inbound "
            "'tls_sender_certificate_name=*.contoso.example' require_tls=true"
        ),
    ),
    "no header fields": (
        {"inbound": {"cloud_services_mail_enabled": False}},
        "inbound-connector",
        "are removed",
        "--direction inbound cloud_services_mail_enabled=true",
    ),
    "in rehearsal": (
        {"inbound": {"mode": "rehearse"}},
        "inbound-connector",
        "it is in rehearsal",
        "--direction inbound mode=enforce",
    ),
    "no client certificate": (
        {"clients": {}},
        "client-identity",
        "no current client certificate 'hybrid'",
        "--label hybrid",
    ),
    "no files": (
        {"outbound": {"client_certificate": FILES}},
        "client-identity",
        "no current client certificate 'hybrid'",
        "--client",
    ),
    "no outbound connector": (
        {"outbound": None},
        "outbound-connector",
        "goes by MX",
        (
            "connector add outbound 'to Exchange' --organization contoso connector_type=on-premises "
            "all_accepted_domains=true smart_hosts=ex1.contoso.example tls_settings=domain-validation "
            "tls_domain=ex1.contoso.example client_certificate.label=hybrid cloud_services_mail_enabled=true"
        ),
    ),
    "to somebody else": (
        {"outbound": {"smart_hosts": ["ex2.contoso.example"], "tls_domain": "ex2.contoso.example"}},
        "outbound-connector",
        "does not lead to ex1.contoso.example; the name that it expects is not",
        "smart_hosts=ex1.contoso.example tls_domain=ex1.contoso.example",
    ),
    "not for the domain": (
        {"outbound": {"all_accepted_domains": False, "recipient_domains": ["other.example"]}},
        "outbound-connector",
        "it takes no mail for contoso.example",
        "all_accepted_domains=true",
    ),
    "not forced": (
        {"outbound": {"tls_settings": "encryption-only", "tls_domain": None}},
        "outbound-connector",
        "does not demand Exchange's name",
        "tls_settings=domain-validation",
    ),
    "unknown to Exchange": (
        {"outbound": {"client_certificate": None}},
        "outbound-connector",
        "it presents no certificate",
        "client_certificate.label=hybrid",
    ),
    "told nothing": (
        {"outbound": {"cloud_services_mail_enabled": False}},
        "outbound-connector",
        "Exchange does not learn the origin",
        "cloud_services_mail_enabled=true",
    ),
    "not centralised": (
        {"centralised": True},
        "outbound-connector",
        "mail to others does not go through Exchange",
        "route_all_messages_via_on_premises=true",
    ),
    "disabled": (
        {"outbound": {"enabled": False}},
        "outbound-connector",
        "it is disabled",
        "--direction outbound enabled=true",
    ),
    "no routing domain": (
        {"routing_domain": "gate.example"},
        "routing-domain gate.example",
        "cannot reach mailboxes here",
        "domain add gate.example --organization contoso",
    ),
    "no routing address": (
        {"routing_domain": "gate.example", "accepted": ROUTED, "mailboxes": ANN},
        "routing-domain gate.example",
        ": 1 mailbox of the shared domains",
        "mailbox set ann@contoso.example aliases+=ann@gate.example",
    ),
}


@pytest.mark.parametrize("name", LACKS)
def test_what_is_missing_is_told_with_what_mends_it(given, name):
    fields, subject, text, mends = LACKS[name]
    found = of(given(**fields), subject)
    assert not found.complete
    assert text in found.text
    assert any(mends in one for one in found.commands) or not mends
    assert all(shlex.split(one)[0] == "gatepost" for one in found.commands)


def test_centralised_transport_is_part_of_a_new_connector(given):
    (added,) = of(given(outbound=None, centralised=True), "outbound-connector").commands
    assert added.endswith(" route_all_messages_via_on_premises=true")
    assert of(
        given(outbound={"route_all_messages_via_on_premises": True}, centralised=True), "outbound-connector"
    ).complete


def test_routing_addresses_are_there(given):
    boxes = [ANN[0] | {"aliases": ["ann@gate.example"]}]
    found = of(given(routing_domain="gate.example", accepted=ROUTED, mailboxes=boxes), "routing-domain gate.example")
    assert found.complete
    assert found.commands == ()


@pytest.mark.parametrize(
    ("outbound", "complete"),
    [
        ({"recipient_domains": ["*.contoso.example"], "all_accepted_domains": False}, True),
        ({"tls_domain": None}, True),  # then it is the smart host's own
        ({"tls_domain": "*.contoso.example"}, True),
    ],
)
def test_other_ways_to_be_complete(given, outbound, complete):
    assert of(given(outbound=outbound), "outbound-connector").complete is complete


def test_certificates_of_the_gateway(given, leaf):
    other = leaf("other.example")
    expired = replace(leaf("mx1.contoso.example"), not_after=0.5)
    assert "(presented: other.example" in of(given(server=[other, expired]), "server-certificate").text
    assert of(given(server=[other, leaf("*.contoso.example")]), "server-certificate").complete
    assert "bears other.example (CN other.example)" not in of(given(), "client-identity").text
    assert "not mx1.contoso.example" in of(given(clients={"hybrid": other}), "client-identity").text
    assert "is not valid now" in of(given(clients={"hybrid": expired}), "client-identity").text
    files = given(outbound={"client_certificate": FILES}, files={"to hq": leaf("mx1.contoso.example")})
    assert of(files, "client-identity").complete


def test_exchanges_certificate_says_more_than_its_name(given, chain):
    """What is shown decides, not what the host is called."""
    good = chain("mail.contoso.example", "ex1.contoso.example")
    found = findings(given(exchange=good))
    assert all(one.complete for one in found)
    assert found[-1].subject == "exchange-certificate"
    other = findings(given(exchange=chain("mail.hosting.example")))
    assert [one.subject for one in other if not one.complete] == ["exchange-certificate"]
    assert "bears mail.hosting.example" in other[-1].text
    assert "the outbound connector expects ex1.contoso.example, so mail to it waits" in other[-1].text
    assert "the inbound connector knows it by *.contoso.example, so it may not relay" in other[-1].text
    assert "bears ex1.contoso.example" in other[-1].text, "what to do"
    nothing = findings(given(exchange=replace(good, leaf=None)))
    assert [one.subject for one in nothing if not one.complete] == ["exchange-certificate"]


def test_a_certificate_that_is_not_trusted(given, chain):
    untrusted = chain("ex1.contoso.example", status="untrusted-root", detail="no root leads to CN=Contoso CA")
    found = of(given(exchange=untrusted), "exchange-certificate")
    assert (found.complete, "(untrusted-root): no root leads to CN=Contoso CA" in found.text) == (False, True)
    whose, anchors = "--organization contoso --direction", "trust_anchors=/etc/gatepost/exchange-root.pem"
    assert found.commands == (
        f"gatepost connector set 'from hq' {whose} inbound {anchors}",
        f"gatepost connector set 'to hq' {whose} outbound {anchors}",
    )
    none = of(given(inbound=None, outbound=None, exchange=untrusted), "exchange-certificate")
    assert "'from Exchange'" in none.commands[0]
    assert "'to Exchange'" in none.commands[1]


def test_connectors_with_others_are_left_alone(given):
    """Printers by address and a branch's server are no Exchange; of several that are, the enabled one counts."""
    printers = {"name": "a printers", "connector_type": "on-premises", "sender_ip_addresses": ["192.0.2.1"]}
    partner = {"name": "a partner", "sender_domains": ["ex1.contoso.example"]}
    off = {
        "name": "a off", "connector_type": "on-premises", "tls_sender_certificate_name": "ex1.contoso.example",
        "enabled": False,
    }  # fmt: skip
    branch = {"name": "a branch", "connector_type": "on-premises", "recipient_domains": ["b.contoso.example"]}
    scoped = {
        "name": "a scoped", "connector_type": "on-premises", "is_transport_rule_scoped": True,
        "smart_hosts": ["ex1.contoso.example"],
    }  # fmt: skip
    outside = {"name": "a partner", "recipient_domains": ["p.example"], "smart_hosts": ["ex1.contoso.example"]}
    others = {"inbound": [printers, partner, off], "outbound": [branch, scoped, outside]}
    pair = given(others=others)
    assert (inbound_of(pair).name, outbound_of(pair).name) == ("from hq", "to hq")
    alone = given(
        others={"inbound": [printers, partner], "outbound": [branch, scoped, outside]}, inbound=None, outbound=None
    )
    assert (inbound_of(alone), outbound_of(alone)) == (None, None)


@pytest.mark.parametrize("name", ["it's", "a b", '$(rm "x")', "`x`"])
def test_commands_are_safe_to_paste(given, name):
    assert shlex.split(command("connector", "set", name)) == ["gatepost", "connector", "set", name]
    found = of(given(inbound={"name": name, "enabled": False}), "inbound-connector")
    assert shlex.split(found.commands[0])[3] == name


def test_the_connectors_that_it_advises_are_complete(given, chain):
    """Whatever Exchange shows: a plan that is followed has nothing more to say of connectors."""
    for shown in (None, chain("ex1.contoso.example"), chain("mail.hosting.example")):
        for subject, direction in (("inbound-connector", "inbound"), ("outbound-connector", "outbound")):
            (added,) = of(given(**{direction: None}, exchange=shown), subject).commands
            fields = dict(one.split("=", 1) for one in shlex.split(added) if "=" in one)
            fields = {key: True if value == "true" else value for key, value in fields.items()}
            if label := fields.pop("client_certificate.label", None):
                fields |= {"client_certificate": {"label": label}, "smart_hosts": [fields["smart_hosts"]]}
            assert of(given(**{direction: fields}, exchange=shown), subject).complete
    other = {"tls_domain": "mail.hosting.example"}, {"tls_sender_certificate_name": "mail.hosting.example"}
    by_its_name = given(outbound=other[0], inbound=other[1], exchange=chain("mail.hosting.example"))
    assert [one.subject for one in findings(by_its_name) if not one.complete] == []


HOST = ("mx1.contoso.example",)
SERVER = CertificateRequestSpec(HOST)
CLIENT = CertificateRequestSpec(HOST, purpose=Purpose.CLIENT, organization="contoso", label="hybrid")
ADD = ("gatepost certificate add ISSUED.pem --current",)


@pytest.mark.parametrize(
    ("subject", "spec", "without"),
    [("server-certificate", SERVER, {"server": []}), ("client-identity", CLIENT, {"clients": {}})],
)
def test_a_certificate_that_is_requested_already_only_has_to_be_added(given, subject, spec, without):
    older, newer = PendingRequest("a" * 16, spec, 1.0), PendingRequest("b" * 16, spec, 2.0)
    finding = of(given(**without, requests=[newer, older]), subject)
    assert (finding.complete, finding.commands) == (False, ADD)
    assert finding.text.endswith(f"; request {newer.id} waits: add the certificate that the authority issues for it")


@pytest.mark.parametrize(
    ("subject", "spec"),
    [
        ("server-certificate", CLIENT),
        ("server-certificate", CertificateRequestSpec(("mx2.contoso.example",))),
        ("client-identity", SERVER),
        ("client-identity", replace(CLIENT, organization="northwind")),
        ("client-identity", replace(CLIENT, label="other")),
        ("client-identity", replace(CLIENT, names=())),
    ],
)
def test_a_request_for_something_else_does_not_count(given, subject, spec):
    finding = of(given(server=[], clients={}, requests=[PendingRequest("a" * 16, spec, 1.0)]), subject)
    assert finding.commands[0].startswith("gatepost certificate request --name mx1.contoso.example")


BEHIND = {
    "name": "mail server",
    "connector_type": "on-premises",
    "all_accepted_domains": True,
    "smart_hosts": ["192.0.2.20"],
}


def test_a_connector_that_takes_the_mail_in_its_place(given):
    behind = given(others={"outbound": [BEHIND]})
    found = of(behind, "outbound-connector mail server")
    assert not found.complete
    assert (
        "'mail server' takes the mail for contoso.example in its place, with tls_settings opportunistic" in found.text
    )
    assert found.commands == (
        "gatepost connector set 'mail server' --organization contoso --direction outbound enabled=false",
    )
    assert of(behind, "outbound-connector").complete, "the connector itself is as it should be"
    for harmless in ({"enabled": False}, {"priority": 101}, {"all_accepted_domains": False}):
        others = {"outbound": [BEHIND | {"recipient_domains": ["other.example"]} | harmless]}
        assert [finding.text for finding in findings(given(others=others)) if not finding.complete] == []


def test_where_mail_goes_before_there_is_a_connector(given):
    found = of(given(outbound=None, others={"outbound": [BEHIND]}), "outbound-connector")
    assert found.text.endswith("leads to ex1.contoso.example, and mail for its mailboxes goes by 'mail server'")


def test_addresses_that_need_no_tls_are_told(given):
    known = {"name": "own servers", "connector_type": "on-premises", "sender_ip_addresses": ["192.0.2.20"]}
    (said,) = by_address(given(others={"inbound": [known]}))
    assert "'own servers' takes unencrypted mail from 192.0.2.20" in said
    for other in ({"require_tls": True}, {"enabled": False}):
        assert list(by_address(given(others={"inbound": [known | other]}))) == []
