from __future__ import annotations

import hashlib

import pytest

from gatepost.manage.access.secret import csrf_of, fresh, hash_of, same


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


@pytest.mark.parametrize(
    ("one", "other", "is_same"), [("a", "a", True), ("a", "b", False), ("é", "é", True), ("a", "", False)]
)
def test_same(one, other, is_same):
    assert same(one, other) is is_same
