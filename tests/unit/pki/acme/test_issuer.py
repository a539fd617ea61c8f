"""What becomes of a certificate that came, and what is remembered; tests/system/test_acme.py has orders."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import timedelta

import pytest

import gatepost.pki.acme.issuer as module
from gatepost.net.identity import ServerIdentity, read_identity
from gatepost.pki.acme.challenges import AcmeFailed
from gatepost.pki.acme.issuer import Busy, Issuer, PublishedTlsa, alone
from gatepost.pki.acme.schedule import Progress, Step
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.entry import Origin, State
from gatepost.pki.certificates.inventory import entry_from
from gatepost.protocols.dane.tlsa import Records, classify
from gatepost.settings.model import Settings
from gatepost.store.leases import SharedLeases
from gatepost.store.site_tables import SITE
from gatepost.store.sqlite.database import SqliteDatabase
from gatepost.values import replace

NAMES = ("mx.a.example",)
AUTHORITY = Authority("ACME Root")
NOWHERE = "https://127.0.0.1:1/directory"


@pytest.fixture
def issuer(tmp_path, store):
    """issuer(...): with these keys of [acme]."""
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_bytes(bytes(32))

    def make(*, master=f"file:{key}", **fields):
        document = {
            "server": {"hostname": NAMES[0], "data_dir": str(tmp_path)},
            "store": {"master_key": master},
            "dns": {"nameservers": ["127.0.0.1:1"], "timeout": 0.05, "attempts": 1},
            "acme": {"directory_url": NOWHERE, "agree_tos": True, **fields},
        }
        return Issuer(Settings(**document), store, author="ann")

    return make


def made(names=NAMES, kind="ec", days=90):
    return ServerIdentity(*AUTHORITY.issue(list(names), key=kind, lifetime=timedelta(days=days)))


def take(issuer, identity, tlsa=(), names=NAMES):
    return issuer._take(module._checked(identity, names), identity, tlsa)


def states(issuer):
    return sorted(str(one.state) for one in issuer.inventory.entries()[1].values())


def tlsa(*identities):
    """Records 3 1 1 for the keys of these."""
    leaves = [read_identity(one).leaf for one in identities]
    return [PublishedTlsa(NAMES[0], classify([b"\3\1\1" + bytes.fromhex(one.spki_sha256) for one in leaves]))]


def test_the_first_is_current_at_once_and_the_next_one_takes_its_place(issuer, store):
    it = issuer()
    first = take(it, made())
    assert (first.entry.state, first.entry.origin, first.held, first.key_kept) == (
        State.CURRENT,
        Origin.ACME,
        "",
        False,
    )
    second = take(it, made())
    assert second.entry.replaces == (first.entry.id,)
    assert second.entry.added == second.entry.current_from, "nobody staged it: alarms tell of another root"
    assert states(it) == ["current", "deprecated"]
    assert it.inventory.identity(second.entry)
    assert {one.author for one in store.history("certificate")} == {"ann"}
    assert store.history("certificate")[0].note == f"from {NOWHERE}"


def test_published_records_hold_it_back(issuer, store):
    it = issuer(roll_key=True)
    old, new = made(), made()
    take(it, old, tlsa(old))
    held = take(it, new, tlsa(old))
    assert held.entry.state is State.NEXT
    assert held.held.startswith("the TLSA records of mx.a.example do not allow it")
    assert "; it waits: the TLSA records of" in store.history("certificate")[0].note
    assert states(it) == ["current", "next"]
    # Whoever waits is asked for again with its own key, for which a record may be published by now.
    waiting = module.latest(NAMES, it.inventory.entries()[1].values())
    assert it._key(waiting) == new.key_pem
    assert take(it, made(days=91), tlsa(old)).entry.state is State.NEXT
    assert states(it) == ["current", "next"]  # one that waits is enough
    assert take(it, made(days=92), [PublishedTlsa(NAMES[0], Records(), "SERVFAIL")]).held == (
        "its key is new, and the TLSA records of mx.a.example are not known: SERVFAIL"
    )


UNKNOWN = [PublishedTlsa(NAMES[0], Records(), "SERVFAIL")]


@pytest.mark.parametrize("published", [UNKNOWN, "another's"])
def test_where_nothing_is_presented_nothing_holds_the_first_back(issuer, store, published):
    first = take(issuer(), made(), tlsa(made()) if published == "another's" else published)
    assert (first.entry.state, first.held) == (State.CURRENT, "")
    assert "nothing else was for its names" in store.history("certificate")[0].note


def test_a_certificate_of_another_kind_of_key_for_its_name_is_protected(issuer):
    """DANE clients that choose the new key would find no record for it."""
    it, other = issuer(), made(kind="rsa")
    it.inventory.add(replace(entry_from(other, now=time.time()), state=State.CURRENT), other, author="ann")
    assert "not known: SERVFAIL" in take(it, made(), UNKNOWN).held


@pytest.mark.parametrize("state", [State.RETIRED, State.DEPRECATED, State.NEXT])
def test_one_that_is_presented_no_more_protects_nothing(issuer, state):
    it, other = issuer(), made()
    it.inventory.add(replace(entry_from(other, now=time.time()), state=state), other, author="ann")
    assert take(it, made(), UNKNOWN).entry.state is State.CURRENT


def test_one_for_other_names_protects_nothing(issuer):
    it, other = issuer(), made(["mta-sts.a.example"])
    it.inventory.add(replace(entry_from(other, now=time.time()), state=State.CURRENT), other, author="ann")
    assert take(it, made(), UNKNOWN).entry.state is State.CURRENT


def test_what_waits_is_presented_when_nothing_else_is_any_more(issuer):
    it = issuer(roll_key=True)
    first, now = take(it, made()).entry, time.time()
    held = take(it, made(), UNKNOWN).entry
    assert held.state is State.NEXT
    assert (it.waiting_alone(now), it.present_waiting(now)) == ([], [])
    it.inventory.change([replace(first, state=State.RETIRED)], author="ann")
    assert [one.id for one in it.waiting_alone(now)] == [held.id]
    assert it.waiting_alone(held.leaf.not_after + 1) == []
    assert [(one.id, one.state) for one in it.present_waiting(now)] == [(held.id, State.CURRENT)]
    assert (it.waiting_alone(now), states(it)) == ([], ["current", "retired"])


def test_of_two_that_wait_for_a_name_one_is_presented(issuer):
    it, now = issuer(), time.time()
    for one in (made(), made()):
        it.inventory.add(replace(entry_from(one, now=now), origin=Origin.ACME), one, author="ann")
    assert len(it.present_waiting(now)) == 1
    assert states(it) == ["current", "next"]


@pytest.mark.parametrize(
    ("fields", "kept"), [({}, True), ({"roll_key": True}, False), ({"key_type": "rsa-2048"}, False)]
)
def test_the_key_is_kept_unless_it_is_to_be_another(issuer, fields, kept):
    it, identity = issuer(**fields), made()
    entry = take(it, identity).entry
    assert (it._key(entry) == identity.key_pem) is kept
    assert it._key(None) != it._key(None)


def test_another_kind_of_key_takes_the_place_all_the_same(issuer):
    it = issuer()
    take(it, made())
    take(it, made(kind="rsa"))
    assert states(it) == ["current", "deprecated"]


def test_what_would_lose_a_name_of_somebody_else_waits(issuer):
    it = issuer()
    other = made(["mx.a.example", "mail.a.example"])
    entry = replace(entry_from(other, now=time.time()), state=State.CURRENT)
    it.inventory.add(entry, other, author="ann")
    assert "mail.a.example any more" in take(it, made()).held
    assert states(it) == ["current", "next"]


def test_old_ones_are_retired_when_they_have_ended(issuer, store):
    it = issuer()
    for days in (30, 40, 50):
        take(it, made(days=days))
    _, entries = it.inventory.entries()
    oldest = min(entries.values(), key=lambda one: one.leaf.not_after)
    ended = replace(oldest, leaf=replace(oldest.leaf, not_after=time.time() - 5))
    it.inventory.change([ended], author="ann")
    take(it, made(days=60))
    assert states(it) == ["current", "deprecated", "deprecated", "retired"]
    assert store.content(f"certificate/{oldest.id}/key") is None  # retired for good, by whatever way


def test_what_others_change_meanwhile_is_not_lost(issuer, store, monkeypatch):
    """An administrator switches to the one that waits at the moment when a newer one comes in its place."""
    it, waiting = issuer(), made()
    entry = entry_from(waiting, now=1.0)
    it.inventory.add(replace(entry, origin=Origin.ACME), waiting, author="ann")
    read, switched = it.inventory.entries, []

    def entries():
        found = read()
        if not switched:
            current = replace(found[1][entry.id], state=State.CURRENT, current_from=2.0)
            switched.append(it.inventory.change([current], author="ann"))
        return found

    monkeypatch.setattr(it.inventory, "entries", entries)
    newer = take(it, made(days=91)).entry
    known = read()[1]
    assert {one.id: one.state for one in known.values()} == {entry.id: State.DEPRECATED, newer.id: State.CURRENT}
    assert it.inventory.identity(known[entry.id]) == waiting  # there is a way back


@pytest.mark.parametrize(
    ("identity", "text"),
    [
        (made(["b.example"]), "a certificate for b.example: other names than were requested"),
        (made(["mx.a.example", "b.example"]), "other names than were requested"),
        (made(days=-0.01), "a certificate that has expired already; is the clock of this machine right?"),
        (ServerIdentity(b"", b""), "the authority issued a certificate that cannot be used: "),
        (ServerIdentity(made().chain_pem, made().key_pem), "the private key does not belong to the certificate"),
    ],
)
def test_what_was_not_asked_for_is_not_taken(identity, text):
    with pytest.raises(AcmeFailed, match=text):
        module._checked(identity, NAMES)


def test_a_failure_is_remembered_and_waited_out(issuer):
    it = issuer()
    (due,) = it.due([], time.time())
    assert (due.names, due.step) == (NAMES, Step.ISSUE)
    for failures in (1, 2):
        with pytest.raises(AcmeFailed, match="cannot be reached: Connection refused"):
            it.issue(NAMES)
        (one,) = it.statuses([])
        assert one.progress.failures == failures
        assert "cannot be reached" in one.progress.error
        assert it.not_before(NAMES) == one.progress.not_before > time.time() + 3000
    assert it.due([], time.time()) == []
    assert [one.names for one in it.due(["mta-sts.a.example"], time.time())] == [("mta-sts.a.example",)]
    it.forget()
    assert it.statuses([])[0].progress == Progress()


def test_no_answer_to_the_question_for_renewal_is_no_failure(issuer):
    it = issuer()
    it.ask(NAMES)  # there is nothing to ask for
    entry = take(it, made()).entry
    it.ask(NAMES)
    (one,) = it.statuses([])
    assert (one.progress.certificate, one.progress.renew_at, one.progress.error) == (entry.id, 0.0, "")
    assert it.due([], time.time()) == []


def test_what_was_remembered_by_another_version_is_begun_anew(issuer, store):
    it = issuer()
    store.apply({}, author="t", content={it._place("state"): b"\xff{"})
    assert it.kept().account == ""


def test_the_account_has_a_key_that_is_sealed_and_stays(issuer, store, tmp_path):
    it = issuer()
    key = it._account_key()
    assert key == it._account_key() == issuer()._account_key()
    assert b"PRIVATE" not in (store.content(it._place("key")) or b"PRIVATE")
    (tmp_path / "key").write_bytes(b"x" * 32)
    with pytest.raises(AcmeFailed, match=r"the ACME account's key cannot be opened: .*the master key is not the one"):
        issuer()._account_key()


@pytest.mark.parametrize(
    ("master", "text"), [("", "ACME needs store.master_key"), ("env:GATEPOST_NO_SUCH", "there is no such variable")]
)
def test_without_a_master_key(issuer, master, text):
    with pytest.raises(AcmeFailed, match=text):
        issuer(master=master)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "gatepost.pki.acme.client", raising=False)
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(AcmeFailed, match=r"install gatepost with its extra: gatepost\[acme\]"):
        module.acme_client()


BUSY = """
import sys
from pathlib import Path
from gatepost.pki.acme.issuer import Busy, alone
try:
    with alone(Path(sys.argv[1])):
        print("alone")
