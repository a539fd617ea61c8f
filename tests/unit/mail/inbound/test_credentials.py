from __future__ import annotations

import pytest

from gatepost.mail.inbound.credentials import Credential, content_name, make_credential, orphaned
from gatepost.policy.logins.passwords import PasswordError, verify
from gatepost.protocols.smtp.scram import make_verifier

WORD = "correct horse"


@pytest.fixture(scope="module")
def credential():
    return make_credential(WORD, "contoso", 1000.0)


def test_what_is_kept(credential):
    assert credential.argon2.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert credential.verifier == make_verifier(WORD, credential.salt)
    assert Credential.decode(credential.encode()) == credential
    assert WORD.encode() not in credential.encode()
    assert repr(credential) == "Credential('contoso')"
    assert make_credential(WORD, "contoso", 1000.0).salt != credential.salt


@pytest.mark.parametrize("data", [None, b"", b"{", b'{"organization": "contoso"}'])
def test_what_nobody_can_read_is_no_credential(data):
    assert Credential.decode(data) is None


@pytest.mark.parametrize(
    ("given", "why"),
    [("", "0 characters"), ("seven77", "7 characters"), ("x" * 257, "256"), ("bell\a" * 3, "character")],
)
def test_passwords_that_cannot_be(given, why):
    with pytest.raises(PasswordError, match=why):
        make_credential(given, "contoso", 0)


def test_trying_a_password(credential):
    assert verify(WORD, credential.argon2)
    assert not verify("correct hors", credential.argon2)


def organizations(**mailboxes):
    return {
        "organization": {
            name: None if found is None else {"mailbox": [{"address": one} for one in found]}
            for name, found in mailboxes.items()
        }
    }


@pytest.mark.parametrize(
    ("before", "wanted", "gone"),
    [
        ({"o": ["A@o.example", "b@o.example"]}, {"o": ["a@o.example"]}, ["b@o.example"]),
        ({"o": ["a@o.example"], "p": ["c@p.example"]}, {"o": None}, ["a@o.example"]),
        ({"o": ["a@o.example"], "p": []}, {"o": [], "p": ["a@o.example"]}, ["a@o.example"]),
        ({}, {"o": ["a@o.example"]}, []),
    ],
)
def test_passwords_go_with_their_mailboxes(before, wanted, gone):
    left_out = orphaned(organizations(**before), organizations(**wanted), lambda _: None)
    assert left_out == dict.fromkeys(map(content_name, gone))


def test_an_organization_without_mailboxes():
    assert orphaned({}, {"organization": {"o": {}}}, lambda _: None) == {}


@pytest.mark.parametrize("owner", ["o", "p"])
def test_what_another_organization_set_for_the_address_stays(owner):
    credential = make_credential(WORD, owner, 1.0).encode()
    before, wanted = organizations(o=["a@p.example"], p=["a@p.example"]), organizations(o=[])
    found = orphaned(before, wanted, {content_name("a@p.example"): credential}.get)
    assert found == ({content_name("a@p.example"): None} if owner == "o" else {})
