from __future__ import annotations

import pytest

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.home import ALONE, INTERNAL_PORT, SITE_ANCHORS, Nodes, inside_profile
from gatepost.policy.decisions.requirement import INTERNAL_HOP, Identity
from gatepost.protocols.tls.profile import PROFILES, published

MX1, MX2 = "mx1.a.example", "mx2.a.example"
HOMES = Directory(parse({"organization": {"here": {"home": "MX1.a.example"}, "there": {"home": MX2}, "nowhere": {}}}))


def test_who_lives_elsewhere() -> None:
    assert Nodes(MX1).away(HOMES) == {"there": MX2}
    assert Nodes(MX2).away(HOMES) == {"here": MX1}
    assert ALONE.away(HOMES) == {}
    there = HOMES.organization("there")
    assert there is not None
    assert (Nodes(MX1).elsewhere(there), Nodes(MX2).elsewhere(there), ALONE.elsewhere(there)) == (MX2, "", "")


def test_who_lives_on_a_node_of_the_same_store_lives_here() -> None:
    assert Nodes(MX1, "a-site", sharing=frozenset({MX1, MX2})).away(HOMES) == {}
    assert Nodes(MX1, "a-site", sharing=frozenset({MX1, "mx3.a.example"})).away(HOMES) == {"there": MX2}


def test_a_node_is_found_by_its_name_unless_somebody_says_otherwise() -> None:
    nodes = Nodes(MX1, "a-site", {MX2: ("192.0.2.2", 26)})
    assert nodes.place(MX2) == ("192.0.2.2", 26)
    assert nodes.place("mx3.a.example") == ("mx3.a.example", INTERNAL_PORT)


def test_nodes_of_its_store_stand_in_for_a_node() -> None:
    nodes = Nodes(MX1, "a-site", stand_ins={MX2: ("mx3.a.example", "mx4.a.example")})
    assert nodes.homes(MX2) == (MX2, "mx3.a.example", "mx4.a.example")
    assert nodes.homes("mx3.a.example") == ("mx3.a.example",)


def test_of_nodes_that_are_known_those_that_were_removed_are_none() -> None:
    nodes = Nodes(MX1, "a-site", stand_ins={MX2: ("mx3.a.example",)}, members={MX1: 1.0, "mx3.a.example": 2.0})
    assert nodes.homes(MX2) == ("mx3.a.example",)
    assert nodes.homes("mx4.a.example") == ()
    (proof,) = nodes.requirement("mx3.a.example", "default").proofs
    assert proof == Identity(("spiffe://a-site/node/mx3.a.example",), SITE_ANCHORS, since=2.0)


def test_a_node_must_prove_its_uri_by_the_roots_of_the_site() -> None:
    asked = Nodes(MX1, "a-site").requirement(MX2, "compatible")
    assert asked.sources == (INTERNAL_HOP,)
    assert asked.proofs == (Identity((f"spiffe://a-site/node/{MX2}",), SITE_ANCHORS),)


@pytest.mark.parametrize("profile", list(PROFILES))
def test_inside_there_is_no_profile_without_forward_secrecy(profile: str) -> None:
    inside = PROFILES[inside_profile(profile)]
    assert inside.min_version >= "TLSv1.2"
    assert all(suite.forward_secrecy for suite in published(inside))
    assert inside_profile(profile) == ("modern" if profile == "modern" else "default")
