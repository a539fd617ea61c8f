from __future__ import annotations

import asyncio
from http import HTTPStatus

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import joined_streams

from gatepost.net.engine import client_context, server_context
from gatepost.net.identity import ServerIdentity
from gatepost.net.stream import Endpoint, LossKind
from gatepost.node.http_session import MAX_REQUEST
from gatepost.node.policy_host import PolicySession, ReportsHere, answer
from gatepost.node.table_pages import Page, cached
from gatepost.protocols.mtasts.policy import StsMode
from gatepost.protocols.mtasts.publish import CONTENT_TYPE, PATH, publish
from gatepost.protocols.tls.profile import PROFILES
from gatepost.protocols.tlsrpt.received import MAX_PACKED

HOST = "mta-sts.a.example"
POLICY = publish("a.example", StsMode.ENFORCE, ["mx.a.example"], 86400).body
TABLE = cached("text/html", b"<p>", modified=1_700_000_000.9, seconds=60)
SITES = {HOST: {PATH: Page(CONTENT_TYPE, POLICY)}, "mx.a.example": {"/certificates": TABLE}}
GET = f"GET {PATH} HTTP/1.1\r\n".encode()
GOOD = GET + f"Host: {HOST}\r\n\r\n".encode()

OK, MISSING, MISDIRECTED = HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.MISDIRECTED_REQUEST
# (method, target, host, server name) -> status
ANSWERS = [
    (("GET", PATH, HOST, HOST), OK),
    (("HEAD", PATH, HOST, HOST), OK),
    (("GET", PATH, HOST, ""), OK),
    (("GET", PATH, "MTA-STS.A.example.:443", HOST), OK),
    (("GET", f"https://{HOST}{PATH}", "x.example", HOST), OK),
    (("GET", f"https://{HOST}:443{PATH}", HOST, HOST), OK),
    (("GET", PATH, HOST, "MTA-STS.a.example"), OK),
    (("GET", PATH, HOST, "x.example"), MISDIRECTED),
    (("GET", PATH, "x.example", HOST), MISDIRECTED),
    (("GET", f"https://x.example{PATH}", HOST, HOST), MISDIRECTED),
    (("GET", PATH, "x.example", ""), MISSING),
    (("GET", PATH, "a.example", "a.example"), MISSING),
    (("GET", PATH, "", ""), MISSING),
    (("GET", PATH, "[::", ""), MISSING),
    (("GET", "https://[::/x", HOST, ""), MISSING),
    (("GET", f"{PATH}?x", HOST, HOST), MISSING),
    (("GET", f"{PATH}/", HOST, HOST), MISSING),
    (("GET", f"/{PATH}", HOST, HOST), MISSING),
    (("GET", "/.well-known/MTA-STS.txt", HOST, HOST), MISSING),
    (("OPTIONS", "*", HOST, HOST), MISSING),
    (("CONNECT", f"{HOST}:443", HOST, ""), MISSING),
    (("POST", PATH, HOST, HOST), HTTPStatus.METHOD_NOT_ALLOWED),
    (("get", PATH, HOST, HOST), HTTPStatus.METHOD_NOT_ALLOWED),
]


@pytest.mark.parametrize(("asked", "status"), ANSWERS)
def test_what_a_request_gets(asked, status):
    method, target, host, server_name = asked
    request = h11.Request(method=method, target=target, headers=[("Host", host)])
    given = answer(request, server_name, SITES)
    assert given.status is status
    assert given.body == (POLICY if status is OK else b"")


def test_a_page_that_the_client_has_is_not_sent_again(context):
    request = b"GET /certificates HTTP/1.1\r\nHost: mx.a.example\r\n"
    data, _ = asyncio.run(talk(context, request + b"\r\n", server_name="mx.a.example"))
    head, _, body = data.partition(b"\r\n\r\n")
    assert (head.partition(b"\r\n")[0], body) == (b"HTTP/1.1 200 OK", b"<p>")
    assert f"ETag: {TABLE.etag}\r\nLast-Modified: Tue, 14 Nov 2023 22:13:20 GMT\r\n".encode() in head
    again = request + f"If-None-Match: {TABLE.etag}\r\n\r\n".encode()
    data, _ = asyncio.run(talk(context, again, server_name="mx.a.example"))
    head, _, body = data.partition(b"\r\n\r\n")
    assert (head.partition(b"\r\n")[0], body) == (b"HTTP/1.1 304 Not Modified", b"")
    assert f"ETag: {TABLE.etag}\r\n".encode() in head
    assert b"Content-" not in head.replace(b"Content-Security", b"").replace(b"X-Content", b"")


