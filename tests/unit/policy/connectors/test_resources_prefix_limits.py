from __future__ import annotations

from gatepost.policy.connectors.resources import PrefixLimits


def test_the_defaults_are_exchanges_and_the_like_in_ipv6() -> None:
    assert PrefixLimits() == PrefixLimits(ipv4=24, ipv6=48)
