"""What needs no lab, as `tests/system/test_check.py` has one: nameservers that do not answer, what cannot be read."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gatepost.analysis.checks.partner import BoundedRouter, Bounds, Checker
from gatepost.analysis.checks.partner_report import PartnerCheck
from gatepost.net.anchors import AnchorsError
from gatepost.net.lookups.mx import NotAllowed
from gatepost.policy.connectors.addresses import AddressPolicy
from gatepost.settings.model import Settings


def settings(nameserver: str, anchors: str) -> Settings:
    return Settings(
        server={"hostname": "check.example"},
        dns={"nameservers": [nameserver], "timeout": 0.2, "attempts": 1},
        tls={"trust_anchors": anchors},
    )


@pytest.fixture
def anchors(tmp_path: Path, authority: Any) -> str:
    file = tmp_path / "root.pem"
    file.write_bytes(authority.certificate_pem)
    return str(file)


@pytest.fixture
def dead() -> str:
    """A port of loopback at which nobody answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{bound.getsockname()[1]}"


def run(
    given: Settings, look: Callable[[Checker], Awaitable[PartnerCheck]], bounds: Bounds | None = None
) -> PartnerCheck:
    async def checked() -> PartnerCheck:
        checker = Checker(given, bounds or Bounds())
        try:
            return await look(checker)
        finally:
            await checker.close()

    return asyncio.run(checked())


def test_without_dns_nothing_is_told(dead: str, anchors: str) -> None:
    found = run(settings(dead, anchors), lambda checker: checker.partner("b.example"))
    assert found.outcome == "unknown"
    assert found.rows == ()
    found = run(settings(dead, anchors), lambda checker: checker.host("mx.b.example"))
    assert found.outcome == "unknown"
    assert found.seconds < 3


def test_a_host_that_is_not_done_in_time_is_unknown(dead: str, anchors: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        found = run(settings(dead, anchors), lambda checker: checker.host("127.0.0.1", port), Bounds(whole=0.3))
    assert found.target == f"127.0.0.1:{port}"
    assert found.outcome == "unknown"
    assert "did not end within 0.3 s" in found.rows[0].findings[1].text
    assert found.seconds < 3


def test_an_ipv6_address_is_written_as_one(dead: str, anchors: str) -> None:
    with socket.socket(socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET) as closed:
        closed.bind(("::1" if socket.has_ipv6 else "127.0.0.1", 0))
        port = closed.getsockname()[1]
    found = run(settings(dead, anchors), lambda checker: checker.host("::1", port))
    assert found.target == f"[::1]:{port}"
    assert found.outcome in {"hold", "unknown"}


def test_what_cannot_be_read_is_said_at_once(dead: str, anchors: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    with pytest.raises(AnchorsError, match=r"empty\.pem"):
        run(settings(dead, str(empty)), lambda checker: checker.host("127.0.0.1"))


class Nothing:
    """Nobody is asked about an address."""

    async def query(self, name, rdtype):
        raise AssertionError(name, rdtype)


def addresses(address, *networks):
    router = BoundedRouter(Nothing(), random, AddressPolicy.of(networks))
    return asyncio.run(router.addresses(address)).addresses


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1"])
def test_what_is_inside_is_not_looked_at(address):
    with pytest.raises(NotAllowed) as refused:
        addresses(address, "192.168.0.0/16")
    assert refused.value.temporary  # the owner may give leave


@pytest.mark.parametrize("address", ["192.88.98.1", "8.8.8.8", "2a00::1", "10.1.2.3"])
def test_what_is_allowed_is(address):
    assert addresses(address, "10.0.0.0/8") == (address,)
