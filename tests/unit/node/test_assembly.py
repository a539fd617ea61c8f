from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from support import joined_streams
from support.rsa_keys import rsa_key

from gatepost.mail.outbound.contexts import OurCertificate
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.listener import bind
from gatepost.node.assembly import Assembly
from gatepost.node.lifecycle import nothing
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.inventory import Inventory
from gatepost.pki.certificates.watch import FileWatch
from gatepost.policy.connectors.client_certificate import ClientCertificate
from gatepost.policy.decisions.requirement import Encrypted
from gatepost.protocols.tls.facts import ChainStatus
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreFailure


# directories that are there, workers -> shards of each worker
def assembled(settings, scene, *, sockets=()):
    """Run a scene with a worker's parts."""

    async def run():
        assembly = await Assembly.build(settings, 0, 1, list(sockets))
        try:
            await scene(assembly)
        finally:
            await assembly.parts.close(0.5)

    asyncio.run(asyncio.wait_for(run(), 20))


def apply(home, **organizations):
    store = ConfigStore(home.data / "config.db")
    store.apply({"organization": organizations}, author="test")
    store.close()


CONTOSO = {"accepted_domain": [{"name": "contoso.example"}], "message_expiration": "1h"}


def test_resources_come_into_force_while_all_other_threads_wait_for_a_disk(home):
    disk = threading.Event()

    async def scene(assembly):
        waiting = asyncio.gather(*(asyncio.to_thread(disk.wait, 15) for _ in range(os.cpu_count() + 8)))
        await asyncio.sleep(0)  # they begin
        apply(home, contoso=CONTOSO)
        try:
            await asyncio.wait_for(assembly.refresh(), 10)
            assert assembly._services["mx"].directory.organization_of("contoso.example").name == "contoso"
        finally:
            disk.set()
            await waiting

    assembled(home.settings(), scene)


def test_new_resources_reach_sessions_and_deliveries(home):
    async def scene(assembly):
        before = assembly._services["mx"].directory
        await assembly.refresh()
        assert assembly._services["mx"].directory is before
        apply(home, contoso=CONTOSO, fabrikam={})
        assert assembly._expiration("contoso") == 7200
        await assembly.refresh()
        directory = assembly._services["mx"].directory
        assert directory.organization_of("contoso.example").name == "contoso"
        assert all(one._planner._directory is directory for one in assembly._deliverers)
        assert [assembly._expiration(name) for name in ("contoso", "fabrikam", "nobody")] == [3600, 7200, 7200]

    assembled(home.settings(queue={"message_expiration": "2h"}), scene)


def test_the_list_of_what_sighup_reads_again_is_whole(home):
    async def scene(assembly):
        reloading = {part.name for part in assembly.parts._parts if part.reload is not nothing}
        text = (Path(__file__).parents[3] / "docs/service.md").read_text()
        table = text.partition("<!-- reload -->")[2].partition("<!-- /reload -->")[0]
        listed = {line.split("|")[1].strip() for line in table.splitlines()[3:] if line}
        assert listed == reloading | {"certificates"}  # which the assembly reads first, with the rest after them

    assembled(home.settings(), scene)


def presented(service):
    """The certificate that a client of the service's TLS context is shown."""
    from gatepost.net.engine import client_context  # noqa: PLC0415 - only here
    from gatepost.protocols.tls.profile import PROFILES  # noqa: PLC0415 - only here

    class End:
        def __init__(self):
            self.secured = asyncio.get_running_loop().create_future().set_result

        def lost(self, _loss):
            """It may end as it likes."""

    async def shake():
        ours, theirs = joined_streams.pair()
        done = asyncio.get_running_loop().create_future()
        for stream in (ours, theirs):
            stream.attach(End())
        ours._receiver.secured = done.set_result
        theirs.start_tls(service.tls)
        ours.start_tls(client_context(PROFILES["default"]))
        return x509.load_der_x509_certificate((await done).peer_chain[0]).serial_number

    return shake()


