from __future__ import annotations

import tomllib

import pytest

BASE = """
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }]
[[organization.contoso.inbound_connector]]
name = "bank"
sender_domains = ["bank.example"]
[[organization.contoso.outbound_connector]]
name = "Bank"
recipient_domains = ["bank.example"]
[[organization.contoso.outbound_connector]]
name = "lab"
recipient_domains = ["lab.example"]
[[organization.contoso.mail_flow_rule]]
name = "via"
route_via_connector = "Bank"
[[organization.contoso.mail_flow_rule]]
name = "other"
require_tls = true
[organization.fabrikam]
[[organization.fabrikam.outbound_connector]]
name = "lab"
recipient_domains = ["lab.example"]
"""


@pytest.fixture
def base(home):
    home.call("apply", "-f", home.write(BASE))
    return home


PATH = "organization.contoso"
DONE = {
    "add outbound new --organization contoso recipient_domains=New.Example tls_settings=encryption-only": [
        (
            f"+ {PATH}.outbound_connector['new']:"
            ' {"name": "new", "recipient_domains": ["new.example"], "tls_settings": "encryption-only"}'
        )
    ],
    "add inbound lab --organization contoso connector_type=on-premises sender_ip_addresses=192.0.2.1,2001:db8::/64": [
        (
            f"+ {PATH}.inbound_connector['lab']: "
            '{"name": "lab", "connector_type": "on-premises", "sender_ip_addresses": ["192.0.2.1", "2001:db8::/64"]}'
        )
    ],
    "set bank --direction inbound require_tls=false": [f"+ {PATH}.inbound_connector['bank'].require_tls: false"],
    "set lab --organization contoso enabled=false comment=moved": [
        f"+ {PATH}.outbound_connector['lab'].comment: \"moved\"",
        f"+ {PATH}.outbound_connector['lab'].enabled: false",
    ],
    "set lab --organization contoso recipient_domains-=lab.example recipient_domains+=x.example,y.example": [
        f'~ {PATH}.outbound_connector[\'lab\'].recipient_domains: ["lab.example"] -> ["x.example", "y.example"]'
    ],
    "set lab --organization contoso enabled=false client_certificate.chain=/c.pem client_certificate.key=/k.pem": [
        f'+ {PATH}.outbound_connector[\'lab\'].client_certificate: {{"chain": "/c.pem", "key": "/k.pem"}}',
        f"+ {PATH}.outbound_connector['lab'].enabled: false",
    ],
    "set bank --direction outbound name=house-bank": [
        f'~ {PATH}.mail_flow_rule[\'via\'].route_via_connector: "Bank" -> "house-bank"',
        f'~ {PATH}.outbound_connector[\'Bank\'].name: "Bank" -> "house-bank"',
    ],
    "set bank --direction inbound name=bank-in": [f'~ {PATH}.inbound_connector[\'bank\'].name: "bank" -> "bank-in"'],
    "remove bank --direction inbound": [
        f'- {PATH}.inbound_connector[\'bank\']: {{"name": "bank", "sender_domains": ["bank.example"]}}'
    ],
    "remove LAB --organization fabrikam": [
        '- organization.fabrikam.outbound_connector[\'lab\']: {"name": "lab", "recipient_domains": ["lab.example"]}'
    ],
}


@pytest.mark.parametrize("command", DONE)
def test_a_change_is_said_and_made(base, command):
    lines = DONE[command]
    words = ["connector", *command.split()]
    dry = base.call(*words, "--dry-run").stdout.splitlines()
    assert dry[: len(lines) + 1] == [*lines, ""]
    assert dry[-1] == f"{len(lines)} change{'s' * (len(lines) != 1)}, not applied (--dry-run)"
    assert base.config() == (1, tomllib.loads(BASE))
    assert base.call(*words).stdout.splitlines() == [
        *lines,
        f"{len(lines)} change{'s' * (len(lines) != 1)} applied as version 2",
    ]
    assert base.config()[0] == 2


# words -> what stands on standard error
REFUSED = {
    "add sideways x": "'sideways' is not one of 'inbound', 'outbound'",
    "add outbound x recipient_domains=x.example": "say whose it is; there are: contoso, fabrikam (--organization)\n",
    "add outbound bank --organization contoso": "contoso already has the outbound connector 'bank'; "
    "change it with `gatepost connector set`; nothing was changed\n",
    "add outbound x --organization contoso": "recipient_domains: the connector would take no mail; name domains",
    "add inbound x --organization contoso": "sender_domains: a partner connector applies to mail of certain domains; ",
    "add inbound x --organization contoso require_tls=no enabled=1": "require_tls: 'no' does not "
    "fit; expected: true or false\nenabled: '1' does not fit; expected: true or false\nsender_domains: ",
    "add inbound x --organization contoso recipient_domains=x.example": "recipient_domains: unknown key",
    "set x mode=rehearse": "there is no connector 'x'; there are: 'bank', 'Bank', 'lab'\n",
    "set lab mode=rehearse": "'lab' could be each of: ",
    "set bank --direction outbound tls_domain=bank.example": "tls_domain: the name is compared only under tls_settings",
    "set bank --direction outbound recipient_domains=": "recipient_domains: the connector would take no mail; ",
    "set bank --direction outbound client_certificate.chain=/c": "client_certificate.key: is missing; a ",
    "set bank --direction outbound smart_hosts=a.example use_mx_record=true": "use_mx_record: the smart_hosts would",
    "set bank --direction outbound name=lab": "name: 'lab' is taken already, by ",
    "set bank --direction outbound name=": "name: is required",
    "set bank --direction inbound sender_ip_addresses=10.0.0.0/8": "sender_ip_addresses[0]: 10.0.0.0/8 is wider than",
    "set bank --direction outbound": "Missing argument 'KEY=VALUE...'",
    "remove x": "there is no connector 'x'; ",
    "remove bank --direction outbound": "outbound connector 'Bank' of contoso cannot be removed, it is needed by:\n"
    "  mail flow rule 'via' of contoso: route_via_connector\n"
    "Change or remove these first; nothing was changed\n",
}


@pytest.mark.parametrize("command", REFUSED)
def test_what_is_wrong_is_said_and_nothing_is_changed(base, command):
    result = base.call("connector", *command.split(), code=2)
    assert REFUSED[command] in result.stderr
    assert result.stdout == ""
    assert base.config() == (1, tomllib.loads(BASE))


def test_a_connector_that_no_rule_names_any_more_can_be_removed(base):
    base.call("rule", "set", "via", "route_via_connector=lab")
    base.call("connector", "remove", "bank", "--direction", "outbound")
    (left,) = base.config()[1]["organization"]["contoso"]["outbound_connector"]
    assert left["name"] == "lab"
