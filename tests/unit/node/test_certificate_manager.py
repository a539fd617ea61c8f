from __future__ import annotations

import asyncio
import errno
import threading
import time
from unittest.mock import Mock

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.rsa_keys import rsa_key

from gatepost.net.identity import ServerIdentity, read_identity
from gatepost.net.lookups.configured import configured_resolver
from gatepost.net.lookups.http import HttpClient
from gatepost.node.certificate_manager import CertificateManager
from gatepost.pki.certificates import files
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.entry import Origin, Purpose, State, entry_id
from gatepost.pki.certificates.inventory import entry_from
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreFailure
from gatepost.values import replace

OTHERS = Authority("Keeper Root")


def kept(home, scene):
    """Run a scene with the keeper of one worker, which has a master key."""
    (home.path / "master").write_bytes(bytes(range(32)))
    (home.path / "master").chmod(0o600)
    settings = home.settings(store={"free_space": 0, "master_key": f"file:{home.path / 'master'}"})

    async def run():
        store, resolver = ConfigStore(home.data / "config.db"), configured_resolver(settings.dns)
        certificates = CertificateManager(settings, store, HttpClient(resolver), resolver)
        try:
            if (under_way := scene(certificates)) is not None:
                await under_way
        finally:
            certificates.close()
            await resolver.close()
            store.close()

    asyncio.run(run())


def held(home):
    return ServerIdentity(home.chain.read_bytes(), home.key.read_bytes())


def add(certificates, identity, **fields):
    now = time.time()
    entry = replace(entry_from(identity, now=now), state=State.CURRENT, current_from=now, **fields)
    certificates.inventory.add(entry, identity, author="ann")
    return entry


