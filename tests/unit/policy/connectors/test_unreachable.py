from __future__ import annotations

from gatepost.policy.connectors.addresses import AddressPolicy
from gatepost.policy.connectors.grants import mark
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.unreachable import unreachable

HOSTS = ["10.0.0.1:26", "[::1]:25", "192.0.2.256.example", "10.20.0.1", "8.8.8.8"]
PARTS = {
    "accepted_domain": [{"name": "a.example"}],
    "mailbox": [
        {"address": "ann@a.example", "delivery": "lmtp:10.0.0.2:24"},
        {"address": "bob@a.example", "delivery": "lmtp:unix:/run/lmtp"},
    ],
    "outbound_connector": [{"name": "out", "recipient_domains": ["b.example"], "smart_hosts": HOSTS}],
    "oauth_issuer": [{"name": "idp", "issuer": "https://10.0.0.3", "audiences": ["x"]}],
    "content_hook": [{"name": "av", "type": "clamav", "address": "127.0.0.1:3310"}],
}


def test_addresses_that_are_not_reached_are_told():
    resources = mark(parse({"organization": {"contoso": PARTS}}), {"contoso": {"granted": []}})
    found = list(unreachable(resources, AddressPolicy.of(["10.20.0.0/16"])))
    assert [text.partition(" will not be reached: ")[2].split()[0] for text in found] == [
        "10.0.0.2", "10.0.0.1", "::1", "10.0.0.3", "127.0.0.1",
    ]  # fmt: skip
    assert all("tenants_may_reach" in text for text in found)
    assert "smart_hosts of the outbound connector 'out' of contoso" in found[1]


def test_what_the_owner_wrote_is_reached():
    assert list(unreachable(parse({"organization": {"contoso": PARTS}}), AddressPolicy())) == []
