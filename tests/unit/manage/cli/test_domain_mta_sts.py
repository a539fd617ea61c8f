"""What is said without asking anybody; --check over real sockets is in `tests/system/test_mta_sts_served.py`."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from gatepost.net.identity import ServerIdentity
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.entry import State
from gatepost.pki.certificates.inventory import Inventory, entry_from
from gatepost.pki.certificates.vault import Vault
from gatepost.store.changes import ConfigStore
from gatepost.values import replace

BASE = """
[organization.contoso]
accepted_domain = [
    { name = "contoso.example", mta_sts = "enforce" },
    { name = "b.example", mta_sts = "testing", mta_sts_mx = ["mx"], mta_sts_max_age = "1d" },
    { name = "none.example" },
]
"""


@pytest.fixture(scope="module")
def authority():
    return Authority("Policies Root")


@pytest.fixture
def served(home, authority):
    """A home whose only certificate bears these names."""

    def make(*names, address="0.0.0.0:443"):
        chain, key = authority.issue(list(names))
        (home.path / "c.pem").write_bytes(chain)
        (home.path / "c.key").touch(0o600)
        (home.path / "c.key").write_bytes(key)
        certificates = [{"chain": "c.pem", "key": "c.key"}]
        home.settings(certificate=certificates, **({"mta_sts": {"address": address}} if address else {}))
        home.call("apply", "-f", home.write(BASE))
        return home

    return make


def test_the_policy_and_the_records(served):
    home = served("mx.gate.example", "mta-sts.contoso.example")
    told = home.call("domain", "mta-sts", "Contoso.example")
    assert told.stderr == ""
    lines = told.stdout.splitlines()
    assert lines[0] == "https://mta-sts.contoso.example/.well-known/mta-sts.txt must answer:"
    assert lines[2:6] == ["  version: STSv1", "  mode: enforce", "  mx: mx.gate.example", "  max_age: 604800"]
    identifier = home.json("domain", "mta-sts", "contoso.example")["record"]["id"]
    assert f'  _mta-sts.contoso.example. IN TXT "v=STSv1; id={identifier};"' in lines
    assert "  mta-sts.contoso.example. IN CNAME mx.gate.example." in lines
    assert '  _smtp._tls.contoso.example. IN TXT "v=TLSRPTv1; rua=mailto:postmaster@contoso.example"' in lines
    assert lines[-2] == "served at    0.0.0.0:443"
    assert lines[-1].startswith("certificate  CN=mx.gate.example")


def test_as_json(served):
    home = served("mx.gate.example", "*.contoso.example")
    told = home.json("domain", "mta-sts", "contoso.example")
    assert {key: told[key] for key in ("organization", "domain", "published", "mode", "served_at", "notes")} == {
        "organization": "contoso",
        "domain": "contoso.example",
        "published": True,
        "mode": "enforce",
        "served_at": "0.0.0.0:443",
        "notes": [],
    }
    assert told["policy"].startswith("version: STSv1\r\n")
    assert told["record"]["text"] in told["zone"][0]
    assert told["findings"] == []


def test_a_domain_without_a_policy(served):
    home = served("mx.gate.example")
    told = home.call("domain", "mta-sts", "none.example", code=1)
    assert told.stdout == ""
    assert told.stderr == (
        "none.example has no policy; begin with one that requires nothing: gatepost domain set none.example "
        "mta_sts=testing\n"
    )
    assert home.json("domain", "mta-sts", "none.example", code=1)["published"] is False
    assert "there is no accepted domain 'x.example'" in home.call("domain", "mta-sts", "x.example", code=2).stderr


@pytest.mark.parametrize(
    ("names", "address", "domain", "notes"),
    [
        (["mx.gate.example"], "0.0.0.0:443", "contoso.example", ["no [[certificate]] bears mta-sts.contoso.example"]),
        (["mta-sts.contoso.example"], "0.0.0.0:443", "contoso.example", ["no [[certificate]] bears mx.gate.example"]),
        (["*.contoso.example", "*.gate.example"], "", "contoso.example", ["it is not served: [mta_sts] address is"]),
        (["mta-sts.b.example"], "0.0.0.0:443", "b.example", ["mode testing protects no mail", "mx mx can never match"]),
    ],
)
def test_what_is_missing_is_noted(served, names, address, domain, notes):
    home = served(*names, address=address)
    told = home.json("domain", "mta-sts", domain)["notes"]
    assert [one[: len(begin)] for one, begin in zip(told, notes, strict=True)] == notes
    assert home.call("domain", "mta-sts", domain).stderr.count("note: ") == len(notes)


def test_a_certificate_that_has_expired_is_noted(served, monkeypatch):
    home = served("mx.gate.example", "mta-sts.contoso.example")
    later = time.time() + 20 * 365 * 86400
    monkeypatch.setattr(time, "time", lambda: later)
    assert ["has expired" in one for one in home.json("domain", "mta-sts", "contoso.example")["notes"]] == [True]


def test_a_certificate_of_the_inventory_counts(served, authority):
    home = served("mx.gate.example")
    identity = ServerIdentity(*authority.issue(["mta-sts.contoso.example"]))
    key = home.path / "master"
    key.touch(0o600)
    key.write_bytes(bytes(32))
    with closing(ConfigStore(home.data / "config.db")) as store:
        entry = replace(entry_from(identity, now=1000.0), state=State.CURRENT, current_from=1000.0)
        Inventory(store, Vault(bytes(32))).add(entry, identity, author="ann")
    (note,) = home.json("domain", "mta-sts", "contoso.example")["notes"]
    assert "no [[certificate]] bears mta-sts.contoso.example" in note  # its key cannot be had: no master key is set
    certificates = [{"chain": "c.pem", "key": "c.key"}]
    home.settings(certificate=certificates, mta_sts={"address": "0.0.0.0:443"}, store={"master_key": f"file:{key}"})
    found = home.json("domain", "mta-sts", "contoso.example")
    assert (found["notes"], found["certificate"].partition(",")[0]) == ([], "CN=mta-sts.contoso.example")


def test_certificates_that_cannot_be_read_do_not_hide_the_policy(served):
    home = served("mx.gate.example")
    (home.path / "c.key").unlink()
    (note,) = home.json("domain", "mta-sts", "contoso.example")["notes"]
    assert note.startswith("the certificates cannot be read here: ")


def test_a_change_of_a_policy_tells_the_new_record(home):
    told = home.call("apply", "-f", home.write(BASE)).stderr
    assert told.count("note: ") == 2
    assert (
        "note: contoso.example: once the gateway serves the policy, add its TXT record to the zone: _mta-sts." in told
    )
    record = home.json("domain", "mta-sts", "contoso.example")["record"]["text"]
    assert f'"{record}"' in told
    told = home.call("domain", "set", "contoso.example", "mta_sts_max_age=2d").stderr
    record = home.json("domain", "mta-sts", "contoso.example")["record"]["text"]
    assert told == (
        "note: contoso.example: once the gateway serves the policy, add its TXT record to the zone: "
        f'_mta-sts.contoso.example. IN TXT "{record}"\n'
    )
    assert "withdraw it with" in home.call("domain", "remove", "contoso.example").stderr