def serial(home):
    return x509.load_pem_x509_certificate(home.chain.read_bytes()).serial_number


def test_a_renewed_certificate_is_taken_up_and_a_broken_one_leaves_the_old(home, caplog):
    caplog.set_level(logging.INFO)

    async def scene(assembly):
        first = serial(home)
        assert await presented(assembly._services["mx"]) == first
        home.issue()
        await assembly.reload()
        second = serial(home)
        assert first != second
        assert await presented(assembly._services["mx"]) == second
        for broken in (b"", home.chain.read_bytes()[:200]):
            home.chain.write_bytes(broken)
            await assembly.reload()
            assert await presented(assembly._services["mx"]) == second
            assert "certificates are kept as they were: certificate" in caplog.messages[-1]
        home.issue()
        await assembly.reload()
        assert await presented(assembly._services["mx"]) == serial(home) != second
        assert caplog.messages[-1] == "certificates and trust anchors were read again"

    assembled(home.settings(), scene)


def test_a_renewal_that_another_worker_recorded_reaches_sessions(home):
    """A thread reads the files, and is done after all parts have the new resources."""

    async def scene(assembly):
        certificates = assembly.certificates
        store = ConfigStore(home.data / "config.db")
        other = FileWatch(Inventory(store, None), certificates._pairs, "default")
        for _ in range(2):
            other.look(time.time())
            await assembly.refresh()
            if certificates._reading.task is not None:
                await certificates._reading.task
            assert await presented(assembly._services["mx"]) == serial(home)
            home.issue()
            await asyncio.sleep(0.05)  # from now on its times tell whether it is written again
        other.look(time.time())
        await assembly.refresh()
        assert not certificates._reading.task.done(), "the event loop does not read them"
        await certificates._reading.task
        assert await presented(assembly._services["mx"]) == serial(home)
        store.close()

    assembled(home.settings(), scene)


def test_without_a_certificate_no_tls_is_offered(home):
    async def scene(assembly):
        assert assembly._services["mx"].tls is None
        assert not assembly._services["mx"].extensions.starttls

    assembled(home.settings(certificate=[]), scene)


def test_a_client_certificate_is_judged_by_the_anchors_that_are_named(home, tmp_path, caplog):
    other = Authority("Other Root")
    (tmp_path / "other.pem").write_bytes(other.certificate_pem)

    def chain(authority):
        (leaf,) = x509.load_pem_x509_certificates(authority.issue(["c.example"])[0])
        return [leaf.public_bytes(serialization.Encoding.DER)]

    async def scene(assembly):
        ours, theirs = chain(home.authority), chain(other)
        by_other = str(tmp_path / "other.pem")
        assert assembly._lookups.judge_client(ours, "").status is ChainStatus.TRUSTED
        assert assembly._lookups.judge_client(theirs, "").status is ChainStatus.INCOMPLETE
        assert assembly._lookups.judge_client(theirs, by_other).status is ChainStatus.TRUSTED
        assert assembly._lookups.judge_client(ours, str(tmp_path / "missing.pem")) is None
        assert "missing.pem" in caplog.text
        (tmp_path / "other.pem").write_bytes(home.authority.certificate_pem)
        assert assembly._lookups.judge_client(theirs, by_other).status is ChainStatus.TRUSTED
        await assembly.reload()
        assert assembly._lookups.judge_client(theirs, by_other).status is not ChainStatus.TRUSTED

    connector = {"name": "c", "sender_domains": ["c.example"], "trust_anchors": str(tmp_path / "other.pem")}
    apply(home, contoso=CONTOSO | {"inbound_connector": [connector]})
    assembled(home.settings(), scene)


