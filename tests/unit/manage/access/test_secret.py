from __future__ import annotations

import hashlib

import pytest

from gatepost.manage.access.secret import csrf_of, fresh, hash_of, masked, same, unmasked


def test_fresh_ones_are_different_and_long():
    found = {fresh() for _ in range(100)}
    assert len(found) == 100
    assert {len(one) for one in found} == {43}
    assert fresh("gp_").startswith("gp_")


def test_what_is_kept():
    secret = fresh("gp_")
    assert hash_of(secret, "gp_") == hashlib.sha256(secret.encode()).digest()


@pytest.mark.parametrize("given", ["", "a" * 42, "a" * 44, "a" * 42 + "=", "a" * 43 + "\n", "é" * 43, "\ud800" * 43])
def test_what_cannot_be_one(given):
    assert hash_of(given) is None
    assert hash_of("gp_" + given, "gp_") is None


def test_a_prefix_is_demanded():
    assert hash_of("xx_" + "a" * 43, "gp_") is None
    assert hash_of("gp_" + "a" * 43) is None


def test_csrf():
    one, other = fresh(), fresh()
    assert csrf_of(one) == csrf_of(one) != csrf_of(other)
    assert one not in csrf_of(one)


def test_a_page_never_shows_the_same_token_twice():
    token = csrf_of(fresh())
    shown = {masked(token) for _ in range(100)}
    assert len(shown) == 100
    assert {unmasked(text) for text in shown} == {token}
    assert not any(token in text for text in shown)


@pytest.mark.parametrize("text", ["", "x", "ab", "a" * 64, "a" * 129, "é", "g" * 128])
def test_what_is_not_masked_stays(text):
    assert unmasked(text) == text


@pytest.mark.parametrize(
    ("one", "other", "is_same"), [("a", "a", True), ("a", "b", False), ("é", "é", True), ("a", "", False)]
)
def test_same(one, other, is_same):
    assert same(one, other) is is_same
