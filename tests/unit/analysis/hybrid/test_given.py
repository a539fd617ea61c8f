from __future__ import annotations

import pytest


def domains(*names):
    return [{"name": name, "type": "internal-relay"} for name in names]


@pytest.mark.parametrize(
    ("accepted", "host", "name"),
    [
        (["contoso.example"], "ex1.contoso.example", "*.contoso.example"),
        (["contoso.example", "hq.contoso.example"], "ex1.hq.contoso.example", "*.hq.contoso.example"),
        (["*.contoso.example"], "ex1.contoso.example", "ex1.contoso.example"),
        (["contoso.example", "ex1.contoso.example"], "ex1.contoso.example", "ex1.contoso.example"),
        (["contoso.example"], "ex1.hosting.example", "ex1.hosting.example"),
        (["contoso.example"], "ex1.notcontoso.example", "ex1.notcontoso.example"),
    ],
)
def test_the_connector_is_to_name_what_the_organization_owns(given, accepted, host, name):
    assert given(accepted=domains(*accepted), exchange_host=host).name_for_connector == name


def test_a_mailbox_keeps_the_routing_address_that_it_has(given):
    boxes = [
        {"address": "ann@contoso.example", "aliases": ["a@gate.example"]},
        {"address": "Bob@contoso.example"},
        {"address": "eve@gate.example"},
    ]
    pair = given(accepted=domains("contoso.example", "gate.example"), mailboxes=boxes, routing_domain="gate.example")
    assert [box.address for box in pair.shared_mailboxes] == ["ann@contoso.example", "Bob@contoso.example"]
    addresses = [pair.routing_address(box) for box in pair.organization.mailboxes]
    assert addresses == ["a@gate.example", "Bob@gate.example", "eve@gate.example"]


@pytest.mark.parametrize(("now", "valid"), [(-1.0, False), (0.0, True), (1.9, True), (2.0, False)])
def test_a_certificate_has_its_time(given, leaf, now, valid):
    assert given(now=now).is_valid(leaf("a.example")) is valid
