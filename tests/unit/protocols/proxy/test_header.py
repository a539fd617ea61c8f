from __future__ import annotations

import contextlib
import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.proxy.header import V2_OCTETS, HeaderReader, ProxyHeader, ProxyHeaderError

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = ipaddress.ip_address("192.0.2.7").packed + ipaddress.ip_address("192.0.2.25").packed + struct.pack("!HH", 4711, 25)
V6 = (
    ipaddress.ip_address("2001:db8::7").packed
    + ipaddress.ip_address("2001:db8::25").packed
    + struct.pack("!HH", 4711, 25)
)
MAPPED = ipaddress.ip_address("::ffff:192.0.2.7").packed + V6[16:]


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + struct.pack("!H", len(value)) + value


def binary(payload: bytes = V4, *, command: int = 0x21, family: int = 0x11) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(payload)) + payload


def tls(client: int, verify: int, *tlvs: bytes) -> bytes:
    return tlv(0x20, bytes([client]) + struct.pack("!I", verify) + b"".join(tlvs))


def read(octets: bytes) -> tuple[ProxyHeader | None, bytes]:
    reader = HeaderReader()
    return reader.feed(octets), reader.rest


HEADERS = [
    (b"PROXY TCP4 192.0.2.7 192.0.2.25 4711 25\r\n", "192.0.2.7", 4711),
    (b"PROXY TCP6 2001:db8::7 2001:db8::25 65535 0\r\n", "2001:db8::7", 65535),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 25\r\n", "192.0.2.7", 1),
    (b"PROXY TCP6 ::1 ::1 1 25\r\n", "::1", 1),
    (b"PROXY UNKNOWN\r\n", "", 0),
    (b"PROXY UNKNOWN ffff:f:f:f:f:f:f:ffff ffff:f:f:f:f:f:f:ffff 65535 65535\r\n", "", 0),
    (binary(), "192.0.2.7", 4711),
    (binary(V6, family=0x21), "2001:db8::7", 4711),
    (binary(MAPPED, family=0x21), "192.0.2.7", 4711),
    (binary(V4 + tlv(0x04, b"abc") + tlv(0x03, b"\0\0\0\0")), "192.0.2.7", 4711),
    (binary(b"", command=0x20, family=0), "", 0),
    (binary(command=0x20), "", 0),
    (binary(b"", family=0), "", 0),
]


@pytest.mark.parametrize(("octets", "host", "port"), HEADERS)
def test_a_header_names_the_client_and_leaves_what_follows(octets: bytes, host: str, port: int) -> None:
    header, rest = read(octets + b"EHLO x\r\n")
    assert header == ProxyHeader(host, port)
    assert rest == b"EHLO x\r\n"


@pytest.mark.parametrize(("octets", "host", "port"), HEADERS)
def test_an_octet_at_a_time_is_the_same(octets: bytes, host: str, port: int) -> None:
    reader = HeaderReader()
    assert [reader.feed(octets[place : place + 1]) for place in range(len(octets) - 1)] == [None] * (len(octets) - 1)
    assert reader.feed(octets[-1:]) == ProxyHeader(host, port)
    assert reader.rest == b""


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"E", "does not begin"),
        (b"PROXX", "does not begin"),
        (b"\r\nQ", "does not begin"),
        (b"PROXY \r\n", "names no TCP4"),
        (b"PROXY TCP5 192.0.2.7 192.0.2.25 1 2\r\n", "names no TCP4"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.25 1\r\n", "names no TCP4"),
        (b"PROXY TCP4 192.0.2.7  192.0.2.25 1 2\r\n", "names no TCP4"),
        (b"PROXY TCP4 192.0.2.256 192.0.2.25 1 2\r\n", "an address that is none"),
        (b"PROXY TCP4 \xff 192.0.2.25 1 2\r\n", "an address that is none"),
        (b"PROXY TCP4 2001:db8::1 192.0.2.25 1 2\r\n", "of the other family"),
        (b"PROXY TCP6 2001:db8::1 192.0.2.25 1 2\r\n", "of the other family"),
        (b"PROXY TCP6 fe80::1%lo ::1 1 2\r\n", "with a zone"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.25 65536 2\r\n", "a port that is none"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.25 01 2\r\n", "a port that is none"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.25 -1 2\r\n", "a port that is none"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.25 111111 2\r\n", "a port that is none"),
        (b"PROXY TCP4 " + b"1" * 96, "longer than 107"),
        (b"PROXY UNKNOWN" + b"x" * 93 + b"\r\n", "longer than 107"),
        (binary(command=0x11), "which are not known"),
        (binary(command=0x22), "which are not known"),
        (binary(family=0x12), "which is no TCP"),
        (binary(bytes(216), family=0x31), "which is no TCP"),
        (binary(V4[:-1]), "too short"),
        (binary(V4, family=0x21), "too short"),
        (binary(V4 + b"\x04\x00"), "a field that is cut off"),
        (binary(V4 + b"\x04\x00\x05abc"), "a field that is cut off"),
        (binary(V4 + tlv(0x20, b"\x01\0\0\0")), "about TLS that is cut off"),
        (binary(V4 + tls(1, 0, b"\x21\x00\x09x")), "a field that is cut off"),
        (SIGNATURE + struct.pack("!BBH", 0x21, 0x11, V2_OCTETS + 1), "announces 4097"),
    ],
)
def test_what_is_no_header_is_refused_as_soon_as_that_is_certain(octets: bytes, why: str) -> None:
    with pytest.raises(ProxyHeaderError, match=why):
        read(octets)


@pytest.mark.parametrize(
    ("field", "told"),
    [
        (tls(0, 1), {}),
        (tls(1, 1), {}),
        (
            tls(1, 0, tlv(0x21, b"TLSv1.3"), tlv(0x23, b"TLS_AES_256_GCM_SHA384"), tlv(0x99, b"?")),
            {"version": "TLSv1.3", "suite": "TLS_AES_256_GCM_SHA384"},
        ),
        (
            tls(7, 0, tlv(0x22, b"mail\r\n.example\xff")),
            {"common_name": "mail??.example\ufffd", "certificate": "verified by the proxy"},
        ),
        (tls(3, 18), {"certificate": "not verified by the proxy"}),
        (tls(5, 0, tlv(0x22, b"x" * 300)), {"common_name": "x" * 256, "certificate": "verified by the proxy"}),
    ],
)
def test_what_a_proxy_says_of_tls_is_kept_as_text(field: bytes, told: dict[str, str]) -> None:
    header, _ = read(binary(V4 + field))
    assert header is not None
    assert header.tls == told


@given(st.binary(max_size=300), st.booleans())
def test_nothing_that_arrives_raises_anything_else(octets: bytes, signed: bool) -> None:
    with contextlib.suppress(ProxyHeaderError):
        read((SIGNATURE if signed else b"PROXY ") + octets)
