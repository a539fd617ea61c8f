"""Find the signature scheme of a server's certificate in a handshake, from the ClientHello it answers.

A server signs with the first scheme of its own order that the client offers and that the key can do (RFC 8446 section
4.2.3, RFC 5246 section 7.4.1.4.1; server order is always on here). So the fact follows from bytes that `net.engine`
holds, without watching every record: that would cost a tenth of the handshake and a microsecond a record for ever
after.

The header of a TLS record says whether more is to come (RFC 8446 section 5.1).
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

_HANDSHAKE: Final = 22
_HEADER: Final = 5
_MAX_PLAINTEXT: Final = 16384


def may_go_on(stream: bytes) -> bool:
    """Whether `stream` may be the beginning of a handshake record that is not whole yet.

    False as soon as a TLS library would refuse it, so that the peer gets its alert at once.
    """
    if len(stream) < _HEADER:
        return not stream or stream[0] == _HANDSHAKE
    size = int.from_bytes(stream[3:_HEADER])
    return stream[0] == _HANDSHAKE and len(stream) < _HEADER + size <= _HEADER + _MAX_PLAINTEXT


SCHEMES: Final = {
    "ecdsa_secp256r1_sha256": 0x0403,
    "ecdsa_secp384r1_sha384": 0x0503,
    "ecdsa_secp521r1_sha512": 0x0603,
    "ed25519": 0x0807,
    "ed448": 0x0808,
    "rsa_pss_rsae_sha256": 0x0804,
    "rsa_pss_rsae_sha384": 0x0805,
    "rsa_pss_rsae_sha512": 0x0806,
    "rsa_pss_pss_sha256": 0x0809,
    "rsa_pss_pss_sha384": 0x080A,
    "rsa_pss_pss_sha512": 0x080B,
    "rsa_pkcs1_sha256": 0x0401,
    "rsa_pkcs1_sha384": 0x0501,
    "rsa_pkcs1_sha512": 0x0601,
    "ecdsa_sha1": 0x0203,
    "rsa_pkcs1_sha1": 0x0201,
    "mldsa44": 0x0904,
    "mldsa65": 0x0905,
    "mldsa87": 0x0906,
}
"""IANA TLS SignatureScheme registry: the names that `TlsFacts.signature` uses."""

_NAMES: Final = {code: name for name, code in SCHEMES.items()}

# TLS 1.3 binds the curve to the hash; TLS 1.2 lets any ECDSA key sign with any hash.
_EXACT: Final = {
    "EC-P-256": ("ecdsa_secp256r1_sha256",),
    "EC-P-384": ("ecdsa_secp384r1_sha384",),
    "EC-P-521": ("ecdsa_secp521r1_sha512",),
    "Ed25519": ("ed25519",),
    "Ed448": ("ed448",),
}
_HANDSHAKE_RECORD, _CLIENT_HELLO, _SIGNATURE_ALGORITHMS = 22, 1, 13
_MAX_HELLO = 65536


def scheme_name(code: int) -> str:
    """The IANA name of a SignatureScheme, "0x0a0a" for one that is not in the table."""
    return _NAMES.get(code, f"0x{code:04x}")


def offered_schemes(stream: bytes) -> tuple[int, ...]:
    """The codes in the signature_algorithms extension of the ClientHello that opens `stream` (TLS records).

    () if there is none, if it is cut short or malformed, or if the ClientHello is longer than 64 KiB. Never raises: the
    TLS library is the judge of the handshake, this only reads along.
    """
    hello = _client_hello(stream)
    position = 34  # legacy_version and random (RFC 8446 section 4.1.2)
    for width in (1, 2, 1):  # session id, cipher suites, compression methods
        position = _skip(hello, position, width)
    end = _skip(hello, position, 2)
    position += 2
    while position + 4 <= end:
        kind = int.from_bytes(hello[position : position + 2])
        following = _skip(hello, position + 2, 2)
        if kind == _SIGNATURE_ALGORITHMS:
            return _codes(hello[position + 4 : following])
        position = following
    return ()


def _client_hello(stream: bytes) -> bytes:
    """The body of the handshake message that `stream` opens with, put together from its records; b"" if incomplete."""
    message = b""
    position = 0
    while position + 5 <= len(stream) and stream[position] == _HANDSHAKE_RECORD and len(message) < _MAX_HELLO:
        following = _skip(stream, position + 3, 2)
        message += stream[position + 5 : following]
        position = following
    if len(message) < 4 or message[0] != _CLIENT_HELLO:
        return b""
    size = int.from_bytes(message[1:4])
    return message[4 : 4 + size] if len(message) >= 4 + size else b""


def _skip(data: bytes, position: int, width: int) -> int:
    """The position behind a vector whose length stands at `position` in `width` bytes."""
    return position + width + int.from_bytes(data[position : position + width])


def _codes(extension: bytes) -> tuple[int, ...]:
    listed = extension[2 : 2 + int.from_bytes(extension[:2])]
    return struct.unpack(f">{len(listed) // 2}H", listed[: len(listed) & ~1])


def served_scheme(stream: bytes, *, version: str, key: str, order: str) -> str:
    """The IANA name of the scheme that a server with `key` signed with, "" if it cannot be told.

    stream: the client's octets, ClientHello first. version: of the handshake. key: of the certificate, as
    `CertificateFacts.key` writes it. order: the profile's `signature_algorithms`.
    """
    able = _able(version, key)
    if len(able) == 1:
        return able[0]
    offered = offered_schemes(stream)
    return next((name for name, code in _preferred(able, order) if code in offered), "")


@lru_cache(maxsize=64)
def _preferred(able: tuple[str, ...], order: str) -> tuple[tuple[str, int], ...]:
    """What the key can do, with the codes, in the profile's order."""
    return tuple((name, SCHEMES[name]) for name in order.split(":") if name in able and name in SCHEMES)


@lru_cache(maxsize=64)  # none of it is what a client says
def _able(version: str, key: str) -> tuple[str, ...]:
    if version not in {"TLSv1.2", "TLSv1.3"}:
        return ()  # MD5 with SHA-1, or SHA-1: fixed by RFC 4346, no registered scheme
    if key.startswith("RSA-PSS"):
        return tuple(name for name in SCHEMES if name.startswith("rsa_pss_pss"))
    if key.startswith("RSA"):
        old = "rsa_pkcs1" if version == "TLSv1.2" else "rsa_pss_rsae"
        return tuple(name for name in SCHEMES if name.startswith(("rsa_pss_rsae", old)))
    if key.startswith("EC-") and version == "TLSv1.2":
        return tuple(name for name in SCHEMES if name.startswith("ecdsa"))
    return _EXACT.get(key, ())
