"""A changeover by its commands, on a store, a DNS server on loopback, and no gateway."""

from __future__ import annotations

import pytest

from gatepost.net.identity import ServerIdentity
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.entry import State
from gatepost.pki.certificates.inventory import Inventory, entry_from
from gatepost.pki.certificates.vault import Vault
from gatepost.store.changes import ConfigStore
from gatepost.testing.name_server import DnsServer
from gatepost.values import replace

AUTHORITY = Authority("Commands Root")
HOST = "mx.gate.example"
OLD, NEW = (ServerIdentity(*AUTHORITY.issue([HOST])) for _ in range(2))
RESOURCES = """
[[organization.contoso.accepted_domain]]
name = "contoso.example"
[[organization.contoso.inbound_connector]]
name = "bank"
sender_domains = ["bank.example"]
"""
GO = ("certificate", "changeover")


@pytest.fixture(scope="module")
def nameserver():
    with DnsServer({"contoso.example MX": [f"10 {HOST}."], f"{HOST} A": ["192.0.2.1"]}) as server:
        yield server


@pytest.fixture
def gate(home, nameserver):
    (home.path / "anchors.pem").write_bytes(AUTHORITY.certificate_pem)
    key = home.path / "master.key"
    key.touch(0o600)
    key.write_bytes(bytes(32))
    home.settings(
        dns={"nameservers": [f"127.0.0.1:{nameserver.port}"]},
        tls={"trust_anchors": "anchors.pem"},
        store={"master_key": f"file:{key}"},
    )
    home.call("apply", "-f", home.write(RESOURCES))
    return home


@pytest.fixture
def inventory(gate):
    store = ConfigStore(gate.data / "config.db")
    yield Inventory(store, Vault(bytes(32)))
    store.close()


def add(inventory, identity, **fields):
    entry = replace(entry_from(identity, now=1.0), **fields)
    inventory.add(entry, identity, author="ann")
    return entry


@pytest.fixture
def pair(inventory):
    return add(inventory, OLD, state=State.CURRENT, current_from=1.0), add(inventory, NEW)


def test_nothing_is_staged(gate):
    assert "no certificate is staged" in gate.call(*GO, "status", code=1).stderr
    assert gate.call(*GO, "status", "--json", code=1).stdout == "[]\n"
    for step in ("cancel", "roll-back"):
        assert "there is no" in gate.call(*GO, step, code=1).stderr
    assert "give at least 4 digits of an id" in gate.call(*GO, "check", "abc", code=2).stderr


def test_the_whole_way(gate, inventory, pair):
    old, new = pair
    shown = gate.call(*GO, "status").stdout
    assert f"id\t{old.id}\t{new.id}" in shown
    assert f"next: gatepost certificate changeover switch {new.id}" in shown
    checked = gate.call(*GO, "check", new.id).stdout
    assert "can it become current?  YES" in checked
    assert checked.splitlines()[-1] == "0 failures, 1 warning, 0 unknown"
    assert (
        gate.call(*GO, "told", new.id, "--all", "--note", "by phone").stdout
        == "notified: bank.example; remaining: none\n"
    )
    assert gate.json(*GO, "check", new.id)["warnings"] == 0
    done = gate.call(*GO, "switch", new.id).stdout
    assert f"{new.id} is current; it replaced {old.id}" in done
    (row,) = gate.json(*GO, "status")
    assert (row["certificate"]["state"], row["replaces"][0]["state"]) == ("current", "deprecated")
    assert row["traffic"]["since"]["over_tls"] == 0
    assert row["roll_back_until"] == row["certificate"]["current_from"] + 86400
    assert [line.rpartition(" changeover ")[2] for line in row["next"]] == ["roll-back", f"withdraw {old.id}"]
    assert f"after that remove 3 1 1 {old.leaf.spki_sha256} from the zone" in row["next"][1]
    assert "needed to roll back" in gate.call(*GO, "withdraw", old.id, code=1).stderr
    assert f"{old.id} is current again" in gate.call(*GO, "roll-back", "--note", "too early").stdout
    gate.call(*GO, "roll-back", code=1)
    gate.call(*GO, "switch", new.id)
    assert gate.json(*GO, "withdraw", old.id, "--force", "stolen")["state"] == "retired"
    assert "nothing: its key was destroyed" in gate.call(*GO, "status", old.id).stdout
    gate.call(*GO, "roll-back", new.id, code=1)
    notes = [one["note"] for one in gate.json("certificate", "history")]
    for wanted in ("told: bank.example (by phone)", "changeover: switched", "rolled back: too early", "forced: stolen"):
        assert any(wanted in note for note in notes), wanted
    assert inventory.entries()[1][old.id].state is State.RETIRED


