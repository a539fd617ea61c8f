from __future__ import annotations

import tomllib

import pytest

from gatepost.analysis.rehearsal.touched import touched
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.resources import Resources

BASE = """
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }]
mailbox = [{ address = "ann@contoso.example" }]
"""
DOMAINS, HOME = "accepted_domain =", 'home = "mx2.contoso.example"\n'
INBOUND = '[[organization.contoso.inbound_connector]]\nname = "in"\n'
OUTBOUND = '[[organization.contoso.outbound_connector]]\nname = "out"\n'
PARTNER = INBOUND + 'sender_domains = ["*.bank.example"]\n'
OWN = INBOUND + 'connector_type = "on-premises"\n'
LAB = OUTBOUND + 'recipient_domains = ["lab.example"]\n'
ON_PREMISES = OUTBOUND + 'connector_type = "on-premises"\nsmart_hosts = ["hq.contoso.example"]\n'
RULE = '[[organization.contoso.mail_flow_rule]]\nname = "r"\nrequire_tls = true\n'


def resources(text: str) -> Resources:
    return parse(tomllib.loads(text))


# before, after -> senders, recipients, inbound, outbound, what is said of the parts
CHANGES: dict[str, tuple[str, str, set[str], set[str], str, list[str]]] = {
    "nothing": (BASE, BASE, set(), set(), "", []),
    "what people read": (
        BASE, BASE.replace('ple" }]\nmailbox', 'ple" }]\ndisplay_name = "C"\nmailbox'), set(), set(), "", [],
    ),
    "where it lives": (BASE, BASE.replace(DOMAINS, HOME + DOMAINS), set(), {"*"}, "outbound", []),
    "a comment": (BASE + PARTNER, BASE + PARTNER + 'comment = "x"', set(), set(), "", []),
    "a partner": (
        BASE, BASE + PARTNER, {"*.bank.example"}, {"contoso.example"}, "inbound", ["+ inbound connector 'in'"],
    ),
    "a partner of one domain": (
        BASE, BASE.replace('"contoso.example" }', '"contoso.example" }, { name = "a.example" }') + PARTNER
        + 'associated_accepted_domains = ["a.example"]',
        {"*.bank.example", "a.example"}, {"a.example"}, "both", ["+ inbound connector 'in'"],
    ),
    "a partner of other domains": (
        BASE + PARTNER, BASE + PARTNER.replace("*.bank", "bank"), {"*.bank.example", "bank.example"},
        {"contoso.example"}, "inbound", ["~ inbound connector 'in' (sender_domains)"],
    ),
    "no more partner": (
        BASE + PARTNER, BASE, {"*.bank.example"}, {"contoso.example"}, "inbound", ["- inbound connector 'in'"],
    ),
    "own servers by address": (
        BASE, BASE + OWN + 'sender_ip_addresses = ["192.0.2.1"]', {"contoso.example"}, {"*"}, "inbound",
        ["+ inbound connector 'in'"],
    ),
    "own servers by certificate": (
        BASE, BASE + OWN + 'tls_sender_certificate_name = "hq.contoso.example"', {"*"}, {"*"}, "inbound",
        ["+ inbound connector 'in'"],
    ),
    "a next hop": (BASE, BASE + LAB, set(), {"lab.example"}, "outbound", ["+ outbound connector 'out'"]),
    "a next hop that is demanded more of": (
        BASE + LAB, BASE + LAB + 'tls_settings = "encryption-only"', set(), {"lab.example"}, "outbound",
        ["~ outbound connector 'out' (tls_settings)"],
    ),
    "everything via on-premises": (
        BASE, BASE + ON_PREMISES + "route_all_messages_via_on_premises = true", set(), {"*"}, "outbound",
        ["+ outbound connector 'out'"],
    ),
    "all accepted domains": (
        BASE, BASE + ON_PREMISES + "all_accepted_domains = true", set(), {"contoso.example"}, "outbound",
        ["+ outbound connector 'out'"],
    ),
    "a next hop that a rule names": (
        BASE + LAB + RULE + 'route_via_connector = "OUT"', BASE + LAB + "priority = 1\n" + RULE
        + 'route_via_connector = "OUT"',
        set(), {"lab.example", "*"}, "outbound", ["~ outbound connector 'out' (priority)"],
    ),
    "a rule": (BASE, BASE + RULE, {"*"}, {"*"}, "outbound", ["+ mail flow rule 'r'"]),
    "a rule for some": (
        BASE, BASE + RULE + 'senders = ["ann@contoso.example"]\nrecipients = ["bank.example"]',
        {"ann@contoso.example"}, {"bank.example"}, "outbound", ["+ mail flow rule 'r'"],
    ),
    "cleartext": (BASE, BASE + 'cleartext = "never"', set(), {"*"}, "outbound", []),
    "direct send": (BASE, BASE + "reject_direct_send = true", {"contoso.example"}, set(), "inbound", []),
    "a mailbox": (
        BASE, BASE.replace('example" }]\n', 'example" }, { address = "b@contoso.example" }]\n').replace(
            '{ name = "contoso.example" }, { address = "b@contoso.example" }', '{ name = "contoso.example" }'),
        set(), {"b@contoso.example"}, "both", [],
    ),
    "no more mailbox": (
        BASE, BASE.replace('mailbox = [{ address = "ann@contoso.example" }]', ""), set(),
        {"ann@contoso.example", "contoso.example"}, "both", [],
    ),
    "an accepted domain": (
        BASE, BASE.replace('"contoso.example" }', '"contoso.example" }, { name = "a.example" }'), {"a.example"},
        {"a.example"}, "both", [],
    ),
    "an accepted domain beside certificates": (
        BASE + OWN + 'tls_sender_certificate_name = "hq.contoso.example"',
        BASE.replace('"contoso.example" }', '"contoso.example" }, { name = "a.example" }') + OWN
        + 'tls_sender_certificate_name = "hq.contoso.example"', {"*"}, {"a.example"}, "both", [],
    ),
    "an organization": (
        "", BASE, {"contoso.example"}, {"*", "contoso.example", "ann@contoso.example"}, "both", [],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after", "senders", "recipients", "side", "parts"), CHANGES.values(), ids=CHANGES)
def test_what_a_change_touches(
    before: str, after: str, senders: set[str], recipients: set[str], side: str, parts: list[str]
) -> None:
    found = touched(resources(before), resources(after))
    assert (found.senders, found.recipients) == (senders, recipients)
    assert (found.inbound, found.outbound) == (side in {"inbound", "both"}, side in {"outbound", "both"})
    said = [
        f"{sign} {label.removesuffix(' of contoso')}{f' ({", ".join(fields)})' if fields else ''}"
        for sign, label, fields in found.parts
    ]
    assert said == parts


def test_the_way_back_touches_the_same() -> None:
    for before, after, *_ in CHANGES.values():
        there, back = touched(resources(before), resources(after)), touched(resources(after), resources(before))
        assert (there.senders, there.recipients) == (back.senders, back.recipients)


HOOK = '[[organization.contoso.content_hook]]\nname = "av"\ntype = "clamav"\naddress = "127.0.0.1"\n'


@pytest.mark.parametrize(
    ("before", "after", "parts"),
    [
        (BASE, BASE + HOOK, ["+ content hook 'av' of contoso"]),
        (BASE + HOOK, BASE, ["- content hook 'av' of contoso"]),
        (BASE + HOOK, BASE + HOOK + 'mode = "rehearse"', ["~ content hook 'av' of contoso"]),
        (BASE + HOOK, BASE + HOOK + 'comment = "x"', []),
    ],
)
def test_content_hooks_are_told_though_no_decision_can_be_made_anew(before: str, after: str, parts: list[str]) -> None:
    found = touched(resources(before), resources(after))
    assert [f"{sign} {label}" for sign, label, _ in found.parts] == parts
    assert found.content == bool(parts)
    assert not found.inbound
    assert not found.outbound
