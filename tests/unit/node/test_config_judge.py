"""A worker that asks: the gateway's own code over a store that asks, and what somebody who took it over asks for."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from support.status_authority import StatusAuthority, places

from gatepost.analysis.alarms.alarm import ALARMS_CONTENT, Memory, encoded
from gatepost.net.identity import ServerIdentity
from gatepost.node import config_judge
from gatepost.node.config_judge import SITE_HOST, answering
from gatepost.node.expiry_clock import CLOCK_CONTENT, ExpiryClock
from gatepost.node.quarantine import DIGEST_CONTENT
from gatepost.pki.acme import schedule
from gatepost.pki.acme.challenges import PENDING, Proof, Proofs
from gatepost.pki.acme.issuer import Issuer
from gatepost.pki.certificates import lifecycle
from gatepost.pki.certificates.entry import Origin, State, document_of
from gatepost.pki.certificates.inventory import Inventory, chain_place, entry_from, key_place
from gatepost.pki.certificates.stapling import Staple, staple_place, subject_of
from gatepost.pki.certificates.vault import Vault
from gatepost.pki.certificates.watch import FileWatch
from gatepost.pki.site.membership import Member, node_request, own_certificate
from gatepost.pki.site.site import Site, read_secret, read_token
from gatepost.pki.site.store import AUTHORITY, MEMBERSHIP, NODE, TOKEN, SiteStore
from gatepost.store.changes import CONFIGURATION, ConfigConflict, ConfigFile, ConfigStore
from gatepost.store.config_requests import WRITE_ACCESS, ConfigRequest, ReplyKind, RequestedConfig
from gatepost.store.interface import StoreFailure
from gatepost.values import replace

VAULT = Vault(bytes(range(32)))
HOST = "mx.gate.example"
HOUR, DAY, YEAR = 3600.0, 86400.0, 365 * 86400.0
ACME = {"agree_tos": True, "contact": ["mailto:a@gate.example"]}


class Scene:
    """admin: writes. worker: the store of a worker, which asks. now: of this moment."""

    def __init__(self, home, **sections):
        key = home.path / "master.key"
        key.touch(0o600)
        key.write_bytes(bytes(range(32)))
        home.data.mkdir(mode=0o700, exist_ok=True)
        self.home = home
        self.settings = home.settings(store={"master_key": f"file:{key}", "free_space": 0}, **sections)
        self.pairs = [(home.chain, home.key)]
        self.now = time.time()
        self.admin = ConfigStore(home.data / "config.db")
        self.become("worker 0")
        self.worker = RequestedConfig(home.data / "config.db")
        self.inventory = Inventory(self.worker, VAULT)

    def become(self, who):
        WRITE_ACCESS.ask = None
        WRITE_ACCESS.ask = answering(self.settings, who)

    def close(self):
        self.worker.close()
        self.admin.close()
        WRITE_ACCESS.ask = None

    def added(self, *names, **fields):
        """A certificate with a sealed key that an administrator added."""
        identity = ServerIdentity(*self.home.authority.issue(names or (HOST,)))
        entry = replace(entry_from(identity, now=self.now - DAY), **fields)
        Inventory(self.admin, VAULT).add(entry, identity, author="ann")
        return entry

    def entry(self, number):
        return self.inventory.entries()[1][number]


@pytest.fixture
def scene(home):
    made = Scene(home, acme=ACME)
    yield made
    made.close()


def denied(ask, *words, match="configuration was not changed"):
    with pytest.raises(StoreFailure, match=match):
        ask(*words)


# what an administrator alone changes


@pytest.mark.parametrize("kind", ["organization", "grant", "certificate_request", "certificate_directory", "user"])
def test_resources_are_for_administrators(scene, kind):
    denied(lambda: scene.worker.apply({kind: {"mine": {}}}, author="x"), match="only administrators")
    scene.admin.apply({kind: {"theirs": {"a": 1}}}, author="ann")
    denied(lambda: scene.worker.apply({kind: {"theirs": None}}, author="x"), match="only administrators")
    assert scene.admin.load(kind)[1] == {kind: {"theirs": {"a": 1}}}


@pytest.mark.parametrize(
    "place",
    ["password-secret", "srs", "store/canary", "certificate/0123456789abcdef/key", "certificate/0123456789abcdef/chain",
     "dkim/a/s1", "acme/http-01/short", "acme/0123456789abcdef/state", "site_authority/a/key", "site_membership/key"],
)  # fmt: skip
def test_contents_of_other_places_are_not_stored(scene, place):
    denied(lambda: scene.worker.apply({}, author="x", content={place: b"mine"}))
    scene.admin.apply({}, author="ann", content={place: b"theirs"})
    denied(lambda: scene.worker.apply({}, author="x", content={place: None}))
    assert scene.admin.content(place) == b"theirs"


def test_one_that_is_not_granted_leaves_all_as_it_was(scene):
    good = {DIGEST_CONTENT: b"2026-11-30"}
    denied(lambda: scene.worker.apply({}, author="x", content=good | {"password-secret": b"mine"}))
    denied(lambda: scene.worker.apply({"organization": {"mine": {}}}, author="x", content=good))
    assert scene.admin.content(DIGEST_CONTENT) is None
    assert scene.admin.version() == 0


def test_other_processes_change_nothing(scene):
    for who in ("worker 1", "policy host", "challenge host", "metrics host", SITE_HOST):
        scene.become(who)
        denied(lambda: scene.worker.apply({}, author="x", content={DIGEST_CONTENT: b"2026-11-30"}))


def test_what_reads_cannot_write_by_another_way(scene):
    denied(lambda: scene.worker.content_once("new", lambda: b"x"), match="may only read")
    scene.admin.apply({}, author="ann", content={"old": b"1"})
    denied(lambda: scene.worker.change_content("old", lambda _: b"x"), match="may only read")
    assert scene.worker.content_once("old", lambda: b"x") == b"1"


def test_the_history_says_who_wrote_it(scene):
    FileWatch(scene.inventory, scene.pairs).look(scene.now)
    (change,) = scene.admin.history("certificate")
    assert (change.author, change.note) == ("gatepost", f"found in {scene.home.chain}")


def test_a_conflict_is_told(scene):
    scene.admin.apply({"organization": {"a": {}}}, author="ann")
    with pytest.raises(ConfigConflict):
        scene.worker.apply({}, author="x", expected=0, content={DIGEST_CONTENT: b"2026-11-30"})


# state


def test_state_is_stored(scene):
    scene.worker.keep_apart({ALARMS_CONTENT: encoded(Memory())})
    scene.worker.keep_apart({DIGEST_CONTENT: b"2026-11-30"})
    assert scene.admin.content(DIGEST_CONTENT) == b"2026-11-30"
    ExpiryClock()._store(scene.worker)
    assert scene.admin.content(CLOCK_CONTENT)
    assert scene.worker.content(ALARMS_CONTENT) == encoded(Memory())


@pytest.mark.parametrize(
    ("place", "data"),
    [(ALARMS_CONTENT, b"[1]"), (ALARMS_CONTENT, b"\xff"), (ALARMS_CONTENT, None), (ALARMS_CONTENT, b"[" * 5000),
     (DIGEST_CONTENT, b"x" * 33), (DIGEST_CONTENT, None), (PENDING, b"{}"),
     (CLOCK_CONTENT, b'{"time":"now"}'), (CLOCK_CONTENT, b'{"time":' + b"1" * 300 + b"}"), (CLOCK_CONTENT, None)],
)  # fmt: skip
def test_state_has_its_form(scene, place, data):
    denied(lambda: scene.worker.apply({}, author="x", content={place: data}))


def test_observations_are_of_certificates_that_wait(scene):
    waits, current = scene.added(), scene.added("a.gate.example", state=State.CURRENT)
    scene.inventory.remember(waits, b"{}")
    denied(lambda: scene.inventory.remember(current, b"{}"))
    denied(lambda: scene.inventory.remember(waits, b" " * (1 << 19)))
    assert scene.inventory.seen(waits) == b"{}"


def test_a_response_to_staple_is_good_and_about_one_of_ours(scene):
    authority, stranger = StatusAuthority("Root"), StatusAuthority("Root")
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName(HOST)])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    leaf = authority.issue(subject, key, [(names, False), *places([], ["http://127.0.0.1/ocsp"])])
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in (leaf, authority.certificate))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    identity = ServerIdentity(chain, pem)
    place = staple_place(subject_of(identity))

    def response(by=authority, status="good", fetched=0.0):
        return msgspec.msgpack.encode(Staple(scene.now + fetched, by.response(leaf, status)))

    denied(lambda: scene.worker.keep_apart({place: response()}))
    Inventory(scene.admin, VAULT).add(replace(entry_from(identity, now=scene.now)), identity, author="ann")
    late = (response(fetched=YEAR), response(fetched=math.inf), response(fetched=math.nan), response(fetched=-DAY))
    for bad in (
        *late,
        response(stranger),
        response(status="revoked"),
        b"",
        msgspec.msgpack.encode(Staple(scene.now, b"x")),
    ):
        denied(lambda bad=bad: scene.worker.keep_apart({place: bad}))
    scene.worker.keep_apart({place: response()})
    assert scene.worker.content(place)


# certificates in files


def test_files_of_the_settings_are_recorded_and_renewed(scene):
    watch = FileWatch(scene.inventory, scene.pairs)
    watch.look(scene.now)
    (first,) = scene.inventory.entries()[1].values()
    scene.home.issue()
    watch.look(scene.now + 1)
    second, old = scene.inventory.entries()[1].values()
    assert (second.state, old.id, old.state) == (State.CURRENT, first.id, State.DEPRECATED)


def test_files_that_the_settings_name_no_more_are_withdrawn(scene):
    FileWatch(scene.inventory, scene.pairs).look(scene.now)
    FileWatch(scene.inventory, []).look(scene.now)
    assert [entry.state for entry in scene.inventory.entries()[1].values()] == [State.CURRENT]
    scene.settings = scene.home.settings(certificate=[])
    scene.become("worker 0")
    FileWatch(scene.inventory, []).look(scene.now)
    (entry,) = scene.inventory.entries()[1].values()
    assert entry.state is State.DEPRECATED


def test_files_of_a_directory_are_recorded(scene):
    folder = scene.home.path / "live"
    folder.mkdir()
    chain, key = scene.home.authority.issue(["other.gate.example"])
    (folder / "fullchain.pem").write_bytes(chain)
    (folder / "privkey.pem").touch(0o600)
    (folder / "privkey.pem").write_bytes(key)
    watch = FileWatch(scene.inventory, [])
    pair = (folder / "fullchain.pem", folder / "privkey.pem")
    identity = ServerIdentity(chain, key)
    mine = replace(
        entry_from(identity, now=scene.now), origin=Origin.FILES, chain_file=str(pair[0]), key_file=str(pair[1]),
        state=State.CURRENT, current_from=scene.now,
    )  # fmt: skip
    denied(lambda: scene.inventory.record(mine, chain, note="found"))
    Inventory(scene.admin, VAULT).directories.add(folder, author="ann")
    watch.look(scene.now)
    assert [entry.chain_file for entry in scene.inventory.entries()[1].values()] == [str(pair[0])]


def test_a_certificate_of_files_is_the_one_in_them(scene):
    other = ServerIdentity(*scene.home.authority.issue([HOST]))
    mine = replace(
        entry_from(other, now=scene.now), origin=Origin.SETTINGS, state=State.CURRENT, current_from=scene.now,
        chain_file=str(scene.home.chain), key_file=str(scene.home.key),
    )  # fmt: skip
    denied(lambda: scene.inventory.record(mine, other.chain_pem, note="found"))


# changeovers


def test_a_planned_changeover_is_made_at_its_time(scene):
    current = scene.added(state=State.CURRENT)
    waits = scene.added(switch_at=scene.now + HOUR)

    def switch():
        entries = scene.inventory.entries()[1]
        scene.inventory.change(lifecycle.switch(entries[waits.id], entries, now=time.time()), author="gatepost")

    denied(switch)
    planned = replace(waits, switch_at=scene.now - 1)
    Inventory(scene.admin, VAULT).change([planned], author="ann")
    switch()
    assert (scene.entry(waits.id).state, scene.entry(current.id).state) == (State.CURRENT, State.DEPRECATED)


def test_a_changeover_that_is_held_back_says_why(scene):
    waits = scene.added(switch_at=scene.now - 1)
    denied(lambda: scene.inventory.change([lifecycle.hold(waits, "x" * 20_000)], author="gatepost"))
    scene.inventory.change([lifecycle.hold(waits, "tlsa: no record")], author="gatepost")
    assert scene.entry(waits.id).held == "tlsa: no record"
    denied(lambda: scene.inventory.change([lifecycle.hold(waits, "another")], author="gatepost"))


@pytest.mark.parametrize(
    "change",
    [
        {"state": State.CURRENT},
        {"state": State.RETIRED},
        {"key_file": "/etc/shadow", "chain_file": "/etc/passwd"},
        {"organization": "mine"},
        {"label": "mine"},
        {"switch_at": 1.0},
        {"forced": "because"},
        {"origin": Origin.ACME},
        {"must_staple": True},
    ],
)
def test_no_other_change_of_a_certificate_is_made(scene, change):
    waits = scene.added()
    denied(lambda: scene.inventory.change([replace(waits, since=scene.now, **change)], author="gatepost"))
    denied(lambda: scene.inventory.change([replace(waits, **change)], author="gatepost"))
    assert scene.entry(waits.id) == waits


def test_no_certificate_is_removed(scene):
    waits = scene.added()
    denied(lambda: scene.inventory.remove(waits, author="gatepost"))
    identity = ServerIdentity(*scene.home.authority.issue([HOST]))
    denied(lambda: scene.inventory.add(entry_from(identity, now=scene.now), identity, author="x", gone=[waits]))
    assert scene.inventory.identity(scene.entry(waits.id))


def test_a_step_carries_no_contents_of_others(scene):
    waits = scene.added(switch_at=scene.now - 1)
    document = {"certificate": {waits.id: document_of(lifecycle.hold(waits, "why"))}}
    for content in ({"password-secret": b"mine"}, {f"certificate/{waits.id}/key": b"mine"}):
        denied(lambda content=content: scene.worker.apply(document, author="x", content=content))


# ACME


def came(scene, *names):
    """A certificate that came, stored as the issuer stores it."""
    identity = ServerIdentity(*scene.home.authority.issue(names or (HOST,)))
    fresh = replace(entry_from(identity, now=time.time()), origin=Origin.ACME)
    version, entries = scene.inventory.entries()
    placed, others, gone, _ = schedule.placed(schedule.staged(fresh, entries), entries, "", time.time())
    scene.inventory.add(placed, identity, author="gatepost", others=others, gone=gone, expected=version)
    return placed


def test_a_certificate_that_came_takes_the_place_of_the_one_before(scene):
    first = came(scene)
    second = came(scene)
    assert (scene.entry(first.id).state, scene.entry(second.id).state) == (State.DEPRECATED, State.CURRENT)
    assert scene.inventory.identity(second).key_pem


def test_it_is_for_names_that_the_settings_ask_for(scene):
    denied(came, scene, "bank.example")
    denied(came, scene, HOST, "bank.example")


def test_its_key_is_sealed_and_its_own(scene):
    identity = ServerIdentity(*scene.home.authority.issue([HOST]))
    other = ServerIdentity(identity.chain_pem, scene.home.authority.issue([HOST])[1])
    entry = lifecycle.switch(replace(entry_from(identity, now=scene.now), origin=Origin.ACME), {}, now=scene.now)[0]
    denied(lambda: scene.inventory.add(entry, other, author="x"))
    denied(lambda: Inventory(scene.worker, Vault(bytes(32))).add(entry, identity, author="x"))


def test_those_that_come_for_the_same_names_are_bounded(scene):
    for _ in range(50):
        came(scene)
    denied(came, scene)
    assert len(scene.inventory.entries()[1]) == 50


def test_they_are_counted_by_the_time_at_which_they_came(scene):
    """An older one would not count."""
    identity = ServerIdentity(*scene.home.authority.issue([HOST]))
    for added in (1.0, math.nan, True, "now", None):
        document = document_of(
            lifecycle.switch(replace(entry_from(identity, now=scene.now), origin=Origin.ACME), {}, now=scene.now)[0]
        )
        entry = entry_from(identity, now=scene.now)
        content = {chain_place(entry): identity.chain_pem}
        content[key_place(entry)] = VAULT.seal(identity.key_pem, key_place(entry))
        document["added"] = added
        denied(lambda table={entry.id: document}, data=content: scene.worker.apply(
            {"certificate": table}, author="x", content=data
        ))  # fmt: skip
    document["added"] = scene.now
    scene.worker.apply({"certificate": {entry.id: document}}, author="x", content=content)


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "now", [1.0]])
def test_times_are_numbers(scene, value):
    """What is stored otherwise could not be read any more, by any process."""
    current, waits = scene.added(state=State.CURRENT), scene.added(switch_at=scene.now - 1)
    entries = scene.inventory.entries()[1]
    documents = {entry.id: document_of(entry) for entry in lifecycle.switch(waits, entries, now=scene.now)}
    for name, document in documents.items():
        changed = document | {"since": value, "current_from": value if name == waits.id else 0.0}
        denied(lambda table=documents | {name: changed}: scene.worker.apply({"certificate": table}, author="x"))
    documents = {name: document | {"since": value} for name, document in documents.items()}
    documents[waits.id]["current_from"] = documents[current.id]["current_until"] = value
    denied(lambda: scene.worker.apply({"certificate": documents}, author="x"))


@pytest.mark.parametrize("value", [["x" * 10_000] * 100, {"a": 1}, 1, None])
def test_a_reason_is_a_text(scene, value):
    waits = scene.added(switch_at=scene.now - 1)
    document = document_of(lifecycle.hold(waits, "why")) | {"held": value}
    denied(lambda: scene.worker.apply({"certificate": {waits.id: document}}, author="x"))


def test_a_step_is_of_few_certificates(scene):
    denied(
        lambda: scene.worker.apply({"certificate": dict.fromkeys(map(str, range(1001)))}, author="x"), match="too many"
    )


def test_where_acme_is_off_nothing_of_it_is_stored(home):
    scene = Scene(home)
    try:
        denied(came, scene)
        token = Proof("http-01", HOST, "abcdefghijklmnopqrst", "value")
        denied(lambda: scene.worker.apply({}, author="x", content={PENDING: msgspec.json.encode([token])}))
    finally:
        scene.close()


def test_tokens_come_and_go(scene):
    places = [f"acme/http-01/{number:020}" for number in range(3)]
    scene.worker.apply({}, author="x", content=dict.fromkeys(places, b"value"))
    denied(lambda: scene.worker.apply({}, author="x", content={places[0]: b"x" * 1025}))
    scene.worker.apply({}, author="x", content={PENDING: b'[{"kind":"a","name":"b","place":"c","value":"d"}]'})
    assert Proofs(scene.settings.acme, scene.worker).are_pending()
    scene.worker.apply({}, author="x", content=dict.fromkeys([*places, PENDING]))
    assert scene.admin.contents("acme/", "") == {}


@pytest.mark.parametrize(
    "proof",
    [
        Proof("http-01", HOST, "../x", "value"),
        Proof("dns-01", HOST, "_acme-challenge.a", "a\0b"),
        Proof("", "", "\n", ""),
    ],
)
def test_what_could_not_be_tidied_up_is_not_listed(scene, proof):
    """No certificate would come any more: it is tidied up before each."""
    denied(lambda: scene.worker.apply({}, author="x", content={PENDING: msgspec.json.encode([proof])}))
    good = [Proof("http-01", HOST, "a" * 20, "value"), Proof("dns-01", HOST, "_acme-challenge.a", "b")]
    denied(lambda: scene.worker.apply({}, author="x", content={PENDING: msgspec.json.encode(good * 250)}))
    scene.worker.apply({}, author="x", content={PENDING: msgspec.json.encode(good)})


def test_tokens_are_few(scene):
    kept = {f"acme/http-01/{number:020}": b"value" for number in range(500)}
    scene.admin.apply({}, author="ann", content=kept)
    denied(lambda: scene.worker.apply({}, author="x", content={"acme/http-01/abcdefghijklmnopqrst": b"value"}))


def test_the_accounts_key_is_made_once(scene):
    issuer = Issuer(scene.settings, scene.worker)
    key = issuer._account_key()
    assert issuer._account_key() == key
    place = issuer._place("key")
    denied(lambda: scene.worker.apply({}, author="x", content={place: VAULT.seal(b"mine", place)}))
    denied(lambda: scene.worker.apply({}, author="x", content={place: None}))
    issuer._keep(issuer.kept())
    assert scene.admin.content(issuer._place("state"))


# a site


@pytest.fixture
def site(scene):
    """The site whose authority is kept here, over the store of an administrator."""
    made = Site(SiteStore(scene.admin, VAULT, scene.settings.server))
    made.init("a-site", (), author="ann", now=scene.now - HOUR)
    own_certificate(SiteStore(scene.admin, VAULT, scene.settings.server), HOST, lifetime=DAY, now=scene.now - HOUR)
    return made


def test_the_node_of_the_authority_renews(scene, site):
    records = SiteStore(scene.worker, VAULT, scene.settings.server)
    member = own_certificate(records, HOST, lifetime=DAY, now=time.time())
    assert Member(records).membership() == member
    denied(lambda: own_certificate(records, HOST, lifetime=DAY, now=time.time()), match="records of the site")
    denied(lambda: own_certificate(records, "mx2.gate.example", lifetime=DAY, now=time.time()))


def test_what_has_expired_is_pruned_and_nothing_else(scene, site):
    old, _ = site.new_token("", valid=-HOUR, author="ann", now=scene.now)
    fresh, _ = site.new_token("", valid=HOUR, author="ann", now=scene.now)
    asks = Site(SiteStore(scene.worker, VAULT, scene.settings.server))
    denied(lambda: asks.remove_token(fresh.id, author="x"))
    denied(lambda: asks.new_token("", valid=HOUR, author="x", now=scene.now))
    denied(lambda: asks.remove_node(HOST, author="x"))
    authority = site.state().authorities[0].id
    denied(lambda: scene.worker.apply({AUTHORITY: {authority: None}}, author="x"))
    denied(lambda: scene.worker.apply({}, author="x", content={f"{AUTHORITY}/{authority}/key": None}))
    assert asks.prune(time.time())
    assert set(site.state().tokens) == {fresh.id} != {old.id}


def test_a_node_joins_with_a_token_and_renews(scene, site):
    scene.become(SITE_HOST)
    asks = Site(SiteStore(scene.worker, VAULT, scene.settings.server))
    token, text = site.new_token("", valid=HOUR, author="ann", now=scene.now)
    request, key = node_request("mx2.gate.example")
    grant = asks.join(read_secret(read_token(text)[0]), request, lifetime=DAY, now=time.time())
    assert token.id not in site.state().tokens
    chain = [x509.load_pem_x509_certificate(grant.certificate_pem).public_bytes(Encoding.DER)]
    for later in (100, 200, 300):  # the answers are lost
        asks.renew(chain, request, lifetime=DAY, now=time.time() + later)
    before = site.state().nodes["mx2.gate.example"]
    assert len(before.thumbprints) == 2
    assert key
    node = msgspec.to_builtins(before) | {"renewed": time.time() + 500}
    for wrong in (["a", "b"], ["a"]):
        denied(lambda wrong=wrong: scene.worker.apply({NODE: {before.name: node | {"thumbprints": wrong}}}, author="x"))


def test_what_a_clock_that_was_ahead_wrote_is_renewed(scene, site):
    """What the gateway renews by itself, of the node of the authority and of another."""
    server, later = scene.settings.server, scene.now + 30 * DAY
    token, text = site.new_token("", valid=HOUR, author="ann", now=scene.now)
    grant = site.join(
        read_secret(read_token(text)[0]),
        node_request(token.node or "mx2.gate.example")[0],
        lifetime=DAY,
        now=scene.now - HOUR,
    )
    chain = [x509.load_pem_x509_certificate(grant.certificate_pem).public_bytes(Encoding.DER)]
    node = msgspec.to_builtins(site.state().nodes["mx2.gate.example"]) | {"renewed": later}
    scene.admin.apply({NODE: {"mx2.gate.example": node}}, author="ann")
    own_certificate(SiteStore(scene.admin, VAULT, server), HOST, lifetime=DAY, now=later)
    own_certificate(SiteStore(scene.worker, VAULT, server), HOST, lifetime=DAY, now=time.time())
    scene.become(SITE_HOST)
    asks = Site(SiteStore(scene.worker, VAULT, server))
    assert asks.renew(chain, node_request("mx2.gate.example")[0], lifetime=DAY, now=time.time())


def test_the_name_of_a_server_of_the_site_needs_a_token_of_its_own(scene, site):
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    site.issue(["exch.gate.example"], key, lifetime=DAY, author="ann", now=scene.now)
    site.new_token("", valid=HOUR, author="ann", now=scene.now)
    scene.become(SITE_HOST)
    name, (number,) = "exch.gate.example", site.state().tokens
    node = replace(site.state().nodes[HOST], name=name, thumbprints=("a",), renewed=scene.now, joined=scene.now)
    records = {NODE: {name: msgspec.to_builtins(node)}, TOKEN: {number: None}}
    denied(lambda: scene.worker.apply(records, author="x"), match="records of the site")


def test_a_node_that_is_known_joins_again_with_a_token_for_it(scene, site):
    """Its certificate has expired, or its machine is new; and the answer to a request may be lost."""
    scene.become(SITE_HOST)
    asks, name = Site(SiteStore(scene.worker, VAULT, scene.settings.server)), "mx2.gate.example"

    def secret():
        return read_secret(read_token(site.new_token(name, valid=HOUR, author="ann", now=scene.now)[1])[0])

    first, again = secret(), node_request(name)[0]
    asks.join(first, node_request(name)[0], lifetime=DAY, now=time.time())
    second = secret()
    asks.join(second, again, lifetime=DAY, now=time.time())
    thumbprint = site.state().nodes[name].thumbprints[0]
    asks.join(second, again, lifetime=DAY, now=time.time() + 1)
    assert site.state().nodes[name].thumbprints[1:] == (thumbprint,)
    known = msgspec.to_builtins(site.state().nodes[name]) | {
        "thumbprints": ["a", *site.state().nodes[name].thumbprints[:1]]
    }
    for wrong in ({"admission": "0" * 64}, {"admission": ""}, {"joined": time.time() - 5}):
        denied(lambda wrong=wrong: scene.worker.apply({NODE: {name: known | wrong}}, author="x"))


def test_a_gateway_that_keeps_the_authority_and_has_another_name_certifies_itself(scene, site, home):
    """As a backup that was restored on a machine of another name."""
    key, server = scene.settings.store.master_key, {"hostname": "mx9.gate.example", "data_dir": str(home.data)}
    renamed = scene.home.settings(store={"master_key": key, "free_space": 0}, server=server)
    records = SiteStore(scene.worker, VAULT, renamed.server)
    denied(lambda: own_certificate(records, "mx9.gate.example", lifetime=DAY, now=time.time()))
    scene.settings = renamed
    scene.become("worker 0")
    member = own_certificate(records, "mx9.gate.example", lifetime=DAY, now=time.time())
    assert Member(records).membership() == member
    assert (member.node, member.site) == ("mx9.gate.example", "a-site")


def test_a_node_without_a_token_is_not_entered(scene, site):
    scene.become(SITE_HOST)
    node = msgspec.to_builtins(replace(site.state().nodes[HOST], name="mx9.gate.example", thumbprints=("a",)))
    other, _ = site.new_token("mx3.gate.example", valid=HOUR, author="ann", now=scene.now)
    denied(lambda: scene.worker.apply({NODE: {"mx9.gate.example": node}}, author="x"))
    denied(lambda: scene.worker.apply({NODE: {"mx9.gate.example": node}, TOKEN: {other.id: None}}, author="x"))
    denied(lambda: scene.worker.apply({TOKEN: {other.id: None}}, author="x"))
    denied(lambda: scene.worker.apply({NODE: {HOST: None}}, author="x"))
    denied(lambda: scene.worker.apply({MEMBERSHIP: {MEMBERSHIP: None}}, author="x"))


@pytest.mark.parametrize("field", ["renewed", "joined", "not_after"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_times_of_a_node_are_numbers(scene, site, field, value):
    """The store would keep null, and no record of the site could be read any more."""
    scene.become(SITE_HOST)
    _, text = site.new_token("", valid=HOUR, author="ann", now=scene.now)
    (token,) = site.state().tokens
    node = msgspec.to_builtins(
        replace(site.state().nodes[HOST], name="mx9.gate.example", thumbprints=("a",), renewed=scene.now)
    )
    denied(
        lambda: scene.worker.apply(
            {NODE: {"mx9.gate.example": node | {field: value}}, TOKEN: {token: None}}, author="x"
        )
    )
    assert text
    assert set(site.state().nodes) == {HOST}


def test_a_membership_stays_in_its_site(scene, site):
    records = SiteStore(scene.worker, VAULT, scene.settings.server)
    member = Member(records)
    known = member.membership()
    request, key = node_request(HOST)
    grant = site.certify_own(HOST, request, lifetime=DAY, now=time.time(), author="ann")
    denied(lambda: member.take(grant, key, HOST, "", author="x", now=known.issued + 60))
    denied(lambda: member.take(grant, key, HOST, "elsewhere.example:443", author="x", now=time.time()))
    denied(lambda: member.leave(author="x"))
    assert member.membership() == known
    member.take(grant, key, HOST, "", author="x", now=time.time())
    assert member.membership() != known


def test_a_node_that_is_in_no_site_joins_none(scene, home):
    other = ConfigStore(home.path / "other" / "config.db")
    site = Site(SiteStore(other, VAULT))
    site.init("mine", (), author="mallory", now=scene.now)
    request, key = node_request(HOST)
    grant = site.certify_own(HOST, request, lifetime=DAY, now=time.time(), author="mallory")
    member = Member(SiteStore(scene.worker, VAULT, scene.settings.server))
    denied(lambda: member.take(grant, key, HOST, "", author="x", now=time.time()))
    other.close()


# nodes that share a store, where each worker may have a lease


class SharedFile(ConfigFile):
    """A file in place of the server, which the whole site has in common."""

    is_shared = True

    def another(self):
        return SharedFile(self.path.parent, CONFIGURATION, file=self.path.name)


@pytest.fixture
def shared(scene, home):
    store = ConfigStore(home.data / "config.db", SharedFile(home.data, CONFIGURATION))
    WRITE_ACCESS.ask = lambda request: config_judge.answer(scene.settings, store, VAULT, "worker 3", request)
    scene.worker.close()
    scene.worker = RequestedConfig(home.data / "config.db", is_shared=True)
    yield store
    store.close()


def test_any_worker_asks_where_nodes_share_a_store(scene, shared):
    scene.worker.apply({}, author="x", content={DIGEST_CONTENT: b"2026-11-30"})
    assert shared.content(DIGEST_CONTENT) == b"2026-11-30"
    denied(lambda: scene.worker.apply({"organization": {"mine": {}}}, author="x"), match="only administrators")
    request = ConfigRequest(content={DIGEST_CONTENT: b"2026-12-01"})
    reply = config_judge.answer(scene.settings, shared, VAULT, "policy host", request)
    assert reply.kind is ReplyKind.DENIED


def test_a_node_certifies_itself_where_the_authority_is_in_the_shared_store(scene, shared, home):
    site = Site(SiteStore(scene.admin, VAULT))
    site.init("a-site", (), author="ann", now=scene.now - HOUR)
    records = SiteStore(scene.worker, VAULT, scene.settings.server)
    other = ConfigStore(home.path / "other" / "config.db")
    foreign = Site(SiteStore(other, VAULT))
    foreign.init("a-site", (), author="mallory", now=scene.now)
    request, key = node_request(HOST)
    grant = foreign.certify_own(HOST, request, lifetime=DAY, now=time.time(), author="mallory")
    denied(lambda: Member(records).take(grant, key, HOST, "", author="x", now=time.time()))

    member = own_certificate(records, HOST, lifetime=DAY, now=time.time())
    assert Member(records).membership() == member
    denied(lambda: own_certificate(records, "mx2.gate.example", lifetime=DAY, now=time.time()))
    denied(lambda: Member(records).take(grant, key, HOST, "", author="x", now=time.time()))
    other.close()


def test_all_that_keep_state_are_known():
    """A module that is new here needs a place in `config_judge`, and a test above, or its state is not stored."""
    source = Path(config_judge.__file__).parents[1]
    keepers = {
        path.stem
        for room in ("node", "mail", "net", "pki", "analysis", "events")
        for path in (source / room).rglob("*.py")
        if re.search(r"\bkeep_apart\b|\bcontent_once\(|\bchange_content\(", path.read_text())
    }
    assert keepers == {"alarms", "quarantine", "expiry_clock", "stapling", "roles", "site_key"}
