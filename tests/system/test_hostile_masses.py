"""Proves that many slow handshakes and very many recipients cost bounded memory, and that others are served meanwhile.

GATEPOST_HANDSHAKES and GATEPOST_RECIPIENTS say how many; `make masses` takes 10,000 and 1,000,000. Each of two workers
may open as many files as this process, and gives nine twentieths of them to strangers: 20,000 are enough for 10,000.
"""

from __future__ import annotations

import ipaddress
import os
import resource
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from support.flooder import client_hello
from support.gateway import Gateway
from support.raw import RawClient
from support.scenes import contoso
from support.siege import MEGABYTE, Witness, codes, flood

from gatepost.testing.pki import Pki

ANN = "ann@contoso.example"
OCTETS = 32 * 1024  # a handshake that waits for the rest of its ClientHello
UNLIMITED = {"connections": 0, "handshakes": 0, "errors": 0}


@pytest.fixture(scope="module")
def server(pki: Pki) -> Iterator[Gateway]:
    limits = {"connections": 12_000, "idle_timeout": "60s"}
    settings = {"server": {"workers": 2}, "limits": limits, "rates": UNLIMITED}
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))
    certificates = [pki.leaf("mx1.contoso.example")]
    try:
        with Gateway(
            contoso(mailboxes=[ANN]), certificates=certificates, settings=settings, listeners=("mx", "submissions")
        ) as running:
            Witness(running, ANN).once()
            yield running
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, files)


