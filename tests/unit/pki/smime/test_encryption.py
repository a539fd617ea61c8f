from __future__ import annotations

from typing import Any

import pytest

from gatepost.pki.smime.decryption import CannotDecrypt, Opener, decrypted, is_enveloped
from gatepost.pki.smime.encryption import encrypted


@pytest.mark.parametrize("keys", [["rsa"], ["p256"], ["p384"], ["brainpool"], ["rsa", "p256", "p384", "rsa"]])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_each_recipient_opens_it_and_nobody_else(make: Any, keys: list[str], size: int) -> None:
    people = [make(key=key) for key in keys]
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    cms = encrypted(content, [one.certificate for one in people])
    assert is_enveloped(cms)
    for one in people:
        opener = Opener(one.certificate, one.key)
        assert decrypted(cms, [opener]) == (content, opener)
    for other in (make(key="rsa"), make(key="p256")):
        with pytest.raises(CannotDecrypt, match="not encrypted to any key"):
            decrypted(cms, [Opener(other.certificate, other.key)])


def test_two_of_the_same_differ_in_every_secret(make: Any) -> None:
    certificate = make(key="p256").certificate
    one, two = (encrypted(b"x" * 64, [certificate]) for _ in range(2))
    assert one != two
    assert one[-80:] != two[-80:]


def test_nothing_is_encrypted_to_nobody(make: Any) -> None:
    with pytest.raises(ValueError, match="at least one"):
        encrypted(b"x", [])
    with pytest.raises(ValueError, match="do not encrypt"):
        encrypted(b"x", [make(key="ed25519").certificate])
