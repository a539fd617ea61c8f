"""Gates are looked at with a real inventory and a resolver that answers from a table."""

from __future__ import annotations

import asyncio

import dns.rdata
import pytest
import tomlkit

from gatepost.analysis.checks import changeover
from gatepost.analysis.checks.changeover import CheckContext, GateChecker, apply_step
from gatepost.analysis.checks.gates import GateCheck, Light
from gatepost.analysis.checks.partner_report import Mark
from gatepost.net.identity import ServerIdentity
from gatepost.net.lookups.dns import DnsAnswer, DnsStatus
from gatepost.net.lookups.http import HttpClient
from gatepost.net.lookups.question import LookupFailed
from gatepost.pki.certificates import lifecycle as course
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.entry import Origin, Purpose, State
from gatepost.pki.certificates.inventory import Inventory, entry_from
from gatepost.pki.certificates.lifecycle import Refused
from gatepost.pki.certificates.stapling import Stapler
from gatepost.pki.certificates.vault import Vault
from gatepost.settings.loader import load
from gatepost.store.changes import ConfigConflict, ConfigStore
from gatepost.values import replace

AUTHORITY = Authority("Changeover Root")
HOST = "mx.a.example"
OLD, NEW = (ServerIdentity(*AUTHORITY.issue([HOST])) for _ in range(2))
BEGIN = entry_from(OLD, now=0.0).leaf.not_before
NOW = BEGIN + 10 * 86400.0


class Names:
    """A resolver: what it knows, each answer with a time to live and whether it is proven."""

    def __init__(self):
        self.table = {(HOST, "A"): ["192.0.2.1"], ("a.example", "MX"): [f"10 {HOST}."]}
        self.authentic = True
        self.dane_off = ""
        self.ttl, self.zone_ttl = 300, 600

    async def query(self, name, rdtype):
        found = self.table.get((name, rdtype), [])
        if isinstance(found, Exception):
            raise found
        records = tuple(dns.rdata.from_text("IN", rdtype, text) for text in found)
        status = DnsStatus.OK if records else DnsStatus.NO_DATA
        return DnsAnswer(status, records, self.authentic, self.ttl, (name,), 0, self.zone_ttl if records else 0)


class World:
    def __init__(self, path, resources):
        (path / "anchors.pem").write_bytes(AUTHORITY.certificate_pem)
        document = {
            "server": {"hostname": HOST, "data_dir": "data"},
            "tls": {"trust_anchors": "anchors.pem"},
            "store": {"free_space": 0},
        }
        file = path / "gatepost.toml"
        file.write_text(tomlkit.dumps(document), encoding="utf-8")
        self.settings = load(str(file), {})
        self.store = ConfigStore(path / "data" / "config.db")
        self.inventory = Inventory(self.store, Vault(bytes(32)))
        self.names = Names()
        self.organizations = resources('[[organization.a.accepted_domain]]\nname = "a.example"').organizations
        self.old = self.add(OLD, state=State.CURRENT, current_from=BEGIN)
        self.new = self.add(NEW)

    def add(self, identity, **fields):
        entry = replace(entry_from(identity, now=BEGIN), **fields)
        self.inventory.add(entry, identity, author="ann")
        return entry

    def scene(self, now=NOW, **fields):
        return CheckContext(self.inventory.entries()[1], self.organizations, now, **fields)

    def keeper(self):
        client = HttpClient(self.names)
        return GateChecker(self.settings, self.inventory, self.names, client, Stapler(self.store, client))

    def look(self, entry=None, **fields):
        return asyncio.run(self.keeper().look(entry or self.new, self.scene(**fields)))

    def tlsa(self, *entries):
        self.table((f"_25._tcp.{HOST}", "TLSA"), [f"3 1 1 {one.leaf.spki_sha256}" for one in entries])

    def table(self, question, found):
        self.names.table[question] = found


@pytest.fixture
def world(tmp_path, resources):
    world = World(tmp_path, resources)
    yield world
    world.store.close()


def at(report, gate):
    return [(one.verdict, one.text) for one in report.findings if one.gate is gate]