def test_trust_anchors_that_break_are_kept_and_hold_back_all_that_is_read_again(home, tmp_path, caplog):
    """At SIGHUP, and at a change of resources; open sessions judge nobody anew."""
    caplog.set_level(logging.INFO)
    bank = tmp_path / "bank.pem"
    bank.write_bytes(home.authority.certificate_pem)
    connector = {"name": "c", "sender_domains": ["c.example"], "trust_anchors": str(bank)}
    contoso = CONTOSO | {"inbound_connector": [connector]}
    apply(home, contoso=contoso)
    (leaf,) = x509.load_pem_x509_certificates(home.authority.issue(["c.example"])[0])

    async def scene(assembly):
        lookups, first = assembly._lookups, serial(home)
        home.issue()
        for broken, named in ((bank, str(bank)), (home.anchors, "")):
            good = broken.read_bytes()
            broken.write_bytes(b"")
            await assembly.reload()
            assert await presented(assembly._services["mx"]) == first
            assert "no file was read again, and all stay in use as they were: " in caplog.messages[-1]
            assert "no certificate in it" in caplog.messages[-1]
            lookups.begin(assembly._directory())  # as at a change of resources
            judged = lookups.judge_client([leaf.public_bytes(serialization.Encoding.DER)], named)
            assert judged.status is ChainStatus.TRUSTED
            assert lookups.anchors_renewed == 0
            broken.write_bytes(good)
        await assembly.reload()
        assert caplog.messages[-1] == "certificates and trust anchors were read again"
        assert lookups.anchors_renewed == 1
        assert await presented(assembly._services["mx"]) == serial(home) != first

    assembled(home.settings(), scene)


def test_whatever_needs_files_goes_by_those_in_force(home, tmp_path):
    """Tokens, keys of issuers, hooks, directories, policy hosts, deliveries: none reads a file by itself."""
    own = tmp_path / "own.pem"
    own.write_bytes(home.authority.certificate_pem)
    pair = {"chain": str(home.chain), "key": str(home.key)}
    connector = {"name": "o", "recipient_domains": ["o.example"], "trust_anchors": str(own), "client_certificate": pair}
    apply(home, contoso=CONTOSO | {"outbound_connector": [connector]})
    certificate = OurCertificate("contoso", ClientCertificate(**pair))

    async def scene(assembly):
        lookups = assembly._lookups
        ldap = next(part.reload.__self__ for part in assembly.parts._parts if part.name == "directories of recipients")
        for file in (home.anchors, own, home.key):
            file.unlink()
        assembly.parts.reload()
        assert assembly._tokens.client(bounded=False)
        for anchors in ("", str(own)):
            assert assembly._issuer_keys._client(anchors, bounded=False)
        assert assembly._hooks._client(str(own), None)
        assert await ldap._context(str(own))
        assert lookups.policy_hosts._tls().cert_store_stats()["x509_ca"] == 1
        assert lookups.contexts.context(Encrypted(()), certificate)
        assert not isinstance(lookups.contexts._trusted(str(own)), AnchorsError)

    assembled(home.settings(), scene)


def test_a_worker_does_not_start_without_the_server_s_trust_anchors(home):
    """A client with a certificate would be taken for one without, and be refused for good."""
    settings = home.settings()
    home.anchors.write_bytes(b"")
    with pytest.raises(CertificateFileError, match=r"tls\.trust_anchors: .*no certificate in it"):
        assembled(settings, lambda _: None)


def test_files_are_read_on_a_thread(home, monkeypatch):
    """They may lie on a disk that takes its time."""

    async def scene(assembly):
        readers, load = [], TrustAnchors.load

        def slow(spec):
            readers.append(threading.current_thread())
            return load(spec)

        monkeypatch.setattr(TrustAnchors, "load", slow)
        connector = {"name": "c", "sender_domains": ["c.example"], "trust_anchors": str(home.chain)}
        apply(home, contoso=CONTOSO | {"inbound_connector": [connector]})
        await assembly.refresh()
        assembly._lookups.files.anchors(str(home.chain))
        await assembly.reload()
        assert len(readers) == 3
        assert threading.main_thread() not in readers

    assembled(home.settings(), scene)