def weak():
    key = rsa_key(1024)
    (leaf,) = x509.load_pem_x509_certificates(OTHERS.issue(["mx.gate.example"])[0])
    builder = x509.CertificateBuilder().subject_name(leaf.subject).issuer_name(leaf.issuer).serial_number(9)
    builder = builder.not_valid_before(leaf.not_valid_before_utc).not_valid_after(leaf.not_valid_after_utc)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("mx.gate.example")]), critical=False)
    made = builder.public_key(key.public_key()).sign(key, SHA256()).public_bytes(Encoding.PEM)
    return ServerIdentity(made, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def test_the_event_loop_opens_no_file_that_others_renewed(home, monkeypatch):
    """The supervisor may have to open it, and take two seconds for each."""
    threads, opened = [], files.open_to_read

    def watched(path):
        threads.append(threading.current_thread())
        return opened(path)

    def refused(path):
        threads.append(threading.current_thread())
        raise PermissionError(errno.EACCES, "denied")

    async def scene(certificates):
        certificates._watch.look(time.time())
        monkeypatch.setattr(files, "open_to_read", watched)
        home.issue()
        await asyncio.sleep(0.05)  # from now on its times tell whether it is written again
        certificates._look()
        certificates._look()  # the one before is not done yet
        await certificates._looking.task
        certificates._refresh()
        assert certificates.presented == (held(home),)
        certificates._look()
        assert certificates.unusable_keys() == []
        home.issue()
        await asyncio.sleep(0.05)
        certificates._refresh()  # of a worker that does not look at files by itself
        certificates._refresh()
        await certificates._reading.task

        monkeypatch.setattr(files, "open_to_read", refused)
        home.issue()
        await asyncio.sleep(0.05)
        certificates._refresh()
        await certificates._reading.task
        certificates._look()
        await certificates._looking.task
        assert len(certificates.unusable_keys()) == 1, "why it is not read is remembered for a moment"

    kept(home, scene)
    assert len(threads) == 6
    assert threading.main_thread() not in threads


def test_a_renewal_is_presented_once_it_is_recorded(home):
    def scene(certificates):
        certificates._watch.look(time.time())
        first, before = held(home), certificates.tls
        home.issue()
        assert certificates.present()
        assert (certificates.presented, certificates.tls) == ((first,), before)
        certificates._watch.look(time.time())
        assert certificates.present()
        assert certificates.presented == (held(home),)
        assert certificates.tls is not before

    kept(home, scene)


def test_what_the_store_could_not_say_is_presented_later(home, monkeypatch):
    def unavailable(*_):
        raise StoreFailure("away")

    def scene(certificates):
        renewed = []
        certificates._renewed = lambda: renewed.append(True)
        other = ServerIdentity(*OTHERS.issue(["mx.gate.example"]))
        add(certificates, other)
        with monkeypatch.context() as away:
            away.setattr(ConfigStore, "texts", unavailable)
            certificates.inventory._entries = -1, {}
            with pytest.raises(StoreFailure):
                certificates._refresh()
        for _ in range(2):
            certificates._catch_up()
        assert other.chain_pem in [identity.chain_pem for identity in certificates.presented]
        assert renewed == [True]

    kept(home, scene)


def test_half_a_renewal_hinders_no_other_change(home):
    def scene(certificates):
        certificates._watch.look(time.time())
        first, other = held(home), ServerIdentity(*OTHERS.issue(["other.example"]))
        home.key.write_bytes(other.key_pem)
        add(certificates, other)
        assert certificates.present()
        assert set(certificates.presented) == {first, other}

    kept(home, scene)


def test_sighup_takes_files_as_they_are_or_leaves_all_as_it_was(home, caplog):
    async def scene(certificates):
        certificates._watch.look(time.time())
        first = held(home)
        home.issue("another.example")
        certificates._watch.look(time.time())
        assert certificates.present()
        assert certificates.presented == (first,)
        assert await certificates.reload()
        assert certificates.presented == (second := (held(home)),)
        certificates._watch.look(time.time())
        assert str(certificates.inventory.find(entry_id(read_identity(second).leaf)).state) == "current"
        home.key.write_bytes(first.key_pem)
        assert not await certificates.reload()
        assert certificates.present()
        assert certificates.presented == (second,)

    kept(home, scene)
    assert "certificates are kept as they were" in caplog.text


@pytest.mark.parametrize("owner", [{}, {"purpose": Purpose.CLIENT, "organization": "contoso", "label": "to-bank"}])
@pytest.mark.parametrize("broken", ["other.pem", "other.key"])
def test_at_sighup_a_file_of_the_inventory_that_breaks_leaves_all_as_it_was(home, caplog, owner, broken):
    chain, key = home.path / "other.pem", home.path / "other.key"
    identity = ServerIdentity(*OTHERS.issue(["other.example"]))
    chain.write_bytes(identity.chain_pem)
    key.touch(0o600)
    key.write_bytes(identity.key_pem)

    async def scene(certificates):
        first = held(home)
        add(certificates, identity, origin=Origin.FILES, chain_file=str(chain), key_file=str(key), **owner)

        def usable():
            own = {certificates.clients.find("contoso", "to-bank", time.time())} if owner else set()
            return {*certificates.presented, *own}

        assert certificates.present()
        good = (home.path / broken).read_bytes()
        (home.path / broken).write_bytes(b"")
        home.issue("another.example")
        assert not await certificates.reload()
        assert usable() == {identity, first}
        (lost,) = certificates.unusable_keys()
        assert broken in lost.why, "an alarm says so"
        (home.path / broken).write_bytes(good)
        assert await certificates.reload()
        assert usable() == {identity, held(home)}

    kept(home, scene)
    assert "certificates are kept as they were: " in caplog.text
    assert broken in caplog.text


def test_what_could_never_be_used_does_not_hold_back_the_renewal_of_others(home, caplog):
    async def scene(certificates):
        identity, gone = ServerIdentity(*OTHERS.issue(["other.example"])), str(home.path / "gone.pem")
        add(certificates, identity, origin=Origin.FILES, chain_file=gone, key_file=gone)
        assert certificates.present()
        home.issue("another.example")
        assert await certificates.reload()
        assert certificates.presented == (held(home),)

    kept(home, scene)


def test_sighup_while_the_store_cannot_be_read_leaves_all_as_it_was(home, caplog, monkeypatch):
    async def scene(certificates):
        before, first = certificates.inventory.files, certificates.presented
        home.issue("another.example")
        with monkeypatch.context() as patch:
            patch.setattr(certificates.inventory, "entries", Mock(side_effect=StoreFailure("the disk is full")))
            assert not await certificates.reload()
        assert certificates.inventory.files is before
        assert certificates.presented == first

    kept(home, scene)
    assert "certificates are kept as they were: the disk is full" in caplog.text


def test_one_that_tls_refuses_does_not_stop_the_others(home, caplog):
    def scene(certificates):
        add(certificates, weak())
        other = ServerIdentity(*OTHERS.issue(["other.example"]))
        add(certificates, other)
        before = certificates.tls
        assert certificates.present()
        assert certificates.tls is not before
        assert "a current certificate is not presented: " in caplog.text

    kept(home, scene)


def test_client_identities_are_no_business_of_listeners(home):
    def scene(certificates):
        client = ServerIdentity(*OTHERS.issue(["gate.contoso.example"]))
        add(certificates, client, purpose=Purpose.CLIENT, organization="contoso", label="to-bank")
        assert certificates.present()
        assert certificates.presented == (held(home),)
        assert certificates.clients.find("contoso", "to-bank", time.time()) == client

    kept(home, scene)


def test_a_key_that_is_gone_is_found_while_the_old_one_is_presented(home):
    def scene(certificates):
        certificates._watch.look(time.time())
        add(certificates, ServerIdentity(*OTHERS.issue(["mx2.gate.example"])))
        assert certificates.present()
        assert certificates.unusable_keys() == []
        assert certificates.observed is None
        ours = entry_id(read_identity(held(home)).leaf)
        home.key.unlink()
        (lost,) = certificates.unusable_keys()
        assert lost.certificate == ours
        assert str(home.key) in lost.why
        assert len(certificates.presented) == 2
        certificates._pairs.clear()
        assert certificates.unusable_keys() == [], "files of another node's settings"
        certificates.inventory.entries = unreadable
        assert certificates.unusable_keys() == []

    kept(home, scene)


def unreadable():
    raise ValueError("an entry cannot be read")
