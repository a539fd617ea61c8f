"""What all tests of the management share: passwords cost nothing."""

from __future__ import annotations

import pytest

from gatepost.policy.logins import passwords


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash takes 0.1 ms instead of 30, and these tests make many; `policy.logins` tests the real one."""
    monkeypatch.setattr(passwords, "_MEMORY_KIB", 64)
    monkeypatch.setattr(passwords, "_PASSES", 1)
