"""RSA keys of tests. To make one takes up to half a second of CPU, so each process makes each of them once."""

from __future__ import annotations

from functools import cache

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key


def rsa_key(bits: int = 2048, name: str = "") -> RSAPrivateKey:
    """The one key of this size and name: whoever needs another one gives it a name."""
    return _made(bits, name)


@cache
def _made(bits: int, _name: str) -> RSAPrivateKey:
    return generate_private_key(65537, bits)
