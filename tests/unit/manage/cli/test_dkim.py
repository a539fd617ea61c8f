from __future__ import annotations

import re

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.rsa_keys import rsa_key

from gatepost.pki.certificates.dkim_keys import content_name, made_key, read_key
from gatepost.policy.connectors.values import DkimAlgorithm
from gatepost.store.changes import ConfigStore

RESOURCES = """
[[organization.contoso.accepted_domain]]
name = "contoso.example"
[[organization.fabrikam.accepted_domain]]
name = "fabrikam.example"
"""
PEM = made_key(DkimAlgorithm.RSA_SHA256)
SEALED = "sealed"


@pytest.fixture
def home(home):
    master = home.write("m" * 32, "master.key")
    master.chmod(0o600)
    # Nobody listens there, so that every record is unknown.
    home.settings(store={"master_key": f"file:{master}"}, dns={"nameservers": ["127.0.0.1:1"], "timeout": "100ms"})
    home.call("apply", "-f", home.write(RESOURCES))
    return home


def key_file(home, pem=PEM, mode=0o600):
    file = home.path / "key.pem"
    file.write_bytes(pem)
    file.chmod(mode)
    return file


def content(home, organization, name):
    store = ConfigStore(home.data / "config.db")
    try:
        return store.content(content_name(organization, name))
    finally:
        store.close()


def keys(home, organization="contoso"):
    return home.config()[1]["organization"][organization].get("dkim_key", [])


def test_a_key_is_made_sealed_and_its_record_printed(home):
    made = home.call("dkim", "add", "contoso.example", "--selector", "S1")
    (key,) = keys(home)
    assert key["name"] == "s1._domainkey.contoso.example"
    assert "state" not in key
    line = made.stdout.splitlines()[-1]
    assert line.startswith('s1._domainkey.contoso.example. IN TXT ( "v=DKIM1; k=rsa; p=MII')
    assert "".join(re.findall(r'"([^"]*)"', line)).partition("p=")[2] == key["public_key"]
    assert "gatepost dkim rotate contoso.example" in made.stderr
    assert home.call("dkim", "record", "s1._domainkey.contoso.example").stdout.strip() == line
    assert home.table("dkim", "list") == [
        {
            "state": "next",
            "name": "s1._domainkey.contoso.example",
            "algorithm": "rsa-sha256",
            "service_type": "*",
            "organization": "contoso",
            "private_key": SEALED,
        }
    ]
    sealed = content(home, "contoso", "s1._domainkey.contoso.example")
    assert sealed
    for shown in (home.call("export").stdout, home.call("history", "--json").stdout, str(sealed)):
        assert "PRIVATE" not in shown


def test_selectors_say_when_and_are_never_taken_twice(home):
    for _ in range(3):
        home.call("dkim", "add", "contoso.example", "--algorithm", "ed25519-sha256")
    names = [one["name"].partition(".")[0] for one in keys(home)]
    assert re.fullmatch(r"gp20\d\d[01]\de", names[0])
    assert names[1:] == [f"{names[0]}2", f"{names[0]}3"]


def test_a_domain_below_an_accepted_one_is_its_owners(home):
    home.call("dkim", "add", "news.fabrikam.example", "--service", "tlsrpt", "--current")
    (key,) = keys(home, "fabrikam")
    assert (key["state"], key["service_type"]) == ("current", "tlsrpt")
    assert "no organization accepts other.example" in home.call("dkim", "add", "other.example", code=2).stderr


def test_a_key_that_is_there_already_is_taken_in_or_left(home):
    file = key_file(home)
    home.call("dkim", "add", "contoso.example", "--selector", "a", "--key", file)
    home.call("dkim", "add", "contoso.example", "--selector", "b", "--key", file, "--leave-key")
    public = read_key(PEM).public_key
    assert [(one["public_key"], one.get("key_file", "")) for one in keys(home)] == [(public, ""), (public, str(file))]
    assert content(home, "contoso", "b._domainkey.contoso.example") is None
    assert {one["private_key"] for one in home.table("dkim", "list")} == {SEALED, str(file)}


WRONG = [
    (["add", "con toso"], "is not a domain"),
    (["add", "contoso.example", "--leave-key"], "name the file with the key"),
    (["add", "contoso.example", "--selector", "a b"], "is not a name of a DKIM key"),
    (["rotate", "contoso.example"], "has no next key yet; add one"),
    (["rotate", "contoso.example", "--selector", "x"], "has no next key with the selector x"),
    (["record", "x._domainkey.contoso.example"], "there is no DKIM key"),
]


@pytest.mark.parametrize(("words", "why"), WRONG)
def test_what_cannot_be_done_is_said(home, words, why):
    assert why in home.call("dkim", *words, code=2).stderr
    assert keys(home) == []


@pytest.mark.parametrize(("pem", "mode", "why"), [(b"hello", 0o600, "no private key"), (PEM, 0o644, "chmod 0600")])
def test_a_file_that_is_no_key_or_open_to_others_is_refused(home, pem, mode, why):
    file = key_file(home, pem, mode)
    assert why in home.call("dkim", "add", "contoso.example", "--key", file, code=2).stderr
    assert keys(home) == []


def test_without_a_master_key_a_key_stays_in_its_file(home):
    home.settings()
    refused = home.call("dkim", "add", "contoso.example", code=2).stderr
    assert "set store.master_key" in refused
    assert "nothing was changed" in refused
    assert keys(home) == []
    home.call("dkim", "add", "contoso.example", "--key", key_file(home), "--leave-key")