def test_shards_without_a_worker_are_opened_too_and_no_other_process_gets_them(home):
    async def scene(assembly):
        assert [store._shard.lock > 0 for store in assembly._stores] == [True, True]
        assert len(assembly._managers) == 2
        with pytest.raises(StoreFailure):
            await Assembly.build(home.settings(), 0, 1, [])

    (home.data / "queue" / "3").mkdir(parents=True)
    assembled(home.settings(), scene)


@pytest.mark.parametrize("name", ["chain", "key"])
def test_settings_that_cannot_be_used_are_no_accident(home, name):
    getattr(home, name).write_bytes(b"nonsense")

    async def scene(_assembly):
        raise AssertionError

    with pytest.raises(CertificateFileError, match=str(home.chain)):
        assembled(home.settings(), scene)


def test_a_key_that_the_profile_forbids_is_no_accident_either(home):
    key = rsa_key(1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "weak.example")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    home.chain.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    no_password = serialization.NoEncryption()
    home.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, no_password))

    async def scene(_assembly):
        raise AssertionError

    with pytest.raises(CertificateFileError, match=r"CN=weak\.example cannot be used"):
        assembled(home.settings(), scene)


def test_the_listener_accepts_and_turns_away(home):
    sockets = bind("127.0.0.1:0")
    port = sockets[0].getsockname()[1]

    def said():
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            yield client.makefile("rb").readline()
            yield b""

    async def scene(assembly):
        await assembly.parts.start()
        first, second = said(), said()
        assert (await asyncio.to_thread(next, first)).startswith(b"220 mx.gate.example ESMTP")
        assert len(assembly.registry) == 1
        turned_away = await asyncio.to_thread(next, second)
        assert turned_away.startswith(
            b"421 4.7.0 too many connections from 127.0.0.1, try again later [mx.gate.example"
        )
        first.close()
        second.close()
        assembly.listener.stop()
        while len(assembly.registry):  # noqa: ASYNC110 - sessions end when they end
            await asyncio.sleep(0.01)

    assembled(home.settings(limits={"connections_per_source": 1}), scene, sockets=sockets)


@pytest.mark.parametrize(("trust_ad", "off"), [(True, ""), (False, "DANE is off: dns.trust_ad is false")])
def test_deliveries_look_up_what_domains_publish(home, caplog, trust_ad, off):
    caplog.set_level("INFO")

    async def scene(assembly):
        for deliverer in assembly._deliverers:
            lookups = deliverer._services.lookups
            assert lookups.sts is assembly._lookups.policies
            assert lookups.dane_off == assembly._lookups.resolver.dane_off
        assert assembly._lookups.resolver.dane_off.startswith(off)
        assert bool(assembly._lookups.resolver.dane_off) is bool(off)

    assembled(home.settings(dns={"nameservers": ["127.0.0.1:9"], "trust_ad": trust_ad}), scene)


def test_no_thread_is_asked_while_nothing_was_changed(home):
    async def scene(assembly):
        await assembly.refresh()
        assembly.poll()
        assert assembly._taking.task is None
        apply(home, contoso=CONTOSO)
        assembly.poll()
        await assembly._taking.task
        assert assembly._services["mx"].directory.organization_of("contoso.example").name == "contoso"

    assembled(home.settings(), scene)


def test_sessions_go_on_while_a_change_is_taken_up(home):
    async def scene(assembly):
        served, newer = threading.Event(), assembly._snapshots.newer

        def slow():
            assert served.wait(10), "the event loop stood still"
            return newer()

        assembly._snapshots.newer = slow
        apply(home, contoso=CONTOSO)
        assembly.poll()
        await asyncio.sleep(0.05)
        assembly.poll()
        assert assembly._services["mx"].directory.organization_of("contoso.example") is None
        served.set()
        await assembly._taking.task
        assert assembly._services["mx"].directory.organization_of("contoso.example").name == "contoso"

    assembled(home.settings(), scene)
