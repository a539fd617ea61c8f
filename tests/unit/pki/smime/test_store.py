from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gatepost.pki.certificates.vault import Vault
from gatepost.pki.smime.certificate import fingerprint
from gatepost.pki.smime.readiness import readiness
from gatepost.pki.smime.store import SmimeStore, SmimeStoreError
from gatepost.store.changes import ConfigStore

VAULT = Vault(b"k" * 32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.db"


@pytest.fixture
def config(file: Path) -> Iterator[ConfigStore]:
    with closing(ConfigStore(file)) as store:
        yield store


@pytest.fixture
def store(config: ConfigStore) -> SmimeStore:
    return SmimeStore(config, VAULT)


def test_recipients_are_kept_by_organization(store: SmimeStore, config: ConfigStore, make: Any) -> None:
    one, two = make().certificate, make().certificate
    store.add_recipient("contoso", "ann@p.example", [one], author="me", note="by phone")
    store.add_recipient("contoso", "ann@p.example", [two, one], author="me")
    store.add_recipient("fabrikam", "p.example", [two], author="me")
    assert store.recipients() == [("contoso", "ann@p.example"), ("fabrikam", "p.example")]
    assert store.certificates("contoso", "ann@p.example") == (one, two)
    assert store.certificates("fabrikam", "ann@p.example") == ()
    assert store.certificates_for("fabrikam", "ann@p.example") == ("p.example", (two,))
    assert store.certificates_for("contoso", "ann@p.example")[0] == "ann@p.example"
    assert store.certificates_for("contoso", "bob@p.example") == ("", ())
    assert [(one.author, one.note) for one in config.history("smime_recipient")][-1] == ("me", "by phone")
    store.remove_recipient("contoso", "ann@p.example", [fingerprint(one)], author="me")
    assert store.certificates("contoso", "ann@p.example") == (two,)
    store.remove_recipient("contoso", "ann@p.example", [], author="me")
    assert store.recipients() == [("fabrikam", "p.example")]
    assert store.certificates("contoso", "ann@p.example") == ()


def test_a_recipient_has_only_so_many(store: SmimeStore, make: Any) -> None:
    store.add_recipient("contoso", "p.example", [make().certificate for _ in range(10)], author="me")
    with pytest.raises(SmimeStoreError, match="10 are the most"):
        store.add_recipient("contoso", "p.example", [make().certificate], author="me")


def test_whether_mail_can_be_encrypted(store: SmimeStore, make: Any, now: float) -> None:
    store.add_recipient("contoso", "ann@p.example", [make(days=(-9, -1)).certificate], author="me")
    store.add_recipient("contoso", "p.example", [make().certificate], author="me")
    assert readiness(store, "contoso", "Bob@P.example", now).owner == "p.example"
    # Her own certificates count, and not her gateway's, as she may not want that to read her mail.
    held = readiness(store, "contoso", "ann@p.example", now)
    assert held.certificates == ()
    assert "expired on" in held.missing
    assert "gatepost smime recipient add ann@p.example FILE --organization contoso" in held.missing
    held = readiness(store, "contoso", "$HOME@q.example", now)
    assert "gatepost smime recipient add '$home@q.example' FILE" in held.missing
    assert "no certificate for x@q.example" in readiness(store, "contoso", "x@q.example", now).missing
    assert "not a mail address" in readiness(store, "contoso", "x y@q.example", now).missing


def test_an_identity_signs_and_opens(store: SmimeStore, config: ConfigStore, make: Any, now: float) -> None:
    old, new, cipher = make(days=(-5, 2)), make(days=(-1, 9)), make(usages="key_encipherment")
    for one in (old, new, cipher):
        store.add_identity("contoso", "p.example", one.chain_pem, one.key_pem, author="me")
    found = store.signer("contoso", ["ann@p.example", "p.example"], now)
    assert found is not None
    assert found[1].certificate == new.certificate
    assert found[1].key.private_numbers() == new.key.private_numbers()
    later = store.signer("contoso", ["p.example"], now + 5 * 86400)
    assert later is not None
    assert later[1].certificate == new.certificate
    assert store.signer("contoso", ["p.example"], now + 99 * 86400) is None
    assert store.signer("fabrikam", ["p.example"], now) is None
    assert len(store.openers("contoso", ["ann@p.example", "p.example"])) == 3
    assert store.has_own("contoso", "p.example")
    assert not store.has_own("contoso", "ann@p.example")
    assert "PRIVATE" not in str([one.after for one in config.history()])
    store.remove_identity(found[0], author="me")
    assert [one.chain[0] for one in store.identities()].count(new.certificate) == 0
    assert config.content(f"smime_identity/contoso/{found[0].id}/key") is None


def test_keys_are_stored_sealed_or_not_at_all(config: ConfigStore, file: Path, make: Any) -> None:
    person = make()
    with pytest.raises(SmimeStoreError, match=r"set store\.master_key"):
        SmimeStore(config, None).add_identity("c", "p.example", person.chain_pem, person.key_pem, author="me")
    SmimeStore(config, VAULT).add_identity("c", "p.example", person.chain_pem, person.key_pem, author="me")
    assert b"PRIVATE KEY" not in file.read_bytes() + file.with_name("config.db-wal").read_bytes()


def test_what_the_master_key_does_not_open(config: ConfigStore, make: Any, now: float) -> None:
    person = make()
    SmimeStore(config, VAULT).add_identity("c", "p.example", person.chain_pem, person.key_pem, author="me")
    for vault, why in ((Vault(b"x" * 32), "not the one that it was sealed with"), (None, "is not set")):
        other = SmimeStore(config, vault)
        with pytest.raises(SmimeStoreError, match=why):
            other.openers("c", ["p.example"])
    with pytest.raises(SmimeStoreError, match="not the one"):  # a second one would be of no use to the gateway
        SmimeStore(config, Vault(b"x" * 32)).add_identity("c", "q", person.chain_pem, person.key_pem, author="me")


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("DELETE FROM content", "its key is not in the store"),
        ("UPDATE content SET data = x'00'", "sealed in a form that this version"),
        ('UPDATE resource SET document = \'{"owner": "p.example", "added": 1, "chain": "x"}\'', "is stored in a form"),
        ("UPDATE resource SET document = '{}'", "is stored in a form"),
    ],
)
def test_a_store_that_was_damaged(config: ConfigStore, file: Path, make: Any, statement: str, why: str) -> None:
    person = make()
    SmimeStore(config, VAULT).add_identity("c", "p.example", person.chain_pem, person.key_pem, author="me")
    with closing(sqlite3.connect(file)) as other:
        other.execute(statement)
        other.commit()
    with pytest.raises(SmimeStoreError, match=why):
        SmimeStore(config, VAULT).openers("c", ["p.example"])


def test_keys_that_cannot_be_read(config: ConfigStore, make: Any) -> None:
    store = SmimeStore(config, VAULT)
    for key, pem, why in (("rsa", b"no key", "cannot be read"), ("ed25519", None, "of a kind that is not used")):
        person = make(key=key)
        store.add_identity("c", key, person.chain_pem, pem or person.key_pem, author="me")
        with pytest.raises(SmimeStoreError, match=why):
            store.openers("c", [key])
        store.remove_identity(store.identities()[0], author="me")


def test_damaged_certificates_of_a_recipient(store: SmimeStore, file: Path, make: Any) -> None:
    store.add_recipient("c", "p.example", [make().certificate], author="me")
    with closing(sqlite3.connect(file)) as other:
        other.execute("UPDATE content SET data = 'x'")
        other.commit()
    with pytest.raises(SmimeStoreError, match="cannot be read from the store"):
        store.certificates("c", "p.example")
