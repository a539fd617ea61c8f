"""Without TLS; `test_policy_host_session.py` has it with TLS, and everything that a client may do wrong."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import pytest
from support import joined_streams

from gatepost.net.stream import LossKind
from gatepost.node.http_session import HttpSession, Response

REQUEST = b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"


class Client:
    def __init__(self):
        self.data, self.loss = b"", asyncio.get_running_loop().create_future()

    def received(self, data):
        self.data += data

    def lost(self, loss):
        self.loss.set_result(loss)


async def talk(request, *, seconds=10.0, chunk=65536):
    """What was asked, what came back, and how it ended."""
    asked = []

    def respond(event, name):
        asked.append((event.target, name))
        return Response(HTTPStatus.OK, b"body", "text/x", (("X-Field", "1"),))

    near, far = joined_streams.pair(chunk=chunk)
    client = Client()
    near.attach(client)
    HttpSession(far, respond, lambda: 0.0).begin(None, seconds)
    near.write(request)
    loss = await asyncio.wait_for(client.loss, 10)
    return asked, client.data, loss


@pytest.mark.parametrize("chunk", [1, 7, 65536])
def test_one_request_one_answer_however_it_comes(chunk):
    asked, data, loss = asyncio.run(talk(REQUEST, chunk=chunk))
    assert asked == [(b"/x", "")]
    assert data == (
        b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: text/x\r\n"
        b"Content-Length: 4\r\nX-Field: 1\r\nConnection: close\r\n\r\nbody"
    )
    assert loss.kind is LossKind.CLOSED


def test_who_says_nothing_is_left():
    asked, data, _ = asyncio.run(talk(b"GET", seconds=0.1))
    assert (asked, data) == ([], b"")


def test_what_is_no_request_is_refused():
    asked, data, _ = asyncio.run(talk(b"EHLO a.example\r\n\r\n"))
    assert asked == []
    assert data.startswith(b"HTTP/1.1 400 Bad Request\r\n")


class Taker(HttpSession):
    __slots__ = ()

    def body_limit(self, request, server_name):
        return 100_000

    def body_answer(self, request, body):
        return Response(HTTPStatus.OK, b"%d" % len(body))


@pytest.mark.parametrize(
    ("parts", "octets", "answer"),
    [
        (900, 1, b"200 OK"),
        (1500, 1, b"413 "),
        (1500, 60, b"200 OK"),
        (1001, 99, b"200 OK"),
        (1011, 99, b"413 "),  # more than the limit in all
    ],
)
def test_a_body_does_not_come_in_crumbs(parts, octets, answer):
    async def talked():
        near, far = joined_streams.pair()
        client = Client()
        near.attach(client)
        Taker(far, lambda _request, _name: Response(HTTPStatus.NOT_FOUND), lambda: 0.0).begin(None)
        head = b"POST /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
        near.write(head + (b"%x\r\n%b\r\n" % (octets, b"x" * octets)) * parts + b"0\r\n\r\n")
        await asyncio.wait_for(client.loss, 10)
        return client.data

    assert asyncio.run(talked()).startswith(b"HTTP/1.1 " + answer)
