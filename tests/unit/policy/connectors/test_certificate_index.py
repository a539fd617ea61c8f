from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatepost.policy.connectors.certificate_index import CertificateIndex
from gatepost.policy.connectors.directory import Directory
from gatepost.protocols.tls.facts import CertificateFacts

Leaf = Callable[..., CertificateFacts]
Build = Callable[[str], Directory]


def connectors(organization: str, names: list[str], *, anchors: str = "/{}.pem", more: str = "") -> str:
    """One for each name, with trust anchors of its own."""
    return f"[organization.{organization}]\n" + "".join(
        f"[[organization.{organization}.inbound_connector]]\n"
        f'name = "c{number:02}"\nconnector_type = "on-premises"\ntls_sender_certificate_name = "{name}"\n'
        f'trust_anchors = "{anchors.format(number)}"\n{more}\n'
        for number, name in enumerate(names)
    )


def test_of_few_all_are_asked_whatever_the_certificate(directory: Build, leaf: Leaf) -> None:
    index = directory(connectors("a", [f"mx{number}.example" for number in range(20)]))
    expected = {f"/{number}.pem" for number in range(20)}
    assert index.client_anchors(leaf("elsewhere.test")) == index.client_anchors(None) == expected


def test_of_many_those_of_connectors_that_may_know_it(directory: Build, leaf: Leaf) -> None:
    names = [f"mx{number}.a.example" for number in range(29)] + ["*.b.example"]
    index = directory(connectors("a", names))
    assert index.client_anchors(leaf("elsewhere.test")) == index.client_anchors(None) == frozenset()
    assert index.client_anchors(leaf("mx7.a.example", "mx.b.example")) == {"/7.pem", "/29.pem"}
    assert index.client_anchors(leaf("*.a.example")) == {f"/{number}.pem" for number in range(10)}


def test_a_name_in_the_cn_alone_is_none_unless_a_connector_says_so(directory: Build, leaf: Leaf) -> None:
    named = leaf(common_name="mx7.example")
    names = [f"mx{number}.example" for number in range(30)]
    assert directory(connectors("a", names)).client_anchors(named) == frozenset()
    assert directory(connectors("a", names, more="match_common_name = true")).client_anchors(named) == {"/7.pem"}


def test_no_organization_makes_anybodys_handshake_long(directory: Build, leaf: Leaf) -> None:
    many = connectors("a", ["mx.partner.example"] * 500, anchors="/a{}.pem")
    few = connectors("b", ["mx.partner.example"], anchors="/b{}.pem")
    expected = {f"/a{number}.pem" for number in range(10)} | {"/b0.pem"}
    assert directory(many + few).client_anchors(leaf("mx.partner.example")) == expected


@pytest.mark.parametrize("without", [{}, {"tls_sender_certificate_name": None}])
def test_without_a_name_nothing_is_found(directory: Build, leaf: Leaf, without: dict[str, Any]) -> None:
    index = CertificateIndex()
    if without:
        text = connectors("a", ["x.example"]).replace('tls_sender_certificate_name = "x.example"', "")
        text = text.replace('trust_anchors = "/0.pem"', 'sender_ip_addresses = ["192.0.2.1"]')
        built = directory(text)
        (organization,) = built.organizations
        index.add(built.entry(organization, organization.inbound_connectors[0]))
    assert index.find(leaf("x.example")) == []