except Busy as busy:
    print(busy)
"""


def test_one_process_asks_at_a_time(tmp_path):
    def other():
        return subprocess.run([sys.executable, "-c", BUSY, tmp_path], capture_output=True, text=True, check=True).stdout

    with alone(tmp_path):
        assert other().startswith("the gateway or another command is requesting")
    assert other() == "alone\n"


def test_one_node_asks_at_a_time(tmp_path):
    def leases(node):
        return SharedLeases(lambda: SqliteDatabase(tmp_path, SITE), node, 0)

    for node in ("a", "b"):
        (tmp_path / node).mkdir()
    first, second = alone(tmp_path / "a", leases("a")), alone(tmp_path / "b", leases("b"))
    with first, pytest.raises(Busy, match="another node"), second:
        pass
    with alone(tmp_path / "b", leases("b")):
        pass


def test_the_mac_key_of_the_external_account_is_read_from_where_the_settings_say(issuer, tmp_path, store):
    mac = tmp_path / "mac"
    mac.touch(0o600)
    mac.write_text("key\n")
    external = issuer(eab_key_id="kid", eab_mac_key=f"file:{mac}")._external_account()
    assert (external.key_id, external.mac_key) == ("kid", "key")
    assert issuer()._external_account() is None
    it = issuer(eab_key_id="kid", eab_mac_key=f"file:{mac}")
    elsewhere = Issuer(it._settings, store, url="https://staging.example/directory")
    assert elsewhere._external_account() is None, "it is of the authority of the settings alone"
    mac.unlink()
    with pytest.raises(AcmeFailed, match=r"acme.eab_mac_key: MAC key .*/mac: No such file"):
        it._external_account()