def _slow(port: int, source: str, hello: bytes) -> socket.socket:
    """A connection over which half a ClientHello came."""
    client = socket.create_connection(("127.0.0.1", port), 30, source_address=(source, 0))
    client.sendall(hello[: len(hello) // 2])
    return client


@pytest.mark.long
def test_slow_handshakes_in_masses_are_kept_in_little_memory_and_end(server: Gateway) -> None:
    count, hello = int(os.environ.get("GATEPOST_HANDSHAKES", "2000")), client_hello()
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < count + 500:
        pytest.skip(f"{count} connections need more open files than this process may have")
    witness, before = Witness(server, ANN), server.resident()
    first = ipaddress.ip_address("127.80.0.1")
    with ExitStack() as stack, witness.watching():
        port = server.ports["submissions"]
        clients = [stack.enter_context(_slow(port, str(first + number // 50), hello)) for number in range(count)]
        grown = server.resident() - before
        assert grown < count * OCTETS
        clients[0].settimeout(90)
        assert clients[0].recv(100)[:1] in {b"", b"\x15"}, "the time for a handshake is over"
    print(f"{count} handshakes: {grown / count / 1024:.1f} KB each, {max(witness.delays):.2f} s for a message at most")
    assert witness.failures == []
    with RawClient(server.port) as client:
        assert client.reply().code == 220


def _resident_once_written(server: Gateway) -> int:
    """Its memory once no more rows of the trace come to the disk: how many wait there depends on the machine."""
    count, before = _rows(server), -1
    while count != before:
        time.sleep(0.5)
        count, before = _rows(server), count
    return server.resident()


def _rows(server: Gateway) -> int:
    count = 0
    for path in server.data_dir.glob("trace/*.db"):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            count += connection.execute("SELECT count(*) FROM trace").fetchone()[0]
    return count


@pytest.mark.long
def test_recipients_in_masses_over_many_transactions_are_not_kept(server: Gateway) -> None:
    count, before, begun = int(os.environ.get("GATEPOST_RECIPIENTS", "50000")), server.resident(), time.monotonic()
    half = 0
    names = b"".join(b"RCPT TO:<x%d@contoso.example>\r\n" % number for number in range(999))
    transaction = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<ann@contoso.example>\r\n" + names + b"RSET\r\n"
    left, said = count, Counter[bytes]()
    while left > 0:
        if not half and left <= count // 2:
            half = _resident_once_written(server)
        with RawClient(server.port) as client:
            client.greet()
            times = min(25, -(-left // 1000))
            replies, closed = flood(
                client, [transaction] * times, lambda said, times=times: said.count(b"\n") >= 1002 * times, patience=60
            )
            said.update(codes(replies))
            left -= 1000 * times
            assert closed or replies.count(b"\n") == 1002 * times
    assert said[b"250 2.1.5"] > 0
    assert said[b"550 5.1.1"] > 0
    after = _resident_once_written(server)
    grown = f"{(after - half) / MEGABYTE:.1f} MB more than after half, {(after - before) / MEGABYTE:.1f} in all"
    print(f"{count} recipients in {time.monotonic() - begun:.0f} s: {grown}")
    assert after - half < 32 * MEGABYTE, "what is kept does not grow with their number"
    assert after - before < 160 * MEGABYTE, "each refusal is a row of the trace, of which 100,000 may wait for the disk"


SECTION = 250_000  # octets of a header section, within `header_bytes`


@pytest.mark.parametrize("whole", [False, True], ids=["that do not end", "before bodies that do not"])
def test_large_header_sections_of_many_sessions_are_kept_in_the_memory_for_arriving_mail(whole: bool) -> None:
    """Those for which there is no memory are refused for now; mail with a header of the usual size is not."""
    count, budget = int(os.environ.get("GATEPOST_SECTIONS", "200")), 4 * MEGABYTE
    settings = {"store": {"memory_budget": budget}, "rates": UNLIMITED}
    line = b"X-Padding: " + b"x" * 900 + b"\r\n"
    section = line * (SECTION // len(line)) + (b"\r\nA body" if whole else b"")
    first = ipaddress.ip_address("127.81.0.1")
    with Gateway(contoso(mailboxes=[ANN]), settings=settings) as running, ExitStack() as stack:
        witness = Witness(running, ANN)
        witness.once()
        before = running.resident()
        clients = []
        for number in range(count):
            client = stack.enter_context(RawClient(running.port, source=str(first + number // 50)))
            client.greet()
            for words in ("MAIL FROM:<eve@elsewhere.example>", f"RCPT TO:<{ANN}>", "DATA"):
                client.command(words)
            client.send(section)
            clients.append(client)
        witness.once()
        grown = running.resident() - before
        print(f"{count} header sections: {grown / MEGABYTE:.1f} MB, {grown / count / 1024:.1f} KB each")
        assert grown < budget + count * 64 * 1024
        codes = Counter()
        for client in clients:
            client.send(b"\r\n.\r\n")
            codes[client.reply().code] += 1
        assert set(codes) == {250, 451}, codes
        assert 5 <= codes[250] <= 20, "those that had come while there was room"
        assert clients[-1].command("RSET").code == 250
        for line in ("MAIL FROM:<eve@elsewhere.example>", f"RCPT TO:<{ANN}>"):
            clients[-1].command(line)
        assert clients[-1].command("DATA").code == 354
        clients[-1].send(section + b"\r\n.\r\n")
        assert clients[-1].reply().code == 250, "when the others have ended there is room again"


def test_bodies_that_do_not_end_leave_memory_for_header_sections() -> None:
    """They could have gone to files: what is in memory of them refuses nobody's mail."""
    settings = {"store": {"memory_budget": 4 * MEGABYTE}, "rates": UNLIMITED}
    section = b"X-Padding: " + b"x" * 900 + b"\r\n"
    envelope = "MAIL FROM:<eve@elsewhere.example>", f"RCPT TO:<{ANN}>", "DATA"
    with Gateway(contoso(mailboxes=[ANN]), settings=settings) as running, ExitStack() as stack:
        for lines in [240] * 16 + [20] * 20:
            client = stack.enter_context(RawClient(running.port))
            client.greet()
            for words in envelope:
                client.command(words)
            client.send(b"\r\n" + (b"x" * 998 + b"\r\n") * lines)
        with RawClient(running.port, source="127.81.0.1") as client:
            client.greet()
            for words in envelope:
                client.command(words)
            client.send(section * 25 + b"\r\nhello\r\n.\r\n")
            assert client.reply().code == 250
