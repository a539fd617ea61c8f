from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import dns.message
import dns.rdata
import dns.rrset
import pytest
from dns.rdataclass import IN
from dns.rdatatype import TLSA
from hypothesis import given
from hypothesis import strategies as st

from gatepost.net.lookups.nameserver import Nameserver, NameserverFailed, _parse

A = {("a.example", "A"): ["192.0.2.1"]}


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 53),
        ("192.0.2.1:5353", "192.0.2.1", 5353),
        ("2001:DB8::1", "2001:db8::1", 53),
        ("[2001:db8::1]", "2001:db8::1", 53),
        ("[2001:db8::1]:5353", "2001:db8::1", 5353),
    ],
)
def test_parse(text: str, host: str, port: int) -> None:
    assert Nameserver.parse(text) == Nameserver(host, port)


@pytest.mark.parametrize(
    "text", ["", "ns.example", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "[::1]:x", "[::1]53x"]
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any reason will do
        Nameserver.parse(text)


@pytest.mark.parametrize(
    ("text", "loopback"), [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("192.0.2.1", False)]
)
def test_loopback(text: str, loopback: bool) -> None:
    assert Nameserver.parse(text).loopback is loopback


def ask(serving: Any, timeout: float = 20.0) -> tuple[dns.message.Message, list[str]]:
    async def run() -> tuple[dns.message.Message, list[str]]:
        async with serving as double:
            answer = await Nameserver("127.0.0.1", double.port).ask(dns.message.make_query("a.example", "A"), timeout)
            return answer, [transport for _, _, transport in double.asked]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("behaviour", "transports"),
    [
        ("", ["udp"]),
        ("truncated", ["udp", "tcp"]),
        ("foreign", ["udp"]),
        ("junk", ["udp"]),
        ("other-question", ["udp"]),
    ],
)
def test_the_true_answer_is_found(nameserver: Callable[..., Any], behaviour: str, transports: list[str]) -> None:
    answer, used = ask(nameserver(A, {"a.example": behaviour}))
    assert [record.to_text() for record in answer.answer[0]] == ["192.0.2.1"]
    assert used == transports


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("silent", "did not answer within 0.2 s"),
        ("tcp-closes", "closed the connection"),
        ("tcp-junk", "not an answer to the question"),
        ("tcp-truncated", "over TCP that is cut off"),
    ],
)
def test_failures(nameserver: Callable[..., Any], behaviour: str, reason: str) -> None:
    with pytest.raises(NameserverFailed, match=reason):
        ask(nameserver(A, {"a.example": behaviour}), 0.2 if behaviour == "silent" else 5)


def test_an_answer_of_thousands_of_records_is_not_read(nameserver: Callable[..., Any]) -> None:
    table = {("a.example", "A"): [f"192.{number >> 8}.{number & 255}.1" for number in range(2000)]}
    with pytest.raises(NameserverFailed, match="sent an answer of 2000 records, more than the 1500 that are read"):
        ask(nameserver(table, {"a.example": "truncated"}))


def test_nobody_listens() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    started = asyncio.run(_refused(port))
    assert started < 1.0


async def _refused(port: int) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(NameserverFailed, match=r"\[127\.0\.0\.1\]:\d+ cannot be reached: Connection refused"):
        await Nameserver("127.0.0.1", port).ask(dns.message.make_query("a.example", "A"), 5.0)
    return loop.time() - began


@given(st.data())
def test_a_damaged_answer_about_tlsa_is_none_or_read(data: st.DataObject) -> None:
    query = dns.message.make_query("_25._tcp.mx.example", "TLSA", id=1)
    answer = dns.message.make_response(query)
    records = [dns.rdata.GenericRdata(IN, TLSA, octets) for octets in (b"", b"\x03\x01", b"\x03\x01\x01" + b"x" * 32)]
    answer.answer.append(dns.rrset.from_rdata(query.question[0].name, 60, *records))
    wire = bytearray(answer.to_wire())
    for _ in range(data.draw(st.integers(0, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    found = _parse(query, bytes(wire[: data.draw(st.integers(len(wire) // 2, len(wire)))]))
    assert found is None or found.id == 1