def test_a_red_gate_refuses_unless_a_reason_is_given(gate, inventory, nameserver, pair):
    old, new = pair
    lost = add(inventory, ServerIdentity(*AUTHORITY.issue(["other.gate.example"])), replaces=(old.id,))
    refused = gate.call(*GO, "switch", lost.id, code=1)
    assert "not switched: a check failed" in refused.stderr
    assert f"it lacks names of the current certificate: {HOST}" in refused.stdout
    record = gate.json(*GO, "switch", lost.id, code=1)
    assert (record["switched"], record["gates"]["light"]) == (False, "red")
    nameserver.failures[HOST] = "SERVFAIL"
    try:
        assert "a check was inconclusive" in gate.call(*GO, "switch", new.id, code=3).stderr
    finally:
        nameserver.failures.clear()
    assert gate.json(*GO, "switch", lost.id, "--force", "as told")["replaced"] == [old.id]
    (note,) = {one["note"] for one in gate.json("certificate", "history") if "forced" in one["note"]}
    assert note.startswith("changeover: switched; forced: as told (names: it lacks names of the current certificate")
    gate.call(*GO, "switch", lost.id, code=1)


def test_without_the_master_key_a_switch_is_planned_at_most(gate, pair):
    _, new = pair
    (gate.path / "master.key").unlink()
    refused = gate.call(*GO, "switch", new.id, "--force", "in haste", code=1)
    assert "you cannot override it" in refused.stderr
    assert "plan the switch for a set time" in refused.stdout
    assert gate.json(*GO, "switch", new.id, "--at", "1h")["planned"]


def test_a_way_back_that_is_taken_twice_undoes_no_other_switch(gate, inventory, pair):
    rsa = [ServerIdentity(*AUTHORITY.issue([HOST], key="rsa")) for _ in range(2)]
    first = add(inventory, rsa[0], state=State.CURRENT, current_from=1.0)
    second = add(inventory, rsa[1])
    gate.call(*GO, "switch", second.id)
    gate.call(*GO, "switch", pair[1].id)
    gate.call(*GO, "roll-back")
    again = gate.call(*GO, "roll-back", code=1).stderr
    assert f"{pair[1].id} went back to next at 20" in again
    assert inventory.entries()[1][second.id].state is State.CURRENT
    gate.call(*GO, *again.split()[-2:])
    assert inventory.entries()[1][first.id].state is State.CURRENT


def test_without_the_master_key_the_way_back_is_open(gate, inventory, pair):
    """As with credential:NAME, which only the gateway has: it is the gateway that presents, and opens the key."""
    old, new = pair
    gate.call(*GO, "switch", new.id)
    (gate.path / "master.key").unlink()
    assert f"{old.id} is current again" in gate.call(*GO, "roll-back").stdout
    assert inventory.entries()[1][old.id].state is State.CURRENT


def test_a_day_after_the_switch_the_old_one_is_staged_again(gate, inventory, pair):
    old, new = pair
    gate.call(*GO, "switch", new.id)
    assert "you can still roll back to" in gate.call(*GO, "stage", old.id, code=1).stderr
    found = inventory.entries()[1][new.id]
    inventory.change([replace(found, current_from=found.current_from - 86401)], author="ann")
    assert f"changeover stage {old.id}, and switch to it" in gate.call(*GO, "roll-back", code=1).stderr
    assert gate.json(*GO, "stage", old.id)["replaces"] == [new.id]
    assert gate.json(*GO, "switch", old.id)["replaced"] == [new.id]


def test_a_time_that_is_past_switches_nothing(gate, inventory, pair):
    """A year mistyped must not be a switch at once."""
    _, new = pair
    refused = gate.call(*GO, "switch", new.id, "--at", "2020-12-01T02:00", code=2)
    assert "2020-12-01 02:00:00Z is in the past; to switch now, leave the time empty" in refused.stderr
    assert "a time from now on like 30m" in gate.call(*GO, "switch", new.id, "--at", "soon", code=2).stderr
    assert inventory.entries()[1][new.id].state is State.NEXT


