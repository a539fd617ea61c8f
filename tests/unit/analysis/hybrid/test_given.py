from __future__ import annotations

import pytest

from gatepost.pki.certificates.entry import CertificateRequestSpec, PendingRequest, Purpose


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


def test_the_newest_request_for_its_name_waits(given):
    def request(number, name="mx1.contoso.example", **fields):
        return PendingRequest(number * 16, CertificateRequestSpec((name,), **fields), float(number))

    client = {"purpose": Purpose.CLIENT, "organization": "contoso", "label": "hybrid"}
    waiting = [request("2"), request("1"), request("3", "other.example"), request("4", **client)]
    known = given(hostname="mx1.contoso.example", requests=waiting)
    assert known.request_for(Purpose.SERVER) == waiting[0]
    assert known.request_for(Purpose.CLIENT, "hybrid") == waiting[3]
    assert known.request_for(Purpose.CLIENT, "else") is None
