from __future__ import annotations

import pytest

from gatepost.net.stream import NOWHERE, Endpoint, endpoint


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("192.0.2.1", 25), Endpoint("192.0.2.1", 25)),
        (("2001:db8::1", 587, 0, 0), Endpoint("2001:db8::1", 587)),
        (("fe80::1%eth0", 25, 0, 2), Endpoint("fe80::1", 25)),
    ],
)
def test_an_endpoint_is_an_address_without_its_zone_and_a_port(address: object, expected: Endpoint) -> None:
    assert endpoint(address) == expected


@pytest.mark.parametrize("address", ["", "/run/socket", None, ()])
def test_what_has_no_ip_address_is_nowhere(address: object) -> None:
    assert endpoint(address) is NOWHERE
