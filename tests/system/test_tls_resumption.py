"""Proves that TLS sessions of clients resume with any worker and node, over switches of certificates, and nowhere else.

The clients are `openssl s_client` and Python's, which is a stranger to pyOpenSSL: it has the system's OpenSSL.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import signal
import smtplib
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from support.clients import TlsRun, openssl_s_client, whole_period
from support.gateway import Gateway
from support.postgres import Postgres
from support.scenes import ALICE, contoso, message

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import greets, wait_until

NAME = "mx1.contoso.example"
WORKERS = {"server": {"workers": 2}}
VERSIONS = pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])


class Client:
    """A client that keeps the session of its last connection and offers it to the next one."""

    def __init__(self, version: str) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.context.maximum_version = self.context.minimum_version = ssl.TLSVersion[version]
        self.session: ssl.SSLSession | None = None
        whole_period()

    def connect(self, port: int) -> bool:
        """Connect, say EHLO and QUIT; whether the session was resumed."""
        with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example", timeout=20) as smtp:
            smtp.ehlo()
            smtp.docmd("STARTTLS")
            smtp.sock = self.context.wrap_socket(smtp.sock, server_hostname=NAME, session=self.session)
            smtp.file = None
            smtp.ehlo()
            self.session = smtp.sock.session
            return bool(smtp.sock.session_reused)


@VERSIONS
def test_a_session_resumes_with_each_worker(gateway: Callable[..., Gateway], pki: Pki, version: str) -> None:
    server = gateway("", certificates=[pki.leaf(NAME)], settings=WORKERS)
    client = Client(version)
    assert [client.connect(server.port) for _ in range(41)] == [False] + [True] * 40


@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_openssl_resumes_with_each_worker(
    gateway: Callable[..., Gateway], pki: Pki, tmp_path: Path, option: str
) -> None:
    server = gateway("", certificates=[pki.leaf(NAME)], settings=WORKERS)
    session = str(tmp_path / "session.pem")
    whole_period()
    first = openssl_s_client(server.port, options=[option, "-sess_out", session])
    assert not first.reused
    for _ in range(12):
        assert openssl_s_client(server.port, options=[option, "-sess_in", session, "-sess_out", session]).reused
    early = tmp_path / "early"
    early.write_bytes(b"EHLO early.example\r\n")
    said = openssl_s_client(server.port, options=[option, "-sess_in", session, "-early_data", str(early)])
    assert "Early data was accepted" not in said.transcript
    assert "early.example" not in said.transcript


@VERSIONS
def test_a_session_outlives_the_certificate_and_a_worker(
    gateway: Callable[..., Gateway], pki: Pki, tmp_path: Path, version: str
) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"

    def install(leaf: Leaf) -> None:
        for source, target in ((leaf.chain, chain), (leaf.key, key)):
            shutil.copy(source, target)

    install(pki.leaf(NAME))
    server = gateway("", settings=WORKERS | {"certificate": [{"chain": str(chain), "key": str(key)}]})
    client = Client(version)
    assert [client.connect(server.port) for _ in range(2)] == [False, True]
    renewed = pki.leaf(NAME, key="rsa")
    install(renewed)
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: all(presented(server.port) == renewed.sha256 for _ in range(24)), "the new certificate")
    assert all(client.connect(server.port) for _ in range(20))
    for child in workers_of(server):
        os.kill(child, signal.SIGKILL)
    wait_until(lambda: greets(server.port), "a new worker", timeout=30)
    assert all(client.connect(server.port) for _ in range(10))
    server.stop()
    server.start()
    assert [client.connect(server.port) for _ in range(2)] == [False, True], "a start makes new keys"


@VERSIONS
def test_nodes_of_one_database_resume_sessions_of_each_other(
    gateway: Callable[..., Gateway], postgres: Postgres, pki: Pki, tmp_path: Path, version: str
) -> None:
    url, master = postgres.database(), tmp_path / "master.key"
    master.touch(mode=0o600)
    master.write_bytes(bytes(range(40)))
    store = {"url": url, "master_key": f"file:{master}"}
    first, second = (
        gateway(
            "",
            certificates=[pki.leaf(NAME)],
            settings={"server": WORKERS["server"] | {"node": name}, "store": store},
        )
        for name in ("a", "b")
    )
    client = Client(version)
    assert not client.connect(first.port)
    assert all(client.connect(node.port) for node in (second, first) * 10)
    rows = postgres.sql("SELECT day, encode(sealed, 'hex') FROM ticket_secret ORDER BY day", name_of(url)).split()
    today = int(time.time()) // 86400
    assert [row.partition("|")[0] for row in rows] == [str(today), str(today + 1)]
    assert all(row.partition("|")[2].startswith(b"gp1\0".hex()) for row in rows), "sealed"
    first.stop()
    first.start()
    assert client.connect(first.port), "the secret is the site's"


def test_nodes_without_a_master_key_store_no_secret(
    gateway: Callable[..., Gateway], postgres: Postgres, pki: Pki
) -> None:
    url = postgres.database()
    leaf = pki.leaf(NAME)
    nodes = [
        gateway("", certificates=[leaf], settings={"server": {"node": name, "workers": 2}, "store": {"url": url}})
        for name in ("a", "b")
    ]
    client = Client("TLSv1_3")
    assert [client.connect(nodes[0].port) for _ in range(8)] == [False] + [True] * 7
    assert not client.connect(nodes[1].port)
    if postgres.sql("SELECT to_regclass('ticket_secret')", name_of(url)):  # there is a table from the start, or none
        assert postgres.sql("SELECT count(*) FROM ticket_secret", name_of(url)) == "0"


PARTNER = {
    "name": "partner", "connector_type": "partner", "sender_domains": ["partner.example"], "require_tls": True,
    "restrict_domains_to_certificate": True, "tls_sender_certificate_name": "partner.example",
}  # fmt: skip


@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_a_partner_is_known_by_its_certificate_in_every_session(
    gateway: Callable[..., Gateway], pki: Pki, tmp_path: Path, option: str
) -> None:
    """Its certificate leads to the anchor over an intermediate, which no ticket carries from worker to worker."""
    connector = PARTNER | {"trust_anchors": str(pki.root)}
    server = gateway(contoso(inbound=[connector]), certificates=[pki.leaf(NAME)], settings=WORKERS)
    ours = pki.client("partner.example")
    whole_period()
    runs = []
    for number in range(16):
        before = list(tmp_path.glob("*.session"))  # any of them: workers that serve in turns never meet their last one
        resumed = ["-sess_in", str(secrets.choice(before))] if before else []
        kept = str(tmp_path / f"{number}.session")
        runs.append(arrive(server.port, option, *resumed, "-sess_out", kept, certificate=ours))
    assert [run.found(r"^(250 2\.0\.0 Queued|5\d\d .*)") for run in runs] == ["250 2.0.0 Queued"] * 16
    assert any(run.reused for run in runs), "those that met the worker of the session"


@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_a_session_without_a_certificate_is_none_with_one(
    gateway: Callable[..., Gateway], pki: Pki, tmp_path: Path, option: str
) -> None:
    """Whoever resumes a session is who began it: not the partner, whatever is presented by now."""
    connector = PARTNER | {"trust_anchors": str(pki.root)}
    server = gateway(contoso(inbound=[connector]), certificates=[pki.leaf(NAME)], settings=WORKERS)
    ours, session = pki.client("partner.example"), str(tmp_path / "session.pem")
    whole_period()
    said = arrive(server.port, option, "-sess_out", session)
    assert "5.7.51" in said.transcript or "5.7.5" in said.transcript, said.transcript
    for _ in range(6):
        said = arrive(server.port, option, "-sess_in", session, certificate=ours)
        assert said.reused
        assert "250 2.0.0 Queued" not in said.transcript
    assert "250 2.0.0 Queued" in arrive(server.port, option, certificate=ours).transcript


def arrive(port: int, *options: str, certificate: Leaf | None = None) -> TlsRun:
    """Bring a message of the partner."""
    lines = ["EHLO partner.example", "MAIL FROM:<bob@partner.example>", f"RCPT TO:<{ALICE}>"]
    content = message()
    said = "\r\n".join([*lines, f"BDAT {len(content)} LAST\r\n"]).encode() + content + b"QUIT\r\n"
    return openssl_s_client(port, certificate=certificate, send=said, options=options)


def presented(port: int) -> str:
    """SHA-256 of the certificate that a new client sees, in hexadecimal."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example", timeout=20) as smtp:
        smtp.starttls(context=context)
        return hashlib.sha256(cast("ssl.SSLSocket", smtp.sock).getpeercert(binary_form=True) or b"").hexdigest()


def name_of(url: str) -> str:
    """The database of a URL."""
    return url.partition("?")[0].rpartition("/")[2]


def workers_of(server: Gateway) -> list[int]:
    """The processes that listen for mail."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text(encoding="ascii")
    return [int(child) for child in children.split()]
