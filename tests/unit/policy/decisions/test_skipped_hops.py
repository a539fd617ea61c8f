from __future__ import annotations

from collections.abc import Callable

import pytest

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.facts import Introduction, SessionFacts, Teller
from gatepost.policy.decisions.skipped_hops import skip_hops

FILTER = "198.51.100.7"
TEXT = """
[[organization.o.accepted_domain]]
name = "o.example"
[[organization.o.inbound_connector]]
name = "filter"
sender_domains = ["*"]
sender_ip_addresses = ["198.51.100.7"]
"""
LAST, HOPS = "ef_skip_last_ip = true", 'ef_skip_ips = ["198.51.100.0/24", "2001:db8:f::/48"]'


@pytest.mark.parametrize(
    ("field", "addresses", "client"),
    [
        (LAST, ["9.9.9.9", "8.8.8.8"], "9.9.9.9"),
        (LAST, ["10.0.0.1", "8.8.8.8"], "10.0.0.1"),
        (LAST, [], ""),
        (HOPS, ["9.9.9.9", "8.8.8.8"], "9.9.9.9"),
        (HOPS, ["198.51.100.8", "10.0.0.1", "2001:db8:f::1", "9.9.9.9", "8.8.8.8"], "9.9.9.9"),
        (HOPS, ["198.51.100.8", "127.0.0.1"], ""),
        (HOPS, [], ""),
    ],
)
def test_the_first_hop_that_is_not_skipped_is_the_client(
    directory: Callable[[str], Directory], field: str, addresses: list[str], client: str
) -> None:
    (entry,) = directory(TEXT + field).filters("o")
    facts = SessionFacts("s1", FILTER, "filter.example")
    found = skip_hops(facts, entry.connector, addresses)
    if not client:
        assert found is facts
        return
    assert (found.peer_ip, found.introduction) == (client, Introduction(Teller.RECEIVED, FILTER))
    assert (found.connection_ip, found.hello) == (FILTER, "filter.example")
