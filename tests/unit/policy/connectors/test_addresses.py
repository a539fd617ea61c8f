from __future__ import annotations

from ipaddress import ip_network

import pytest

from gatepost.policy.connectors.addresses import PUBLIC_ADDRESSES, AddressPolicy, is_public, not_allowed

INSIDE = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.1.1", "224.0.0.1",
    "240.0.0.1", "255.255.255.255", "::", "::1", "::10.0.0.1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%1",
    "ff02::1", "2001:db8::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:10.0.0.1",
    "64:ff9b::10.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b:1::8.8.8.8",
    "168.63.129.16", "::ffff:168.63.129.16",
    "2002:0a00:0001::1", "2002:7f00:0001::", "2002:a9fe:a9fe::1",
]  # fmt: skip
OUTSIDE = ["8.8.8.8", "192.88.98.1", "2a00::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:0808:0808::1"]


@pytest.mark.parametrize("address", INSIDE)
def test_what_is_inside_is_not_allowed(address):
    assert not PUBLIC_ADDRESSES.allows(address)
    assert not is_public(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_what_is_public_is_allowed(address):
    assert PUBLIC_ADDRESSES.allows(address)
    assert is_public(address)


@pytest.mark.parametrize("text", ["/run/docker.sock", "", "localhost", "10.0.0.1:25", "0x7f000001", "127.1"])
def test_what_is_no_address_is_not_allowed(text):
    assert not AddressPolicy.of(["0.0.0.0/0", "::/0"]).allows(text)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.20.1.1", True),
        ("::ffff:10.20.1.1", True),  # the very same host
        ("64:ff9b::10.20.1.1", True),
        ("10.21.1.1", False),
        ("fd00::1", True),
        ("fd01::1", False),
        ("127.0.0.1", False),
        ("8.8.8.8", True),
    ],
)
def test_leave_is_by_network(address, expected):
    assert AddressPolicy.of(["10.20.0.0/16", "fd00::/32"]).allows(address) is expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", False),
        ("::ffff:8.8.8.8", False),
        ("64:ff9b::8.8.8.8", False),
        ("2a00::1", False),
        ("9.9.9.9", True),  # ours, with leave
        ("8.8.4.4", True),
        ("10.0.0.1", False),
    ],
)
def test_our_own_addresses_need_leave(address, expected):
    ours = {"8.8.8.8", "2a00::1", "9.9.9.9"}
    policy = AddressPolicy((ip_network("9.9.9.9/32"),), is_ours=ours.__contains__)
    assert policy.allows(address) is expected


def test_the_reason_names_the_setting_and_no_address():
    assert "[network] tenants_may_reach" in not_allowed("mx.b.example")
