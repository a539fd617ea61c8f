from __future__ import annotations

import pytest

from gatepost.manage.pages.connector_draft import SCENARIOS, need
from gatepost.policy.connectors.model import parse

RELAY = {"name": "relay.example", "type": "internal-relay"}
HQ = {"name": "hq", "connector_type": "on-premises", "smart_hosts": ["hq.example"]}
OWN = {"name": "own", "connector_type": "on-premises", "sender_ip_addresses": ["192.0.2.1"]}


def organization(**table):
    return parse({"organization": {"contoso": table}}).organizations[0]


@pytest.mark.parametrize(
    ("key", "table", "level", "said"),
    [
        ("to-partner", {}, "optional", "Without a connector"),
        ("from-partner", {}, "optional", "Without a connector"),
        ("to-own", {}, "not needed", "authoritative"),
        ("to-own", {"accepted_domain": [RELAY]}, "needed", "relay.example"),
        (
            "to-own",
            {"accepted_domain": [RELAY], "outbound_connector": [{**HQ, "all_accepted_domains": True}]},
            "optional",
            "already",
        ),
        (
            "to-own",
            {"accepted_domain": [RELAY], "outbound_connector": [{**HQ, "recipient_domains": ["relay.example"]}]},
            "optional",
            "already",
        ),
        (
            "to-own",
            {
                "accepted_domain": [RELAY],
                "outbound_connector": [{**HQ, "all_accepted_domains": True, "enabled": False}],
            },
            "needed",
            "relay.example",
        ),
        ("from-own", {}, "needed", "relays nothing to other domains"),
        ("from-own", {"inbound_connector": [OWN]}, "optional", "already identify your servers: own"),
        ("from-own", {"inbound_connector": [{**OWN, "enabled": False}]}, "needed", "relays nothing to other domains"),
    ],
)
def test_it_says_whether_a_connector_is_needed(key, table, level, said):
    found = need(SCENARIOS[key], organization(**table))
    assert found.level == level
    assert said in found.why


def test_many_domains_are_told_in_few_words():
    domains = [{"name": f"d{number}.example", "type": "internal-relay"} for number in range(9)]
    assert "d2.example and 6 more" in need(SCENARIOS["to-own"], organization(accepted_domain=domains)).why


@pytest.mark.parametrize(
    ("key", "direction", "title"),
    [
        ("to-partner", "outbound", "This gateway → Partner organization"),
        ("from-own", "inbound", "Your organization's email server → This gateway"),
    ],
)
def test_a_scenario_knows_its_ends(key, direction, title):
    assert (SCENARIOS[key].direction, SCENARIOS[key].title) == (direction, title)
    assert ("routing" in SCENARIOS[key].steps) is (direction == "outbound")