class Client:
    """A sender's side over memory: what it sends after the handshake, and all that it gets."""

    def __init__(self, stream, request):
        self.stream, self._request = stream, request
        self.data, self.loss = b"", asyncio.get_running_loop().create_future()

    def secured(self, _facts):
        for part in self._request:
            self.stream.write(part)

    def received(self, data):
        self.data += data

    def lost(self, loss):
        self.loss.set_result(loss)


@pytest.fixture(scope="module")
def context(authority):
    return server_context([ServerIdentity(*authority.issue([HOST]))], PROFILES["default"], ask_client_certificate=False)


async def talk(context, *request, seconds=10.0, chunk=65536, tls=True, server_name=HOST, reports=None):
    """What the client got, and how its stream ended."""
    near, far = joined_streams.pair(chunk=chunk)
    client = Client(near, request)
    near.attach(client)
    PolicySession(far, lambda: SITES, lambda: 1_800_000_000.0, reports).begin(context, seconds)
    if tls:
        near.start_tls(client_context(PROFILES["default"]), server_name=server_name)
    else:
        client.secured(None)
    loss = await asyncio.wait_for(client.loss, 10)
    return client.data, loss


def test_the_whole_answer(context):
    data, loss = asyncio.run(talk(context, GOOD))
    assert loss.kind is LossKind.CLOSED
    assert (
        data
        == (
            b"HTTP/1.1 200 OK\r\nDate: Fri, 15 Jan 2027 08:00:00 GMT\r\nContent-Type: text/plain; charset=utf-8\r\n"
            b"Content-Length: 65\r\nConnection: close\r\n\r\n"
        )
        + POLICY
    )


def test_an_answer_to_head_has_no_body(context):
    data, _ = asyncio.run(talk(context, GOOD.replace(b"GET", b"HEAD")))
    assert b"Content-Length: 65\r\n" in data
    assert data.endswith(b"\r\n\r\n")