def test_blanks_are_no_reason(gate, pair):
    old, new = pair
    assert "the reason is empty" in gate.call(*GO, "switch", new.id, "--force", "  ", code=2).stderr
    assert "the reason is empty" in gate.call("certificate", "remove", old.id, "--force", " ", code=2).stderr


def test_a_time_is_planned_and_dropped(gate, pair):
    _, new = pair
    assert gate.json(*GO, "switch", new.id, "--at", "1h")["switched"] is False
    planned = gate.call(*GO, "switch", new.id, "--at", "2h").stdout
    assert planned.startswith(f"{new.id} becomes current at 20")
    assert planned.strip().endswith("if the gates pass then")
    forced = gate.call(*GO, "switch", new.id, "--at", "2h", "--force", "agreed").stdout
    assert "with only the key checked again" in forced
    assert "to cancel it" in gate.call(*GO, "status").stdout
    assert "changes on" in gate.call(*GO, "notice", new.id).stdout.replace("\n", " ")
    gate.call(*GO, "cancel")
    gate.call(*GO, "cancel", new.id, code=1)
    gate.call(*GO, "switch", new.id, "--at", "next week", code=2)


def test_what_is_replaced_may_be_named(gate, inventory, pair):
    old, new = pair
    rsa = add(inventory, ServerIdentity(*AUTHORITY.issue([HOST], key="rsa")), state=State.CURRENT)
    assert gate.json(*GO, "stage", new.id)["replaces"] == [old.id]
    assert set(gate.json(*GO, "stage", new.id, "--replaces", rsa.id)["replaces"]) == {old.id, rsa.id}
    found = gate.json(*GO, "check", new.id, code=1)["findings"]
    assert any("the handshake would fail" in one["text"] for one in found if one["verdict"] == "fail")
    gate.call(*GO, "stage", old.id, code=1)


def test_partners_are_named(gate, pair):
    _, new = pair
    said = gate.call(*GO, "notice", new.id)
    assert new.leaf.sha256.upper() in said.stdout
    assert "NOT YET NOTIFIED  bank.example" in said.stderr
    assert gate.json(*GO, "notice", new.id)["partners"][0]["told"] is False
    assert "known partners: bank.example" in gate.call(*GO, "told", new.id, "nobody.example", code=2).stderr
    gate.call(*GO, "told", new.id, code=2)
    assert gate.json(*GO, "told", new.id, "BANK.example", "--waive")["left"] == []
    assert "need not be told: bank.example" in gate.json("certificate", "history")[0]["note"]


def test_a_certificate_of_the_settings_is_recorded_first(gate, inventory):
    """The gateway never ran: nobody has put its files into the inventory."""
    chain, key = gate.path / "mx.pem", gate.path / "mx.key"
    chain.write_bytes(OLD.chain_pem)
    key.touch(0o600)
    key.write_bytes(OLD.key_pem)
    with gate.file.open("a", encoding="utf-8") as file:
        file.write('\n[[certificate]]\nchain = "mx.pem"\nkey = "mx.key"\n')
    new = add(inventory, NEW)
    (old,) = gate.json(*GO, "switch", new.id)["replaced"]
    assert inventory.entries()[1][old].state is State.DEPRECATED
    assert inventory.chain_pem(inventory.entries()[1][old]) == OLD.chain_pem
    chain.write_bytes(NEW.chain_pem)
    key.write_bytes(NEW.key_pem)
    gate.call(*GO, "roll-back", code=2)
    chain.write_bytes(OLD.chain_pem)
    key.write_bytes(OLD.key_pem)
    gate.call(*GO, "roll-back")
    gate.call(*GO, "switch", new.id)
    left = gate.call(*GO, "withdraw", old, "--force", "x")
    assert f"delete {key} yourself" in left.stderr


def test_a_way_back_whose_tlsa_record_is_gone_is_told(gate, nameserver, pair):
    old, new = pair
    gate.call(*GO, "switch", new.id)
    nameserver.authentic = True
    nameserver.set(f"_25._tcp.{HOST} TLSA", f"3 1 1 {new.leaf.spki_sha256}")
    try:
        back = gate.call(*GO, "roll-back")
    finally:
        nameserver.authentic = False
        nameserver.set(f"_25._tcp.{HOST} TLSA")
    assert f"{old.id} is current again" in back.stdout
    assert f"_25._tcp.{HOST}. IN TLSA 3 1 1 {old.leaf.spki_sha256}" in back.stderr