def test_a_weak_key_is_taken_with_a_warning(home):
    weak = rsa_key(1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    added = home.call("dkim", "add", "contoso.example", "--key", key_file(home, weak))
    assert "an RSA key of 1024 bits is weak" in added.stderr


def test_a_rehearsal_leaves_nothing(home):
    assert "IN TXT" not in home.call("dkim", "add", "contoso.example", "--selector", "a", "--dry-run").stdout
    assert keys(home) == []
    assert content(home, "contoso", "a._domainkey.contoso.example") is None


def test_a_rotation_waits_for_its_record(home):
    home.call("dkim", "add", "contoso.example", "--selector", "a")
    refused = home.call("dkim", "rotate", "contoso.example", code=3)
    assert "a._domainkey.contoso.example: unknown" in refused.stderr
    assert "the zone needs: a._domainkey.contoso.example. IN TXT" in refused.stderr
    home.call("dkim", "list", "--check", code=3)
    assert home.json("dkim", "record", "a._domainkey.contoso.example", "--check", code=3)["record"] == "unknown"
    home.call("dkim", "rotate", "contoso.example", "--force", "the zone is signed at night", "--note", "yearly")
    home.call("dkim", "add", "contoso.example", "--selector", "b")
    home.call("dkim", "add", "contoso.example", "--selector", "c", "--algorithm", "ed25519-sha256")
    home.call("dkim", "rotate", "contoso.example", "--force", "again")
    states = {one["name"][0]: one["state"] for one in home.table("dkim", "list")}
    assert states == {"a": "retired", "b": "current", "c": "current"}
    notes = [one.note for one in home.history()]
    assert notes[0] == "forced: again"
    assert "yearly; forced: the zone is signed at night" in notes


def test_of_two_next_keys_it_must_be_said_which(home):
    for selector in "ab":
        home.call("dkim", "add", "contoso.example", "--selector", selector)
    assert "several next keys" in home.call("dkim", "rotate", "contoso.example", "--force", "x", code=2).stderr
    home.call("dkim", "rotate", "contoso.example", "--selector", "b", "--force", "x")
    assert {one["name"][0]: one.get("state") for one in keys(home)} == {"a": None, "b": "current"}
    refused = home.call("dkim", "set", "a._domainkey.contoso.example", "state=current", code=2).stderr
    assert "is the current rsa-sha256 key of contoso.example already" in refused


def test_a_key_that_cannot_be_opened_does_not_become_current(home):
    home.call("dkim", "add", "contoso.example", "--selector", "a")
    master = home.path / "master.key"
    master.write_text("n" * 32)
    added = home.call("dkim", "add", "contoso.example", "--selector", "b", code=2)
    assert "store.master_key is not the one that a._domainkey.contoso.example was sealed with" in added.stderr
    assert (
        "the master key is not the one" in home.call("dkim", "rotate", "contoso.example", "--force", "x", code=1).stderr
    )
    assert "state" not in keys(home)[0]


def test_a_removed_key_is_destroyed_and_one_from_elsewhere_brought_in(home):
    name = "a._domainkey.contoso.example"
    file = key_file(home)
    home.call("dkim", "add", "contoso.example", "--selector", "a", "--key", file)
    exported = home.call("export").stdout
    assert content(home, "contoso", name)
    home.call("dkim", "remove", name)
    assert content(home, "contoso", name) is None

    applied = home.call("apply", "-f", home.write(exported, "exported.toml"))
    assert f"warning: DKIM key {name} of contoso: its private key is not in this store" in applied.stderr
    assert home.table("dkim", "list")[0]["private_key"] == "missing"
    other = key_file(home, made_key(DkimAlgorithm.RSA_SHA256))
    assert "is not the private key" in home.call("dkim", "import", name, other, code=2).stderr
    home.call("dkim", "import", name, key_file(home))
    assert home.table("dkim", "list")[0]["private_key"] == SEALED
    home.call("organization", "remove", "contoso")
    assert content(home, "contoso", name) is None


def test_what_cannot_be_imported(home):
    home.call("dkim", "add", "contoso.example", "--selector", "a", "--key", key_file(home))
    name = "a._domainkey.contoso.example"
    assert "no private key" in home.call("dkim", "import", name, key_file(home, b"x"), code=2).stderr
    home.settings()
    assert "set store.master_key" in home.call("dkim", "import", name, key_file(home), code=2).stderr


def test_a_key_that_does_not_say_its_public_half_has_no_record_to_print(home):
    key = f'[[organization.contoso.dkim_key]]\nname = "a._domainkey.contoso.example"\nkey_file = "{key_file(home)}"\n'
    home.call("apply", "-f", home.write(RESOURCES + key))
    assert "has no public_key" in home.call("dkim", "record", "a._domainkey.contoso.example", code=2).stderr
    assert home.table("dkim", "list", "--check", code=3)[0]["record"].startswith("unknown: the resource does not say")


def test_a_key_whose_file_is_not_there_is_refused(home):
    key = '[[organization.contoso.dkim_key]]\nname = "a._domainkey.contoso.example"\nkey_file = "/x"\n'
    told = home.call("apply", "-f", home.write(RESOURCES + key), code=2).stderr
    assert "dkim_key[0] 'a._domainkey.contoso.example'.key_file: private key /x: No such file or directory" in told
