from __future__ import annotations

import asyncio
import signal
import smtplib
import socket
import time

import pytest

from gatepost.node.lifeline import Sign
from gatepost.node.supervisor import CONFIGURATION_EXIT
from gatepost.node.worker import _Worker
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.message_trace import SqliteTrace
from gatepost.store.sqlite.queue import SqliteStore

# A worker in a process of its own, without a supervisor; its lifeline ends with the script's standard input.
SCRIPT = """
import logging, sys
from gatepost.net.listener import bind
from gatepost.node.worker import run_worker
from gatepost.settings.loader import load

logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout, level=logging.INFO)
settings = load(sys.argv[1], {})
sockets = bind("127.0.0.1:0")
print("port", sockets[0].getsockname()[1], flush=True)
print("status", run_worker(settings, (0, 1), sockets, 0), flush=True)
"""
CONTOSO = {"accepted_domain": [{"name": "contoso.example"}], "mailbox": [{"address": "ann@contoso.example"}]}


def start(run, home):
    script = run(SCRIPT, home.file)
    return script, int(script.expect("port").split()[1])


def connect(port):
    """A session that was greeted: the port is bound before the worker is ready, and waits."""
    return smtplib.SMTP("127.0.0.1", port, local_hostname="client.example", timeout=20)


def send_many(client):
    for _ in range(100):
        client.sendmail("eve@elsewhere.example", "ann@contoso.example", f"Subject: x\r\n\r\n{900 * 'y'}\r\n")


def test_the_life_of_a_worker(run, home):
    home.settings()
    script, port = start(run, home)
    with connect(port) as client:
        client.ehlo()
        assert client.mail("eve@elsewhere.example")[0] == 250
        assert client.rcpt("ann@contoso.example")[0] == 550

    # New resources are taken up by themselves.
    config = ConfigStore(home.data / "config.db")
    config.apply({"organization": {"contoso": CONTOSO}}, author="test")
    config.close()
    script.expect("resources version 2 in force")  # 1: the certificate of the settings was recorded
    with connect(port) as client:
        assert client.sendmail("eve@elsewhere.example", "ann@contoso.example", "Subject: x\r\n\r\nbody\r\n") == {}
    deadline = time.monotonic() + 10
    while not (arrived := list(home.data.glob("maildir/**/new/*"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(arrived) == 1

    # Certificates are read again on SIGHUP, and the worker goes on.
    script.signal(signal.SIGHUP)
    script.expect("certificates and trust anchors were read again")

    # SIGTERM: no new sessions, 421 to idle ones, exit 0.
    with connect(port) as idle:
        script.signal(signal.SIGTERM)
        assert idle.getreply()[0] == 421
    assert script.expect("status") == "status 0"
    assert script.ends() == 0
    with socket.socket() as late:
        assert late.connect_ex(("127.0.0.1", port)) != 0


def test_a_session_that_does_not_end_is_cut_when_the_drain_is_over(run, home):
    home.settings(server={"hostname": "mx.gate.example", "data_dir": "data", "drain": 0.5})
    config = ConfigStore(home.data / "config.db")
    config.apply({"organization": {"contoso": CONTOSO}}, author="test")
    config.close()
    script, port = start(run, home)
    with connect(port) as client:
        client.ehlo()
        client.mail("eve@elsewhere.example")
        client.rcpt("ann@contoso.example")
        assert client.docmd("DATA")[0] == 354
        client.send(b"Subject: x\r\n")
        begun = time.monotonic()
        script.signal(signal.SIGTERM)
        script.expect("status 0")
        assert 0.4 < time.monotonic() - begun < 25
        client.close()


def test_a_worker_ends_when_its_supervisor_is_gone(run, home):
    home.settings()
    script, port = start(run, home)
    connect(port).close()
    script.stdin.close()
    assert script.expect("status") == "status 0"


def test_settings_that_cannot_be_used_are_no_reason_to_start_again(run, home):
    home.settings()
    home.key.write_bytes(b"nonsense")
    script, _ = start(run, home)
    assert script.expect("CRITICAL").startswith("CRITICAL worker 0 cannot start: certificate ")
    assert script.expect("status") == f"status {CONFIGURATION_EXIT}"


def test_neither_is_a_shard_that_another_process_has(run, home):
    home.settings()

    async def scene():
        store = await SqliteStore.open(home.data / "queue" / "0", trace=SqliteTrace(home.data / "trace").sink, worker=0)
        try:
            script, _ = start(run, home)
            assert "worker 0 cannot start" in await asyncio.to_thread(script.expect, "CRITICAL")
            assert await asyncio.to_thread(script.expect, "status") == f"status {CONFIGURATION_EXIT}"
        finally:
            await store.close()

    asyncio.run(scene())


def test_a_store_that_failed_for_good_ends_the_worker_with_a_status_that_starts_a_new_one(run, home):
    home.settings()
    config = ConfigStore(home.data / "config.db")
    config.apply({"organization": {"contoso": CONTOSO}}, author="test")
    config.close()
    # Files may not grow beyond this: the first commits fit, a later one meets an error of the disk.
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))\n"
    script = run(limit + SCRIPT, home.file)
    port = int(script.expect("port").split()[1])
    with connect(port) as client, pytest.raises(smtplib.SMTPException) as refused:
        send_many(client)
    assert refused.value.smtp_code in {421, 451}
    assert "this worker ends" in script.expect("CRITICAL the store failed: this worker")
    assert script.expect("status") == "status 1"


@pytest.mark.parametrize("fails", [False, True])
def test_a_sighup_while_files_are_read_has_them_read_once_more_before_the_supervisor_is_told(fails):
    """Those that were read already may be others; however often it comes, and whatever goes wrong."""
    own, supervisor = socket.socketpair()
    own.setblocking(False)
    said = []

    class Slow:
        reads = 0

        async def reload(self):
            self.reads += 1
            if self.reads == 1:
                for _ in range(3):
                    worker._reload(self)
            await asyncio.sleep(0.01)
            said.append(reads(supervisor))
            if fails and self.reads == 2:
                raise StoreFailure("gone")

    def reads(end):
        end.setblocking(False)
        try:
            return end.recv(10)
        except BlockingIOError:
            return b""

    async def scene():
        worker._reload(slow)
        await worker._reloading.ended()

    slow = Slow()
    with own, supervisor:
        worker = _Worker(None, (0, 1), (), own.fileno(), None, None)
        asyncio.run(scene())
        assert (slow.reads, said) == (2, [b"", b""])
        assert reads(supervisor) == Sign.RELOADED.value
