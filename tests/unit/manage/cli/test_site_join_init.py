from __future__ import annotations

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

NODE = "mx.gate.example"


@pytest.fixture
def site(home):
    """A gateway with a master key."""
    key = home.path / "master.key"
    key.touch(0o600)
    key.write_bytes(bytes(32))
    home.settings(store={"master_key": f"file:{key}"})
    return home


def test_an_authority_and_its_first_node(site):
    done = site.call("site", "init", "--name", "contoso-site", "--domain", "Gate.example")
    root = done.stdout.strip()
    assert "site contoso-site: its authority is here, until " in done.stderr
    assert f"node {NODE}: certificate until " in done.stderr
    assert "other nodes can join after you set [site] address" in done.stderr
    status = site.json("site", "status")
    (authority,) = status["authorities"]
    assert (authority["sha256"], authority["signs"], authority["domains"]) == (root, True, ["gate.example"])
    assert (status["membership"]["site"], status["membership"]["address"]) == ("contoso-site", "")
    assert [one["name"] for one in status["nodes"]] == [NODE]
    (shown,) = x509.load_pem_x509_certificates(site.call("site", "root").stdout.encode())
    assert hashlib.sha256(shown.public_bytes(Encoding.DER)).hexdigest() == root


def test_a_site_is_named_after_the_domain_of_the_gateway(site):
    site.call("site", "init")
    assert site.json("site", "status")["membership"]["site"] == "gate.example"


def test_there_is_one_authority(site):
    site.call("site", "init")
    assert "has its authority already" in site.call("site", "init", code=2).stderr
    assert len(site.json("site", "status")["authorities"]) == 1


def test_the_next_authority(site):
    first = site.call("site", "init", "--domain", "gate.example").stdout.strip()
    done = site.call("site", "init", "--replace")
    assert "the new authority signs from " in done.stderr
    new, old = site.json("site", "status")["authorities"]
    assert (new["sha256"], new["signs"], old["sha256"], old["signs"]) == (done.stdout.strip(), False, first, True)
    assert new["domains"] == ["gate.example"]
    assert site.call("site", "root").stdout.count("BEGIN CERTIFICATE") == 2
    assert "takes over soon" in site.call("site", "init", "--replace", code=2).stderr


def test_the_next_authority_at_once(site):
    site.call("site", "init")
    before = site.json("site", "status")["membership"]["sha256"]
    new = site.call("site", "init", "--replace", "--now").stdout.strip()
    status = site.json("site", "status")
    assert status["authorities"][0]["sha256"] == new
    assert status["authorities"][0]["signs"]
    assert status["membership"]["sha256"] != before
    assert status["nodes"][0]["authority"] == status["authorities"][0]["id"]


WRONG = [
    (["--now"], "--now needs --replace"),
    (["--replace", "--name", "x"], "--name cannot be changed"),
    (["--replace"], "there is no authority to replace"),
    (["--name", "a b"], "is not a name of a site"),
    (["--domain", "a b"], "--domain: 'a b' is not a domain"),
    (["--domain", "other.example"], "mx.gate.example, this gateway itself, is in none of them; nothing was created"),
]


@pytest.mark.parametrize(("words", "said"), WRONG)
def test_wrong_use(site, words, said):
    assert said in site.call("site", "init", *words, code=2).stderr
    assert site.json("site", "status", code=1)["authorities"] == []


def test_without_a_master_key_or_with_one_that_cannot_be_read(home):
    assert "store.master_key is not set" in home.call("site", "init", code=2).stderr
    home.settings(store={"master_key": "file:/no/such/file"})
    assert "store.master_key: master key /no/such/file" in home.call("site", "init", code=2).stderr
