"""Proves that the gateway serves the MTA-STS policies of its own domains (RFC 8461 section 3.3) as senders need them.

One gateway serves on port 443 of a loopback address; another one sends, finds the policies there over the DNS, and
obeys them. Strangers who are slow, broken or many get a short answer or none, and mail goes on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.debian import need
from support.gateway import Gateway
from support.policy_host import PATH
from support.process import loopback
from support.scenes import contoso, outcomes, send

from gatepost.testing.name_server import DnsServer
from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import FixtureError, free_port, greets, wait_until
from gatepost.testing.sink import Sink

ADDRESS, MX_ADDRESS = loopback("101.1"), loopback("101.2")
HOSTNAME, MX = "mx1.contoso.example", "mx.served.test"
# domain -> mode and MX pattern of the policy that is served for it
DOMAINS = {
    "good.test": ("enforce", MX),
    "bad.test": ("enforce", "x.served.test"),
    "tried.test": ("testing", "x.served.test"),
    "changed.test": ("testing", MX),
}
PRIVATE = {"outbound": {"private_policy_hosts": True}}


@dataclass(frozen=True, slots=True)
class World:
    serving: Gateway
    sending: Gateway
    dns: DnsServer
    sink: Sink
    certificates: dict[str, Leaf]
    root: str


@pytest.fixture(scope="module")
def world(pki: Pki) -> Iterator[World]:
    need("root")  # for ports 25 and 443
    certificates = {name: pki.leaf(name) for name in (HOSTNAME, "mta-sts.good.test")}
    certificates["*"] = pki.leaf("policies.test", names=[f"mta-sts.{name}" for name in DOMAINS if name != "good.test"])
    domains = [{"name": name, "mta_sts": mode, "mta_sts_mx": [mx]} for name, (mode, mx) in DOMAINS.items()]
    with ExitStack() as stack:
        dns = stack.enter_context(DnsServer({f"{MX} A": [MX_ADDRESS]}))
        serving = Gateway(
            contoso(domains=[{"name": "contoso.example"}, *domains]),
            certificates=list(certificates.values()),
            nameservers=[dns.address],
            anchors=pki.root,
            settings={"mta_sts": {"address": f"{ADDRESS}:443"}, "server": {"workers": 2}, **PRIVATE},
        )
        sending = Gateway(contoso(), nameservers=[dns.address], anchors=pki.root, settings=PRIVATE)
        sink = Sink(host=MX_ADDRESS, port=25, certificate=pki.leaf(MX), hostname=MX)
        stack.enter_context(sink)
        stack.enter_context(serving)
        stack.enter_context(sending)
        for name in DOMAINS:
            dns.set(f"{name} MX", f"10 {MX}.")
            dns.set(f"mta-sts.{name} A", ADDRESS)
            dns.set(f"_mta-sts.{name} TXT", announced(serving, name))
        yield World(serving, sending, dns, sink, certificates, str(pki.root))


def announced(gateway: Gateway, domain: str) -> str:
    """The TXT record that the command tells, quoted."""
    text: str = gateway.cli("domain", "mta-sts", domain, json=True).data["record"]["text"]
    return f'"{text}"'


def trusting(root: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(root)
    context.hostname_checks_common_name = False
    return context


def ask(world: World, host: str, request: bytes | None = None) -> bytes:
    """All that is answered under TLS, certificate and name checked."""
    usual = f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    with (
        socket.create_connection((ADDRESS, 443), timeout=15) as plain,
        trusting(world.root).wrap_socket(plain, server_hostname=host) as stream,
    ):
        stream.sendall(usual if request is None else request)
        return b"".join(iter(lambda: stream.recv(65536), b""))


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def test_a_sender_obeys_what_is_served(world: World) -> None:
    wanted = {"bob@good.test": "SEND", "bob@bad.test": "DEFER", "bob@tried.test": "SEND"}
    for recipient in wanted:
        send(world.sending.port, recipient)
    events = outcomes(world.sending, wanted)
    assert events["bob@good.test"]["achieved"] == "mta-sts/authenticated"
    assert events["bob@bad.test"]["reply"].startswith("450 4.4.8")
    assert events["bob@tried.test"]["detail"]["mta_sts"]["testing"]["passed"] is False
    assert {one for mail in world.sink.messages for one in mail.recipients} == {"bob@good.test", "bob@tried.test"}


@pytest.mark.parametrize(("host", "leaf"), [("mta-sts.good.test", "mta-sts.good.test"), ("mta-sts.bad.test", "*")])
def test_the_name_chooses_the_certificate(world: World, host: str, leaf: str) -> None:
    with (
        socket.create_connection((ADDRESS, 443), timeout=15) as plain,
        trusting(world.root).wrap_socket(plain, server_hostname=host) as stream,
    ):
        assert ssl.DER_cert_to_PEM_cert(stream.getpeercert(True) or b"").split() == (
            world.certificates[leaf].certificate.read_text().split()
        )
        assert stream.version() == "TLSv1.3"


def test_an_answer_tells_no_more_than_it_must(world: World) -> None:
    head, _, body = ask(world, "mta-sts.good.test").partition(b"\r\n\r\n")
    assert body == b"version: STSv1\r\nmode: enforce\r\nmx: mx.served.test\r\nmax_age: 604800\r\n"
    first, *fields = head.split(b"\r\n")
    assert first == b"HTTP/1.1 200 OK"
    names = [field.partition(b":")[0] for field in fields]
    assert names == [b"Date", b"Content-Type", b"Content-Length", b"Connection"]
    assert fields[1] == b"Content-Type: text/plain; charset=utf-8"


HOST = b"Host: mta-sts.good.test\r\n"
LINE = f"GET {PATH} HTTP/1.1\r\n".encode()
# what is sent -> the status; 0 is the end without an answer
REQUESTS = {
    "head": (LINE.replace(b"GET", b"HEAD") + HOST + b"\r\n", 200),
    "in full": (f"GET https://mta-sts.good.test{PATH} HTTP/1.1\r\n".encode() + HOST + b"\r\n", 200),
    "old": (LINE.replace(b"1.1", b"1.0") + HOST + b"\r\n", 200),
    "post": (LINE.replace(b"GET", b"POST") + HOST + b"Content-Length: 9999999\r\n\r\nx", 405),
    "another path": (b"GET /.well-known/mta-sts.txt/ HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "the root": (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "another host": (LINE + b"Host: mta-sts.bad.test\r\n\r\n", 421),
    "a host for nobody": (LINE + b"Host: [::\r\n\r\n", 421),
    "no host": (LINE + b"\r\n", 400),
    "two hosts": (LINE + HOST + HOST + b"\r\n", 400),
    "a line of 20 KB": (b"GET /" + b"a" * 20_000, 431),
    "2000 fields": (LINE + b"X: y\r\n" * 2000, 431),
    "zeros": (b"\x00" * 100 + b"\r\n\r\n", 400),
    "no http": (b"EHLO client.example\r\n\r\n", 400),
    "http/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_every_request_is_answered_and_ends(world: World, case: str) -> None:
    request, expected = REQUESTS[case]
    answer = ask(world, "mta-sts.good.test", request)
    assert status(answer) == expected
    assert b"Connection: close" in answer
    if case == "head":
        assert answer.endswith(b"\r\n\r\n")


def test_who_speaks_no_tls_is_sent_away(world: World) -> None:
    with socket.create_connection((ADDRESS, 443), timeout=15) as plain:
        plain.sendall(LINE + HOST + b"\r\n")
        assert b"HTTP" not in b"".join(iter(lambda: plain.recv(65536), b""))


def test_a_change_is_served_soon_under_a_new_id(world: World) -> None:
    """And what DNS says meanwhile is found to be of another policy."""
    domain, host = "changed.test", "mta-sts.changed.test"
    before = world.serving.cli("domain", "mta-sts", domain, "--check", json=True).data
    assert [one["verdict"] for one in before["findings"] if one["stage"] == "dns"] == ["pass"]
    world.serving.cli("domain", "set", domain, "mta_sts=enforce")
    wait_until(lambda: b"mode: enforce" in ask(world, host), "the new policy")
    after = world.serving.cli("domain", "mta-sts", domain, "--check", json=True, expect=1).data
    assert after["record"]["id"] != before["record"]["id"]
    (stale,) = [one for one in after["findings"] if one["verdict"] == "fail"]
    assert before["record"]["id"] in stale["evidence"]
    world.dns.set(f"_mta-sts.{domain} TXT", announced(world.serving, domain))
    text = world.serving.cli("domain", "mta-sts", domain, "--check").stdout
    assert "the TXT record has the id of the policy" in text
    assert "the policy is served, in mode enforce" in text


def test_what_is_wrong_is_found(world: World) -> None:
    found = world.serving.cli("domain", "mta-sts", "bad.test", "--check", json=True, expect=1).data
    assert [one["text"] for one in found["findings"] if one["verdict"] == "fail"] == [
        "the MX host mx.served.test is not delivered to: no mx of the policy covers it; add mx: mx.served.test"
    ]
    world.dns.failures["_mta-sts.good.test TXT"] = "SERVFAIL"
    try:
        world.serving.cli("domain", "mta-sts", "good.test", "--check", expect=3)
    finally:
        world.dns.failures.clear()
    world.serving.cli("domain", "mta-sts", "contoso.example", "--check")
    world.serving.cli("domain", "mta-sts", "contoso.example", expect=1)


async def fetches(world: World, sources: list[str], each: int) -> list[bytes]:
    """As many at once, from some addresses of loopback."""
    context, host = trusting(world.root), "mta-sts.good.test"

    async def one(source: str) -> bytes:
        reader, writer = await asyncio.open_connection(
            ADDRESS, 443, ssl=context, server_hostname=host, local_addr=(source, 0)
        )
        writer.write(LINE + HOST + b"\r\n")
        try:
            return await reader.read()
        finally:
            writer.close()

    async with asyncio.timeout(30):
        return await asyncio.gather(*(one(source) for source in sources for _ in range(each)))


def test_two_hundred_at_once(world: World) -> None:
    answers = asyncio.run(fetches(world, [f"127.0.0.{number}" for number in range(110, 114)], 50))
    assert [status(one) for one in answers] == [200] * 200


def test_one_source_gets_no_more_than_its_share_and_mail_goes_on(world: World) -> None:
    with ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection((ADDRESS, 443), 5, source_address=("127.0.0.120", 0)))
            for _ in range(150)
        ]
        cut = wait_until(lambda: [one for one in idle if ended(one)], "some are cut")
        wait_until(lambda: sum(map(ended, idle)) == 50, "all beyond 100 are cut")
        assert cut
        assert greets(world.serving.port)
        assert status(ask(world, "mta-sts.good.test")) == 200


def ended(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        return one.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_a_new_certificate_is_taken_up(world: World, pki: Pki) -> None:
    old, new = (
        world.certificates["mta-sts.good.test"],
        pki.leaf("mta-sts.good.test", names=["mta-sts.good.test", "new.test"]),
    )
    old.chain.write_bytes(new.chain.read_bytes())
    old.key.write_bytes(new.key.read_bytes())
    world.certificates["mta-sts.good.test"] = new
    os.kill(world.serving.pid, signal.SIGHUP)

    def taken_up() -> bool:
        with (
            socket.create_connection((ADDRESS, 443), timeout=15) as plain,
            trusting(world.root).wrap_socket(plain, server_hostname="mta-sts.good.test") as stream,
        ):
            return stream.getpeercert(True) == ssl.PEM_cert_to_DER_cert(new.certificate.read_text())

    wait_until(taken_up, "the new certificate")


def test_its_end_is_told_and_mail_goes_on_until_it_is_there_again(world: World) -> None:
    gateway, name = world.serving, f"mta-sts {ADDRESS}:443"
    served = {"name": name, "ok": True, "detail": "serves policies"}
    wait_until(lambda: served in gateway.cli("status", json=True, expect=None).data["listeners"], "it is up")
    ended_once = gateway.log().count("policy host ended with signal 9")
    (process,) = [one for one in gateway.family() if serves(one)]
    os.kill(process, signal.SIGKILL)
    wait_until(lambda: gateway.log().count("policy host ended with signal 9") > ended_once, "the end is logged")
    assert greets(gateway.port)
    assert status(ask(world, "mta-sts.good.test")) == 200  # the port stays open: who asks meanwhile waits


def serves(process: int) -> bool:
    """Whether the process listens on the port for policies, and on no other: the supervisor has them all."""
    lines = Path(f"/proc/{process}/net/tcp").read_text().splitlines()[1:]
    ports = {line.split()[9]: int(line.split()[1].rpartition(":")[2], 16) for line in lines if line.split()[3] == "0A"}
    links = [link.readlink().name for link in Path(f"/proc/{process}/fd").iterdir()]
    return {ports[link[8:-1]] for link in links if link.startswith("socket:[") and link[8:-1] in ports} == {443}


def test_the_log_says_what_is_served_and_what_is_missing(world: World) -> None:
    log = world.serving.log()
    assert f"MTA-STS policies served at {ADDRESS}:443: good.test (enforce, id " in log
    assert "no certificate bears" not in log
    port = free_port()
    settings = {"mta_sts": {"address": f"127.0.0.1:{port}"}}
    with Gateway(
        contoso(domains=[{"name": "contoso.example", "mta_sts": "enforce"}]),
        hostname="mx2.contoso.example",
        certificates=[world.certificates[HOSTNAME]],
        settings=settings,
    ) as gateway:
        for warning in ("mx2", "mta-sts.contoso.example: senders cannot fetch the policy there"):
            wait_until(lambda text=warning: f"no certificate bears {text}" in gateway.log(), warning)


def test_without_a_certificate_nothing_starts() -> None:
    settings = {"mta_sts": {"address": "127.0.0.1:0"}}
    with (
        pytest.raises(FixtureError, match=r"mta_sts\.address: policies are served over HTTPS"),
        Gateway(settings=settings),
    ):
        pass
