"""What all tests of the management share: passwords cost nothing."""

from __future__ import annotations

import pytest

from gatepost.policy.logins import passwords


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash takes 0.1 ms instead of 30, and these tests make many; `policy.logins` tests the real one."""
    monkeypatch.setattr(passwords, "_MEMORY_KIB", 64)
    monkeypatch.setattr(passwords, "_PASSES", 1)


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    from gatepost.testing.pki import Pki  # noqa: PLC0415 - most tests do without

    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def issuer(pki):
    """An issuer of tokens on loopback."""
    from support.issuer import Issuer  # noqa: PLC0415 - most tests do without

    with Issuer(pki.leaf("127.0.0.1"), "ed25519") as running:
        yield running
