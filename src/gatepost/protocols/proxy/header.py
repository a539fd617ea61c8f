"""The header of the PROXY protocol, versions 1 and 2, read as its octets arrive (HAProxy's proxy-protocol.txt).

Fed by `net.proxy_header`, which knows who may send one. What it says of TLS is the proxy's word: it is kept for the
trace and decides nothing.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

V1_OCTETS: Final = 107
"""The longest header of version 1 (section 2.1)."""
V2_OCTETS: Final = 4096
"""The most behind the first 16 octets of version 2 that is read; the specification would let a proxy send 65535."""

_V1_START: Final = b"PROXY "
_V2_START: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED: Final = 16
_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED, _TCP4, _TCP6 = 0x00, 0x11, 0x21
_ADDRESSES: Final = {_TCP4: struct.Struct("!4s4sHH"), _TCP6: struct.Struct("!16s16sHH")}
_TLV_TLS: Final = 0x20
_TLS_TEXTS: Final = {0x21: "version", 0x22: "common_name", 0x23: "suite", 0x24: "signature", 0x25: "key"}
_CLIENT_TLS, _CLIENT_CERTIFICATE = 0x01, 0x02 | 0x04  # on this connection, or in the session that it resumes
_TEXT: Final = 256  # characters of one text that is kept
_NOTHING: Mapping[str, str] = MappingProxyType({})


class ProxyHeaderError(ValueError):
    """The octets are no header of the PROXY protocol, or one that must not be believed; says why, for the log."""


class ProxyHeader(msgspec.Struct, frozen=True):
    """The client that a proxy speaks for.

    host: its address in text form, an IPv4 one also where it was wrapped up in IPv6; "" where the connection is the
    proxy's own (LOCAL, UNKNOWN), as for its health checks. port: 0 then. tls: what the proxy says of the client's TLS
    session with it, "version", "suite", "common_name" and such; {} where it says nothing.
    """

    host: str
    port: int
    tls: Mapping[str, str] = _NOTHING


class HeaderReader:
    """Reads one header from the beginning of a connection. rest: what stood behind it."""

    __slots__ = ("_octets", "rest")

    def __init__(self) -> None:
        self._octets = b""
        self.rest = b""

    def feed(self, data: bytes) -> ProxyHeader | None:
        """Take octets; the header once it is whole, None before. Raises ProxyHeaderError if it cannot be one."""
        self._octets += data
        octets = self._octets
        if octets.startswith(_V1_START[: len(octets)]):
            return self._version_1(octets)
        if octets.startswith(_V2_START[: len(octets)]):
            return self._version_2(octets)
        raise ProxyHeaderError("it does not begin with a PROXY header")

    def _version_1(self, octets: bytes) -> ProxyHeader | None:
        line, end, self.rest = octets.partition(b"\r\n")
        if len(line) + 2 > V1_OCTETS:
            raise ProxyHeaderError(f"its PROXY header is longer than {V1_OCTETS} octets")
        return _read_line(line) if end else None

    def _version_2(self, octets: bytes) -> ProxyHeader | None:
        if len(octets) < _V2_FIXED:
            return None
        command, family, length = struct.unpack_from("!BBH", octets, len(_V2_START))
        if command not in {_LOCAL, _PROXY}:
            raise ProxyHeaderError(f"its PROXY header has version and command {command:#04x}, which are not known")
        if length > V2_OCTETS:
            raise ProxyHeaderError(
                f"its PROXY header announces {length} octets, more than the {V2_OCTETS} that are read"
            )
        end = _V2_FIXED + length
        if len(octets) < end:
            return None
        self.rest = octets[end:]
        return _read_binary(family, octets[_V2_FIXED:end]) if command == _PROXY else ProxyHeader("", 0)


def _read_line(line: bytes) -> ProxyHeader:
    """A header of version 1, without its CRLF."""
    words = line.split(b" ")
    if words[1] == b"UNKNOWN":
        return ProxyHeader("", 0)
    version = {b"TCP4": 4, b"TCP6": 6}.get(words[1])
    if version is None or len(words) != 6:
        raise ProxyHeaderError("its PROXY header names no TCP4 or TCP6 addresses and ports")
    source, _ = (_address(word, version) for word in words[2:4])
    port, _ = map(_port, words[4:])
    return ProxyHeader(source, port)


def _address(word: bytes, version: int) -> str:
    try:
        address = ipaddress.ip_address(word.decode("ascii"))
    except ValueError:
        raise ProxyHeaderError("its PROXY header has an address that is none") from None
    if address.version != version:
        raise ProxyHeaderError("its PROXY header has an address of the other family")
    return _plain(address)


def _port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or int(word) > 65535 or word != b"%d" % int(word):
        raise ProxyHeaderError("its PROXY header has a port that is none")
    return int(word)


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """An IPv4 address as it is: HAProxy wraps it up in IPv6 where the two ends are of different families."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            raise ProxyHeaderError("its PROXY header has an address with a zone")
        return str(address.ipv4_mapped or address)
    return str(address)


def _read_binary(family: int, octets: bytes) -> ProxyHeader:
    """The addresses and what follows them in version 2."""
    if family == _UNSPECIFIED:
        return ProxyHeader("", 0)
    form = _ADDRESSES.get(family)
    if form is None:
        raise ProxyHeaderError(f"its PROXY header has the family {family:#04x}, which is no TCP")
    if len(octets) < form.size:
        raise ProxyHeaderError("its PROXY header is too short for its addresses")
    source, _, port, _ = form.unpack_from(octets)
    tls: Mapping[str, str] = _NOTHING
    for kind, value in _tlvs(octets[form.size :]):
        if kind == _TLV_TLS:
            tls = _read_tls(value)
    return ProxyHeader(_plain(ipaddress.ip_address(source)), port, tls)


def _tlvs(octets: bytes) -> Iterator[tuple[int, bytes]]:
    while octets:
        if len(octets) < 3 or len(octets) < (end := 3 + int.from_bytes(octets[1:3])):
            raise ProxyHeaderError("its PROXY header has a field that is cut off")
        yield octets[0], octets[3:end]
        octets = octets[end:]


def _read_tls(value: bytes) -> Mapping[str, str]:
    """PP2_TYPE_SSL (section 2.2.6), as plain texts."""
    if len(value) < 5:
        raise ProxyHeaderError("its PROXY header has a field about TLS that is cut off")
    client, verified = value[0], int.from_bytes(value[1:5]) == 0
    if not client & _CLIENT_TLS:
        return _NOTHING
    texts = {_TLS_TEXTS[kind]: _text(octets) for kind, octets in _tlvs(value[5:]) if kind in _TLS_TEXTS}
    if client & _CLIENT_CERTIFICATE:
        texts["certificate"] = "verified by the proxy" if verified else "not verified by the proxy"
    return texts


def _text(octets: bytes) -> str:
    """A text that the client may have chosen, as the trace and the log can bear it."""
    text = octets[:_TEXT].decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "?" for character in text)
