from __future__ import annotations

from gatepost.policy.connectors.authentication import Authentication
from gatepost.policy.connectors.fields import Access
from gatepost.policy.connectors.record_base import keys, owned_marker


def test_what_needs_the_owners_grant():
    markers = {name: owned_marker(info) for name, info in keys(Authentication).items()}
    found = {name: (marker.access("x"), marker.access("")) for name, marker in markers.items() if marker is not None}
    assert found == {"secret_file": (Access.MACHINE, None), "token_url": (Access.NETWORK, None)}


def test_no_secret_has_a_field():
    assert {"password", "secret", "client_secret"}.isdisjoint(keys(Authentication))
    assert Authentication(username="u", token_url="").token_url == ""
    assert Authentication(token_url="https://a.example/t").token_url == "https://a.example/t"