def test_a_name_that_only_another_kind_of_key_goes_on_to_bear(world):
    """No name is lost, but who knows no RSA would find nothing for it."""
    other = "mail.a.example"
    world.add(ServerIdentity(*AUTHORITY.issue([HOST, other])), state=State.CURRENT, current_from=BEGIN + 1)
    world.add(ServerIdentity(*AUTHORITY.issue([HOST, other], key="rsa")), state=State.CURRENT, current_from=BEGIN)
    report = world.look()
    assert report.light is Light.RED
    assert Mark.FAIL not in [verdict for verdict, _ in at(report, GateCheck.NAMES)]
    (verdict, text), *_ = at(report, GateCheck.REHEARSAL)
    assert (verdict, text.endswith(f"asking for {other}")) == (Mark.FAIL, True)


def test_all_gates_are_open(world):
    report = world.look(seen={"b.example": 3})
    assert report.light is Light.GREEN, report.reasons
    assert {one.gate for one in report.findings} == set(GateCheck)
    assert at(report, GateCheck.PARTNERS)[0][0] is Mark.WARN
    assert at(world.look(), GateCheck.PARTNERS) == []


def test_a_key_that_cannot_be_opened(world):
    world.inventory = Inventory(world.store, Vault(bytes(range(32))))
    report = world.look()
    assert report.light is Light.RED
    assert at(report, GateCheck.KEY)[0][0] is Mark.FAIL
    assert at(report, GateCheck.REHEARSAL) == []


def test_files_that_hold_another_certificate_by_now(world, tmp_path):
    chain, key = tmp_path / "c.pem", tmp_path / "k.pem"
    chain.write_bytes(OLD.chain_pem)
    key.touch(0o600)
    key.write_bytes(OLD.key_pem)
    moved = replace(world.new, origin=Origin.FILES, chain_file=str(chain), key_file=str(key))
    (one, *_) = world.look(moved).findings
    assert one.verdict is Mark.FAIL


def test_anchors_that_cannot_be_read(world, tmp_path):
    (tmp_path / "anchors.pem").write_text("nothing")
    found = at(world.look(), GateCheck.CHAIN)
    assert [verdict for verdict, _ in found] == [Mark.UNKNOWN]


def test_records_are_remembered_from_the_first_sight(world):
    world.tlsa(world.old)
    assert at(world.look(), GateCheck.TLSA)[0][0] is Mark.FAIL
    world.tlsa(world.old, world.new)
    asyncio.run(world.keeper().sight(world.new, world.scene(NOW)))
    waiting = world.look(now=NOW + 599)
    assert (waiting.light, waiting.only_waiting) == (Light.RED, NOW + 600)
    assert world.look(now=NOW + 600).light is Light.GREEN


@pytest.mark.parametrize(
    ("zone", "ttl", "waits"),
    [
        (600, 30, 600),  # what the signature says counts, not what is left of it
        (0, 30, 30),
        (0, 3600, 86400),  # the resolver says no more than that: a day is assumed
    ],
)
def test_how_long_records_may_be_kept(world, zone, ttl, waits):
    world.names.zone_ttl, world.names.ttl = zone, ttl
    world.tlsa(world.old, world.new)
    assert world.look().only_waiting == NOW + waits


def test_records_count_though_nobody_here_validates(world):
    """Others may: DANE is off here, and the records are there."""
    world.names.authentic = False
    world.tlsa(world.old)
    assert at(world.look(), GateCheck.TLSA)[0][0] is Mark.INFO  # the zone is not signed
    world.names.dane_off = "no nameserver validates"
    assert at(world.look(), GateCheck.TLSA)[0][0] is Mark.FAIL
    world.tlsa()
    assert at(world.look(), GateCheck.TLSA)[0][0] is Mark.INFO


def test_the_dns_does_not_answer(world):
    world.table(("a.example", "MX"), LookupFailed("no answer"))
    world.table((f"_25._tcp.{HOST}", "TLSA"), LookupFailed("no answer"))
    report = world.look()
    assert report.light is Light.UNKNOWN
    assert at(report, GateCheck.TLSA)[0][0] is Mark.UNKNOWN
    world.table((HOST, "A"), LookupFailed("no such name", temporary=False))
    assert at(world.look(), GateCheck.TLSA)[0][0] is Mark.INFO


