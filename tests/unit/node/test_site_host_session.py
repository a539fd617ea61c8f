"""The HTTP of a site's server over TLS in memory; what is decided is `pki.site.enrollment`'s."""

from __future__ import annotations

import asyncio

import pytest
from support import joined_streams

from gatepost.net.engine import client_context, server_context
from gatepost.net.identity import ServerIdentity
from gatepost.node.site_host import MAX_BODY, SiteSession
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.site.records import JoinRefused, NodeGrant, SiteRefusal
from gatepost.protocols.tls.profile import PROFILES

HOST = "mx1.a.example"
ROOT = Authority("Session Root")
SERVER = server_context([ServerIdentity(*ROOT.issue([HOST]))], PROFILES["modern"], ask_client_certificate=True)
NODE = ServerIdentity(*ROOT.issue(["mx2.a.example"]))


class Desk:
    """Gives always the same, and keeps what it was asked."""

    def __init__(self, given):
        self.given = given
        self.asked = []

    def answer(self, what, body, source, chain, now):
        self.asked.append((what, body, source, len(chain), now))
        if isinstance(self.given, SiteRefusal):
            raise JoinRefused(self.given, "a secret reason")
        return self.given


class Client:
    def __init__(self, stream, request):
        self.stream, self.request = stream, request
        self.data = b""
        self.loss = asyncio.get_running_loop().create_future()

    def secured(self, _facts):
        for part in self.request:
            self.stream.write(part)

    def received(self, data):
        self.data += data

    def lost(self, loss):
        self.loss.set_result(loss)


async def talk(enrollment, *request, identity=None, chunk=65536):
    near, far = joined_streams.pair(chunk=chunk)
    client = Client(near, request)
    near.attach(client)
    SiteSession(far, enrollment, lambda: 1_800_000_000.0).begin(SERVER)
    near.start_tls(client_context(PROFILES["modern"], identity=identity))
    await asyncio.wait_for(client.loss, 10)
    return client.data


def post(path=b"/join", body=b"{}", **fields):
    length = fields.get("length", len(body))
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path, length) + body


@pytest.mark.parametrize("chunk", [1, 65536])
@pytest.mark.parametrize("what", ["join", "renew"])
def test_a_certificate_is_given(what, chunk):
    enrollment = Desk(NodeGrant("a-site", b"CERT", b"ROOTS"))
    data = asyncio.run(talk(enrollment, post(f"/{what}".encode()), identity=NODE, chunk=chunk))
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: application/json" in head
    assert body == b'{"site":"a-site","certificate":"CERT","roots":"ROOTS"}'
    assert enrollment.asked == [(what, b"{}", "192.0.2.1", 1, 1_800_000_000.0)]


def test_who_presents_no_certificate_has_no_chain():
    enrollment = Desk(NodeGrant("a-site", b"CERT", b"ROOTS"))
    asyncio.run(talk(enrollment, post()))
    assert enrollment.asked[0][3] == 0


@pytest.mark.parametrize("reason", SiteRefusal)
def test_a_refusal_is_one_word(reason):
    data = asyncio.run(talk(Desk(reason), post()))
    assert f"\r\nGatepost-Refusal: {reason}\r\n".lower() in data.decode().lower()
    assert not data.startswith(b"HTTP/1.1 200")
    assert b"secret" not in data


REQUESTS = {
    "another path": (post(b"/"), b"404 Not Found"),
    "a query": (post(b"/join?x"), b"404 Not Found"),
    "no path": (post(b"*"), b"404 Not Found"),
    "GET": (b"GET /join HTTP/1.1\r\nHost: x\r\n\r\n", b"404 Not Found"),
    "too much": (post(body=b"x" * (MAX_BODY + 1)), b"413 "),
    "too much, said before": (post(length=1 << 40, body=b"x" * (MAX_BODY + 1)), b"413 "),
    "no http": (b"\x16\x03\x01\r\n\r\n", b"400 Bad Request"),
    "too long": (b"POST /" + b"x" * 9000, b"431 "),
    "two lengths": (b"POST /join HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", b"400 "),
}


@pytest.mark.parametrize(("request_", "status"), REQUESTS.values(), ids=REQUESTS)
def test_what_is_no_request_for_a_certificate(request_, status):
    enrollment = Desk(NodeGrant("a-site", b"CERT", b"ROOTS"))
    data = asyncio.run(talk(enrollment, request_))
    assert data.startswith(b"HTTP/1.1 " + status)
    assert enrollment.asked == []


def test_a_body_may_come_in_chunks():
    enrollment = Desk(NodeGrant("a-site", b"CERT", b"ROOTS"))
    head = b"POST /join HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    asyncio.run(talk(enrollment, head, b"1\r\n{\r\n", b"1\r\n}\r\n0\r\n\r\n"))
    assert enrollment.asked[0][:2] == ("join", b"{}")


def test_what_follows_is_not_read():
    enrollment = Desk(NodeGrant("a-site", b"CERT", b"ROOTS"))
    asyncio.run(talk(enrollment, post() + post()))
    assert len(enrollment.asked) == 1
