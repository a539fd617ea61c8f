from __future__ import annotations

import pytest

from gatepost.policy.connectors.network_set import NetworkSet

SET = NetworkSet.of(["192.0.2.0/24", "198.51.100.7", "2001:db8::/48", "fe80::1"])


@pytest.mark.parametrize(
    "address", ["192.0.2.255", "198.51.100.7", "::ffff:198.51.100.7", "2001:db8:0:9::1", "fe80::1"]
)
def test_it_holds_addresses_of_both_families(address: str) -> None:
    assert address in SET


@pytest.mark.parametrize("address", ["192.0.3.1", "198.51.100.8", "2001:db8:1::1", "", "mx.example", 7])
def test_it_holds_nothing_else(address: object) -> None:
    assert address not in SET


def test_it_may_be_empty() -> None:
    assert SET
    assert not NetworkSet.of(())
    assert "192.0.2.1" not in NetworkSet.of(())


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="is not an address or a network"):
        NetworkSet.of(["mx.example"])
