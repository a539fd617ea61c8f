from __future__ import annotations

import os

import pytest

from gatepost.policy.logins.passwords import (
    NOBODYS_HASH,
    PasswordError,
    argon2_hash,
    prepared_password,
    user_password,
    verify,
)

WORD = "correct horse battery"


@pytest.fixture(scope="module")
def stored():
    return argon2_hash(WORD, os.urandom(16))


@pytest.mark.parametrize(
    ("given", "other", "fits"),
    [(WORD, None, True), (WORD[:-1], None, False), ("", None, False), (WORD, NOBODYS_HASH, False),
     (WORD, "nonsense", False), ("\ud800", None, False)],
)  # fmt: skip
def test_trying_a_password(stored, given, other, fits):
    assert verify(given, other or stored) is fits


def test_hashes_have_a_salt_of_their_own(stored):
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert argon2_hash(WORD, os.urandom(16)) != stored
    assert NOBODYS_HASH.rpartition("$")[0].rpartition("$")[0] == stored.rpartition("$")[0].rpartition("$")[0]


@pytest.mark.parametrize("given", [WORD, "x" * 996 + "abc!", "ＦＵＬＬ width word", "grüße aus köln"])  # noqa: RUF001
def test_passwords_of_users(given):
    assert len(user_password(given, "ann")) == len(given)


def test_two_keyboards_write_the_same():
    assert user_password("gru\u0308ße aus ko\u0308ln", "ann") == user_password("grüße aus köln", "ann")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("", "0 characters; at least 12"),
        ("eleven chars"[:11], "11 characters; at least 12"),
        ("abcd" * 251, "more than 1000"),
        ("\u00ad" * 3000, "more than 1000"),
        ("\u00ad" * 30, "0 characters"),
        ("Ann.Lee@Contoso.Example", "the user's name"),
        ("aaaaaaaaaaaab", "fewer than 4 different"),
        ("bell\a bell bell", "a character"),
        ("half \ud800 of a pair", "a character"),
    ],
)
def test_passwords_that_cannot_be(given, why):
    with pytest.raises(PasswordError, match=why) as caught:
        user_password(given, "ann.lee@contoso.example")
    assert not given or given not in str(caught.value)


def test_bounds_are_of_the_prepared_text():
    assert prepared_password("\u00ad\u00adabcdefgh", 8, 8) == "abcdefgh"
