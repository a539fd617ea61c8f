"""TLS messages without data, as a library does not send them in numbers."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand


def key_updates(secret: bytes, count: int) -> tuple[bytes, bytes]:
    """Records of a KeyUpdate each that asks for one in return, and the secret behind them (RFC 8446 section 7.2).

    secret: of the sender's traffic, under which nothing was sent; the suite is TLS_AES_128_GCM_SHA256.
    """

    def derived(label: bytes, octets: int) -> bytes:
        name = b"tls13 " + label
        return HKDFExpand(SHA256(), octets, bytes([0, octets, len(name), *name, 0])).derive(secret)

    records = b""
    for _ in range(count):
        text, head = b"\x18\x00\x00\x01\x01\x16", b"\x17\x03\x03\x00\x16"
        records += head + AESGCM(derived(b"key", 16)).encrypt(derived(b"iv", 12), text, head)
        secret = derived(b"traffic upd", 32)
    return records, secret
