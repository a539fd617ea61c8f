"""Challenges are good once. What a real authenticator signs is in the system tests."""

from __future__ import annotations

from gatepost.manage.use_cases.passkey_login import UsedChallenges


def test_a_challenge_is_good_once():
    used = UsedChallenges()
    assert used.take(b"one", 100.0)
    assert not used.take(b"one", 399.0)
    assert used.take(b"two", 399.0)
    assert used.take(b"one", 400.0), "by then its ticket has ended"