# what is sent -> the status line
REQUESTS = {
    "another method": (GOOD.replace(b"GET", b"PUT"), b"405 Method Not Allowed"),
    "no host": (GET + b"\r\n", b"400 Bad Request"),
    "no http": (b"\x16\x03\x01\r\n\r\n", b"400 Bad Request"),
    "too long": (b"GET /" + b"x" * MAX_REQUEST, b"431 Request Header Fields Too Large"),
    "another coding": (GOOD[:-2] + b"Transfer-Encoding: gzip\r\n\r\n", b"501 Not Implemented"),
    "http/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505 HTTP Version Not Supported"),
    "an upgrade": (GOOD[:-2] + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", b"200 OK"),
    "of the server": (b"OPTIONS * HTTP/1.1\r\n" + GOOD.partition(b"\r\n")[2], b"404 Not Found"),
    "old": (GOOD.replace(b"1.1", b"1.0"), b"200 OK"),
    "two requests": (GOOD * 2, b"200 OK"),
    "a body": (GOOD[:-2] + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000, b"200 OK"),
    "it expects": (GOOD[:-2] + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n", b"200 OK"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_one_answer_then_the_end(context, name):
    request, status = REQUESTS[name]
    data, loss = asyncio.run(talk(context, request))
    assert data.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert data.count(b"HTTP/1.1 ") == 1
    assert (b"Allow: GET, HEAD\r\n" in data) is (status.startswith(b"405"))
    assert loss.kind is LossKind.CLOSED


def test_a_request_may_come_in_any_pieces(context):
    data, _ = asyncio.run(talk(context, *(GOOD[at : at + 1] for at in range(len(GOOD))), chunk=1))
    assert data.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("request_", [b"", b"GET / HTTP/1.1\r\nX: "])
def test_who_is_slow_is_cut_off(context, request_):
    data, loss = asyncio.run(talk(context, request_, seconds=0.3))
    assert data == b""
    assert loss.kind is not LossKind.TIMEOUT  # it is the server whose patience ended


def test_a_handshake_that_never_comes_is_cut_off(context):
    data, _ = asyncio.run(talk(context, seconds=0.3, tls=False))
    assert data == b""


def test_plaintext_is_no_request(context):
    data, _ = asyncio.run(talk(context, GOOD, tls=False))
    assert b"HTTP" not in data


def test_the_certificate_was_for_another_name(context):
    data, _ = asyncio.run(talk(context, GOOD, server_name="x.example"))
    assert data.startswith(b"HTTP/1.1 421 ")


class Sunk:
    """A stream that only keeps what is written."""

    tls = None

    def __init__(self):
        self.data, self.closed, self.tls = b"", False, None
        self.peer = Endpoint("192.0.2.1", 50000)

    def write(self, data):
        self.data += data

    def close(self):
        self.closed = True


@given(st.binary(max_size=300), st.binary(max_size=100))
def test_whatever_comes_gets_one_answer_or_none(head, rest):
    stream = Sunk()
    session = PolicySession(stream, lambda: SITES, lambda: 0.0)
    for part in (head, rest, b"\r\n\r\n"):
        if part and not stream.closed:
            session.received(part)
    assert stream.data.count(b"HTTP/1.1 ") == stream.closed


# TLS reports


class Inbox:
    def __init__(self):
        self.taken = []

    def put(self, body, peer):
        self.taken.append((body, peer))
        return HTTPStatus.CREATED


def post(size, target="/tls-reports", host=HOST, more=""):
    head = f"POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/tlsrpt+gzip\r\n{more}"
    return f"{head}Content-Length: {size}\r\n\r\n".encode()


@pytest.mark.parametrize("chunk", [1, 777, 65536])
def test_a_report_is_taken_however_it_comes(context, chunk):
    inbox, body = Inbox(), b"report" * 500
    data, _ = asyncio.run(talk(context, post(len(body)), body, chunk=chunk, reports=ReportsHere(HOST, inbox)))
    assert data.startswith(b"HTTP/1.1 201 Created\r\n")
    assert [one for one, _ in inbox.taken] == [body]


def test_who_asks_whether_to_send_is_told_yes(context):
    inbox = Inbox()
    request = post(5, more="Expect: 100-continue\r\n")
    data, _ = asyncio.run(talk(context, request, b"a rep", reports=ReportsHere(HOST, inbox)))
    assert data.startswith(b"HTTP/1.1 100 \r\n")
    assert b"HTTP/1.1 201 Created\r\n" in data


@pytest.mark.parametrize(
    ("request_", "server_name", "status"),
    [
        (post(3, "/other") + b"abc", HOST, b"404"),
        (post(3, PATH) + b"abc", HOST, b"405"),
        (post(3, host="x.example") + b"abc", "x.example", b"404"),
        (post(3) + b"abc", "x.example", b"421"),
        (post(0), HOST, b"400"),
        (b"PUT /tls-reports HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\nContent-Length: 3\r\n\r\nabc", HOST, b"404"),
        (post(MAX_PACKED + 1) + b"x" * (MAX_PACKED + 1), HOST, b"413"),
        (post("x"), HOST, b"400"),
    ],
    ids=range(8),
)
def test_what_is_not_taken(context, request_, server_name, status):
    inbox = Inbox()
    data, _ = asyncio.run(talk(context, request_, server_name=server_name, reports=ReportsHere(HOST, inbox)))
    assert data.startswith(b"HTTP/1.1 " + status)
    assert inbox.taken == []


def test_a_body_that_does_not_come_to_its_end_is_forgotten(context):
    inbox = Inbox()
    data, loss = asyncio.run(talk(context, post(100), b"abc", seconds=0.3, reports=ReportsHere(HOST, inbox)))
    assert (data, inbox.taken) == (b"", [])
    assert loss.kind is not LossKind.HANDSHAKE


def test_where_none_are_taken_nothing_is_read(context):
    data, _ = asyncio.run(talk(context, post(3), b"abc"))
    assert data.startswith(b"HTTP/1.1 404")
