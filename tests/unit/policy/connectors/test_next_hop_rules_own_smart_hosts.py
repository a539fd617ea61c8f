from __future__ import annotations

import pytest

from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.next_hop_rules import Listeners, own_smart_hosts

LISTENERS = Listeners(
    (
        *("0.0.0.0:25", "192.0.2.1:587", "[2001:db8::1]:25", "127.0.0.1:2525"),
        *("[::]:2526", "localhost:2527", "mx.gate.example:2528"),
    ),
    "gate.example",
    ("198.51.100.1",),
    ("127.0.0.1", "203.0.113.7", "2001:db8::7"),
)


def resources(*hosts, **fields):
    connector = {"name": "out", "recipient_domains": ["*"], "smart_hosts": list(hosts), **fields}
    return parse({"organization": {"contoso": {"outbound_connector": [connector]}}})


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("gate.example", True),
        ("gate.example:587", True),
        ("gate.example:26", False),
        ("other.example", False),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("127.0.0.1:2525", True),
        ("127.0.0.2:2525", False),
        ("127.0.0.1:587", False),
        ("192.0.2.1:587", True),
        ("192.0.2.1", False),  # nobody says that an interface has it
        ("198.51.100.1", True),
        ("203.0.113.7", True),
        ("203.0.113.7:587", False),
        ("203.0.113.7:2526", False),
        ("[2001:DB8:0::7]:2526", True),
        ("[2001:db8::7]:25", False),
        ("[2001:db8::1]:25", True),
        ("[2001:db8::2]:25", False),
        ("[::1]:25", False),
        ("localhost", True),
        ("LOCALHOST:2525", True),
        ("localhost:587", False),
        ("localhost:26", False),
        ("localhost:2526", True),
        ("[::1]:2526", True),
        ("127.0.0.1:2526", False),
        ("localhost:2527", True),
        ("[::1]:2527", True),
        ("127.0.0.1:2527", True),
        ("192.0.2.1:2527", False),
        ("mx.gate.example:2528", True),
        ("192.0.2.1:2528", False),  # what the name leads to is known when it is bound
    ],
)
def test_a_smart_host_that_is_the_gateway_itself(host, ours):
    found = list(own_smart_hosts(resources("relay.example", host), LISTENERS))
    assert len(found) == ours
    if ours:
        assert found[0].startswith("outbound connector 'out' of contoso: the smart host ")
        assert found[0].endswith("name the server that should receive it")


def test_a_disabled_connector_sends_nothing_back():
    assert list(own_smart_hosts(resources("gate.example", enabled=False), LISTENERS)) == []