def test_after_the_switch(world):
    world.tlsa(world.old, world.new)
    changed = course.switch(world.new, world.scene().entries, now=NOW)
    world.inventory.change(changed, author="ann")
    found = at(world.look(changed[0]), GateCheck.TLSA)
    assert found == [(Mark.INFO, f"{HOST}: the record of the previous certificate is still published")]


def test_a_look_that_takes_too_long(world, monkeypatch):
    async def never(_domain):
        await asyncio.sleep(60)

    monkeypatch.setattr(changeover, "_WHOLE", 0.05)
    monkeypatch.setattr(changeover.MailRouter, "mail_hosts", lambda _self, domain: never(domain))
    report = world.look()
    assert report.light is Light.UNKNOWN
    assert "did not end" in report.reasons


def test_a_client_certificate(world):
    client = ServerIdentity(*AUTHORITY.issue(["contoso.example"]))
    entry = world.add(client, purpose=Purpose.CLIENT, organization="a", label="bank")
    report = world.look(entry)
    assert report.light is Light.GREEN, report.reasons
    assert {one.gate for one in report.findings} == {GateCheck.KEY, GateCheck.CHAIN, GateCheck.NAMES}


def test_a_step_is_done_again_if_somebody_was_quicker(world):
    tries = []

    def step(entries):
        tries.append(len(tries))
        if len(tries) < 3:
            world.inventory.change([replace(world.old, label=f"try {len(tries)}")], author="bob")
        return (course.stage(entries[world.new.id], entries),)

    (done,) = apply_step(world.inventory, step, world.inventory.entries, author="ann", note="n")
    assert (done.replaces, tries) == ((world.old.id,), [0, 1, 2])
    assert world.store.history("certificate")[0].note == "n"


def test_a_step_is_not_tried_for_ever(world):
    def step(entries):
        world.inventory.change([replace(entries[world.old.id], label=entries[world.old.id].label + "x")], author="bob")
        return (course.stage(entries[world.new.id], entries),)

    with pytest.raises(ConfigConflict):
        apply_step(world.inventory, step, world.inventory.entries, author="ann", note="")
    with pytest.raises(Refused):
        apply_step(
            world.inventory,
            lambda entries: (course.stage(entries[world.old.id], entries),),
            world.inventory.entries,
            author="ann",
            note="",
        )


SURROUNDED = """
[[organization.a.accepted_domain]]
name = "a.example"
mta_sts = "enforce"
mta_sts_mx = ["*.other.example"]
[[organization.a.outbound_connector]]
name = "here"
recipient_domains = ["x.example"]
smart_hosts = ["mx.a.example"]
tls_settings = "domain-validation"
tls_domain = "mail.b.example"
"""


def test_what_policies_and_connectors_of_ours_ask(world, resources):
    world.organizations = resources(SURROUNDED).organizations
    world.table(("a.example", "MX"), ["10 mx.a.example.", "20 mx.other.example."])
    report = world.look()
    assert report.light is Light.RED
    assert [text for verdict, text in at(report, GateCheck.REHEARSAL) if verdict is Mark.FAIL] == [
        "outbound connector 'here' of a sends here and would reject it: it requires the name mail.b.example"
    ]
    assert [text for verdict, text in at(report, GateCheck.NAMES) if verdict is Mark.FAIL] == [
        "it covers no MX host that the MTA-STS policy of a.example allows: mx.other.example"
    ]


def test_a_chain_that_is_lost(world, resources):
    world.organizations = resources(SURROUNDED).organizations
    world.tlsa(world.old)
    world.store.apply({}, author="ann", content={f"certificate/{world.new.id}/chain": None})
    report = world.look()
    assert at(report, GateCheck.CHAIN) == [(Mark.FAIL, "its chain cannot be read")]
    assert report.unusable


def test_what_was_remembered_by_another_version_is_forgotten(world):
    world.inventory.remember(world.new, b"what?")
    world.tlsa(world.old, world.new)
    assert world.look().only_waiting == NOW + 600
