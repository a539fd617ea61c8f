"""What listeners present, asked of a little server that says what a test has it say."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from gatepost.manage.use_cases.presentation_places import check_presentation, presented_elsewhere
from gatepost.net.identity import ServerIdentity
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.inventory import entry_from
from gatepost.settings.roles import ListenerRole
from gatepost.store.nodes import CertificateObservation, ListenerObservation

ROOT = Authority("Presented Root")
OURS, OTHER = (ServerIdentity(*ROOT.issue(["mx.gate.example"])) for _ in range(2))


@contextmanager
def listener(context, greeting=b"220 hello\r\n", *, implicit=False):
    """Its port. One session after the other."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(20)

    def session(plain):
        if implicit:
            with context.wrap_socket(plain, server_side=True):
                return
        plain.sendall(greeting)
        if not plain.recv(1000).startswith(b"EHLO"):
            return
        plain.sendall(b"250-hello\r\n250 STARTTLS\r\n")
        plain.recv(1000)
        plain.sendall(b"220 go\r\n")
        with context.wrap_socket(plain, server_side=True) as secured:
            secured.recv(1)

    def serve():
        while True:
            try:
                plain, _ = server.accept()
            except OSError:
                return
            with plain:
                plain.settimeout(20)
                try:
                    session(plain)
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(30)


@pytest.fixture
def context(tmp_path):
    (tmp_path / "chain.pem").write_bytes(OURS.chain_pem)
    (tmp_path / "key.pem").write_bytes(OURS.key_pem)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    return made


def gateway(*listeners):
    own = tuple(SimpleNamespace(role=role, address=address) for role, address in listeners)
    settings = SimpleNamespace(
        listeners=own,
        server=SimpleNamespace(hostname="mx.gate.example", node_name="mx1"),
        tls=SimpleNamespace(profile="default"),
    )
    return SimpleNamespace(settings=settings)


@pytest.mark.parametrize(
    ("role", "host"),
    [(ListenerRole.MX, "127.0.0.1"), (ListenerRole.SUBMISSIONS, "0.0.0.0"), (ListenerRole.MX, "")],
)
def test_every_handshake_is_compared(context, role, host):
    with listener(context, implicit=role is ListenerRole.SUBMISSIONS) as port:
        found = gateway((role, f"{host}:{port}"))
        (mine,) = check_presentation(found, entry_from(OURS, now=1.0))
        (other,) = check_presentation(found, entry_from(OTHER, now=1.0))
    assert (mine.ok, mine.seen, mine.asked, mine.trouble) == (True, 4, 4, "")
    assert (other.ok, other.seen, other.trouble) == (False, 0, "")
    assert (mine.node, mine.checked > 0) == ("mx1", True)
    assert mine.listener == f"{role} {host}:{port}"


def test_why_nothing_can_be_told(context):
    rsa = ServerIdentity(*ROOT.issue(["mx.gate.example"], key="rsa"))
    with listener(context) as port, listener(context, b"421 not now\r\n") as busy:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            nobody = gone.getsockname()[1]
        found = gateway(
            (ListenerRole.MX, f"127.0.0.1:{port}"),
            (ListenerRole.MX, f"127.0.0.1:{busy}"),
            (ListenerRole.MX, f"127.0.0.1:{nobody}"),
            (ListenerRole.INTERNAL, "127.0.0.1:1"),
        )
        troubles = [one.trouble for one in check_presentation(found, entry_from(rsa, now=1.0))]
    assert troubles == ["no handshake with this kind of key", "it takes no sessions now", "nobody answers"]
    assert check_presentation(gateway(), entry_from(rsa, now=1.0)) == []


def test_other_nodes_say_what_they_saw():
    entry = entry_from(OURS, now=1.0)
    listeners = (
        ListenerObservation("mx :25", (entry.leaf.sha256,)),
        ListenerObservation("mx :26", ("ab" * 32,), "no handshake with this kind of key"),
        ListenerObservation("mx :27", (), "nobody answers"),
    )
    nodes = [
        SimpleNamespace(name="mx2", observed=CertificateObservation(9.0, listeners)),
        SimpleNamespace(name="mx3", observed=None),
    ]
    good, other, unknown = presented_elsewhere(entry, nodes)
    assert (good.node, good.ok, good.checked) == ("mx2", True, 9.0)
    assert (other.ok, other.seen, other.asked, other.trouble) == (False, 0, 1, "")
    assert unknown.trouble == "nobody answers"
