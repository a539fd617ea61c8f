from __future__ import annotations

import logging
import socket
import struct

import pytest

from gatepost.net import own_addresses as module
from gatepost.net.own_addresses import OwnAddresses, interface_addresses, reach_of_tenants
from gatepost.settings.model import Network, Server, Settings


def own(*listeners: tuple[str, int], named: tuple[str, ...] = (), interfaces: tuple[str, ...] = ()) -> OwnAddresses:
    return OwnAddresses(listeners, named, lambda: 0.0, lambda: frozenset(interfaces))


@pytest.mark.parametrize(
    ("address", "port", "expected"),
    [
        ("127.0.0.1", 25, True),
        ("::ffff:127.0.0.1", 25, True),
        ("127.0.0.1", 26, False),
        ("127.0.0.2", 25, False),
        ("::1", 25, False),
        ("192.0.2.9", 25, False),
    ],
)
def test_of_loopback_only_what_is_listened_on(address: str, port: int, expected: bool) -> None:
    assert own(("127.0.0.1", 25))(address, port) is expected


@pytest.mark.parametrize(
    ("listener", "address", "expected"),
    [
        (("0.0.0.0", 25), "127.0.0.2", True),
        (("0.0.0.0", 25), "::1", False),
        (("0.0.0.0", 2525), "127.0.0.2", False),
        (("::", 25), "::1", True),
        (("::", 25), "127.0.0.2", False),
    ],
)
def test_who_listens_everywhere_has_all_of_loopback(listener: tuple[str, int], address: str, expected: bool) -> None:
    assert own(listener)(address, 25) is expected


def test_addresses_of_interfaces_are_ours_whoever_listens_there() -> None:
    ours = own(interfaces=("192.0.2.1", "2001:db8::1", "127.0.0.1"))
    found = [ours(address, 25) for address in ("192.0.2.1", "2001:db8::1", "127.0.0.1", "192.0.2.2")]
    assert found == [True, True, False, False]


def test_addresses_that_an_administrator_names_are_ours() -> None:
    assert own(named=("198.51.100.1",))("198.51.100.1", 25)
    assert own()("0.0.0.0", 25)  # it leads to this machine


def test_interfaces_are_looked_at_again_and_what_was_found_outlives_a_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    answers: list[frozenset[str] | OSError] = [
        frozenset({"192.0.2.1"}),
        OSError("forbidden"),
        frozenset({"192.0.2.2"}),
    ]

    def list_them() -> frozenset[str]:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    ours = OwnAddresses((), (), lambda: now[0], list_them)
    assert ours("192.0.2.1", 25)
    now[0] = 59.0
    assert ours("192.0.2.1", 25)
    assert len(answers) == 2
    now[0] = 60.0
    with caplog.at_level(logging.WARNING):
        assert ours("192.0.2.1", 25)
    assert "cannot be listed" in caplog.text
    now[0] = 120.0
    assert not ours("192.0.2.1", 25)
    assert ours("192.0.2.2", 25)


def test_what_the_kernel_lists() -> None:
    found = interface_addresses()
    assert "127.0.0.1" in found
    for address in found:
        if "." in address:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind((address, 0))


def _message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value


HEAD = struct.pack("=BBBBI", socket.AF_INET, 32, 0, 0, 1)


def test_of_a_link_between_two_the_near_end_is_ours() -> None:
    near, far = socket.inet_aton("192.0.2.1"), socket.inet_aton("192.0.2.2")
    found: set[str] = set()
    assert module._read(_message(20, HEAD + _attribute(1, far) + _attribute(2, near)) + _message(99, b""), found)
    assert found == {"192.0.2.1"}
    assert not module._read(_message(3, b""), found)


@pytest.mark.parametrize(
    "body", [HEAD, HEAD + b"\0\0\0\0", struct.pack("=BBBBI", 99, 32, 0, 0, 1) + _attribute(1, b"1234")]
)
def test_what_names_no_address_is_passed_over(body: bytes) -> None:
    found: set[str] = set()
    assert module._read(_message(20, body), found)
    assert found == set()


@pytest.mark.parametrize("answer", [_message(2, b"1234"), struct.pack("=IHHII", 3, 20, 0, 1, 0)])
def test_a_refusal(answer: bytes) -> None:
    with pytest.raises(OSError, match="refused"):
        module._read(answer, set())


def test_tenants_reach_none_of_this_machine_but_by_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "interface_addresses", lambda: frozenset({"8.8.8.8", "9.9.9.9", "127.0.0.1"}))
    module._is_ours.cache_clear()
    server = Server(hostname="mx1.contoso.example", own_addresses=("1.1.1.1",))
    settings = Settings(server=server, network=Network(tenants_may_reach=("9.9.9.9",)))
    try:
        reach = reach_of_tenants(settings)
        found = [reach.allows(address) for address in ("8.8.8.8", "1.1.1.1", "9.9.9.9", "8.8.4.4", "127.0.0.1")]
    finally:
        module._is_ours.cache_clear()
    assert found == [False, False, True, True, False]
    assert reach_of_tenants(settings) == reach_of_tenants(settings), "clients are kept by it"
